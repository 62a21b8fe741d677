//go:build linux || darwin

package protocol

import (
	"net"
	"syscall"
)

// peek looks at what the connection would read next, without waiting and without taking anything.
func peek(c net.Conn) peeked {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return peekNothing
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return peekNothing
	}
	found := peekNothing
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		for {
			n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			switch {
			case err == syscall.EINTR:
				continue
			case err == syscall.EAGAIN:
			case err != nil || n == 0:
				found = peekEnd
			default:
				found = peekData
			}
			return
		}
	})
	if err != nil {
		return peekEnd // closed on our side
	}
	return found
}
