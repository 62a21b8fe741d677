//go:build !linux

package protocol

import "net"

// limitUnacknowledged does nothing here: the keepalive and the deadline of each write find a dead peer.
func limitUnacknowledged(*net.TCPConn) {}
