package protocol

import (
	"net"
	"syscall"
)

// tcpUserTimeout is TCP_USER_TIMEOUT (include/uapi/linux/tcp.h), which syscall does not name.
const tcpUserTimeout = 18

// limitUnacknowledged ends the connection when data stays unacknowledged for userTimeout. On an error the keepalive alone
// finds a dead peer.
func limitUnacknowledged(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) { //nolint:errcheck // see above
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(userTimeout.Milliseconds())) //nolint:errcheck // see above
	})
}
