package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// The question and the answer of sock_diag(7): struct inet_diag_req_v2 and struct inet_diag_msg (linux/inet_diag.h).
const (
	netlinkSockDiag  = 4  // NETLINK_SOCK_DIAG
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	diagReqSize      = 56
	diagMsgSize      = 72
	diagStates       = 0xffffffff // sockets in any state
	diagTime         = 1          // seconds to wait for the kernel, which answers at once; a guess
)

// diagUID asks the kernel for the one socket whose own address is from and whose peer is to, and for its user. found is
// false if there is none, or none that a process holds. An error means that the kernel cannot be asked this way: an old
// one, one without the module, or a sandbox.
func diagUID(from, to netip.AddrPort) (uid uint32, found bool, err error) {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return 0, false, fmt.Errorf("sock_diag: %w", err)
	}
	defer func() { _ = syscall.Close(fd) }() // it was only asked: nothing can be lost
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: diagTime}); err != nil {
		return 0, false, fmt.Errorf("sock_diag: %w", err)
	}
	// A client may have an IPv6 socket and still speak IPv4. The kernel finds it under the addresses of IPv4, too.
	question := diagQuestion(from, to)
	if err := syscall.Sendto(fd, question, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return 0, false, fmt.Errorf("sock_diag: %w", err)
	}
	var answer [4096]byte
	n, sender, err := syscall.Recvfrom(fd, answer[:], 0)
	if err != nil {
		return 0, false, fmt.Errorf("sock_diag: %w", err)
	}
	if nl, ok := sender.(*syscall.SockaddrNetlink); !ok || nl.Pid != 0 {
		return 0, false, errors.New("sock_diag: the answer is not the kernel's")
	}
	return diagAnswer(answer[:n], from, to)
}

// diagQuestion writes the request. Addresses and ports are in network order, the rest as the machine has it.
func diagQuestion(from, to netip.AddrPort) []byte {
	const head = syscall.NLMSG_HDRLEN
	b := make([]byte, head+diagReqSize)
	native := binary.NativeEndian
	native.PutUint32(b[0:], uint32(len(b)))
	native.PutUint16(b[4:], sockDiagByFamily)
	native.PutUint16(b[6:], syscall.NLM_F_REQUEST)
	native.PutUint32(b[8:], 1)
	r := b[head:]
	src, dst := from.Addr().Unmap(), to.Addr().Unmap()
	r[0] = syscall.AF_INET6
	if src.Is4() {
		r[0] = syscall.AF_INET
	}
	r[1] = syscall.IPPROTO_TCP
	native.PutUint32(r[4:], diagStates)
	binary.BigEndian.PutUint16(r[8:], from.Port())
	binary.BigEndian.PutUint16(r[10:], to.Port())
	copy(r[12:28], src.AsSlice())
	copy(r[28:44], dst.AsSlice())
	for i := 48; i < 56; i++ { // INET_DIAG_NOCOOKIE
		r[i] = 0xff
	}
	return b
}

// diagAnswer reads what the kernel said about exactly this connection.
func diagAnswer(b []byte, from, to netip.AddrPort) (uid uint32, found bool, err error) {
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil || len(messages) == 0 {
		return 0, false, fmt.Errorf("sock_diag: the answer cannot be read: %w", errors.Join(err, syscall.EBADMSG))
	}
	m := messages[0]
	native := binary.NativeEndian
	switch {
	case m.Header.Type == syscall.NLMSG_ERROR && len(m.Data) >= 4:
		no := syscall.Errno(-int32(native.Uint32(m.Data)))
		if no == syscall.ENOENT {
			return 0, false, nil
		}
		return 0, false, fmt.Errorf("sock_diag: %w", no)
	case m.Header.Type != sockDiagByFamily || len(m.Data) < diagMsgSize:
		return 0, false, fmt.Errorf("sock_diag: an answer of type %d: %w", m.Header.Type, syscall.EBADMSG)
	}
	d := m.Data
	// A listener is found, too, where there is no such connection; only the ports tell.
	if binary.BigEndian.Uint16(d[4:]) != from.Port() || binary.BigEndian.Uint16(d[6:]) != to.Port() {
		return 0, false, nil
	}
	if native.Uint32(d[68:]) == 0 { // no inode: no process holds it any more, and the user means nothing
		return 0, false, nil
	}
	return native.Uint32(d[64:]), true, nil
}
