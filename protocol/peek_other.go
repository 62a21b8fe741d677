//go:build !linux && !darwin

package protocol

import "net"

// peek cannot tell without waiting on this system.
func peek(net.Conn) peeked { return peekNothing }
