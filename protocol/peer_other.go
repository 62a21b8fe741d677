//go:build !linux

package protocol

import (
	"net"
	"net/netip"
)

// canTellUsers says that tcpUID does not work on this system.
const canTellUsers = false

// tcpUID needs /proc/net/tcp.
func tcpUID(_, _ netip.AddrPort) (uint32, error) { return 0, errNoUID }

// unixPeer is not known without more than the standard library.
func unixPeer(net.Conn) (p process, ok bool) { return p, false }
