package protocol

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"slices"
)

// Peers says who may speak to the socket.
//
// On a unix socket the mode of its file decides, and everybody who could connect is let in. On loopback TCP the user of
// the client's process is looked up, which only Linux can: root, the agent's own user and AllowUsers are let in.
// Everybody else, and everybody elsewhere, needs the Token: the first line must be "tok|TOKEN". Without a Token they
// are refused.
//
// Who is neither root nor the agent's own user and has not shown the Token is a [Guest], with fewer requests and with its own
// rights on files. A system that cannot tell the user of a unix socket's client has no guests there.
//
// The token crosses the network as it is. It keeps out other users and strangers, not somebody who listens on the wire.
type Peers struct {
	AllowUsers []uint32 // user ids
	Token      string   // empty: there is none

	// UID finds the user at the other end of a connection that is not a unix socket; an error means that it cannot be
	// told. Nil is the way of the system, which takes connections within the loopback only.
	UID func(net.Conn) (uint32, error)
}

// errNoUID is what a UID function returns where there is no way to tell.
var errNoUID = errors.New("the client's user cannot be told here")

// admission is what Peers decides about a connection.
type admission uint8

const (
	admitted   admission = iota + 1
	needsToken           // it must say the token first
	refused
)

var errUser = errors.New("its user is not allowed, and there is no token")

// visitor is what is known about a new connection.
type visitor struct {
	admission admission
	name      string // for the log
	ours      bool   // root or the agent's own user; true, too, on a unix socket where the system cannot tell
	guest     Guest  // whose rights bound what it may have uploaded; empty: it is ours, or the token will decide
	why       error  // it is refused
}

// process is the other end of a unix socket.
type process struct {
	pid    int32
	uid    uint32
	gids   []uint32 // the effective group and, if they can be told, the supplementary ones
	groups bool     // they could be told
}

// judge decides about a new connection.
func (p *Peers) judge(c net.Conn) visitor {
	if isUnix(c.LocalAddr()) {
		return judgeUnix(c)
	}
	v := visitor{admission: refused, name: "tcp " + c.RemoteAddr().String()}
	lookup := p.UID
	if lookup == nil {
		lookup = loopbackUID
	}
	uid, err := lookup(c)
	if v.why = err; err == nil {
		v.name += fmt.Sprintf(" uid=%d", uid)
		v.ours, v.why = owns(uid), errUser
		if v.ours || slices.Contains(p.AllowUsers, uid) {
			v.admission, v.why = admitted, nil
			if !v.ours {
				v.guest = NewGuest(uid, nil, false) // TCP does not tell the groups
			}
			return v
		}
	}
	if p.Token != "" {
		v.admission, v.why = needsToken, nil
	}
	return v
}

// tokenOK compares in a time that tells nothing about the token. Where there is no token every one is right.
func (p *Peers) tokenOK(token string) bool {
	if p.Token == "" {
		return true
	}
	a, b := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(p.Token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// loopbackUID is the system's way to find the user, for connections that cannot have come from another machine.
func loopbackUID(c net.Conn) (uint32, error) {
	local, ok1 := c.LocalAddr().(*net.TCPAddr)
	remote, ok2 := c.RemoteAddr().(*net.TCPAddr)
	if !ok1 || !ok2 || !local.IP.IsLoopback() || !remote.IP.IsLoopback() {
		return 0, errNoUID
	}
	return tcpUID(remote.AddrPort(), local.AddrPort())
}

func isUnix(a net.Addr) bool { return a.Network() == "unix" }

// judgeUnix lets everybody in whom the mode of the socket's file let connect.
func judgeUnix(c net.Conn) visitor {
	p, ok := unixPeer(c)
	if !ok {
		return visitor{admission: admitted, name: "unix", ours: true}
	}
	v := visitor{admission: admitted, name: fmt.Sprintf("unix pid=%d uid=%d", p.pid, p.uid), ours: owns(p.uid)}
	if !v.ours {
		v.guest = NewGuest(p.uid, p.gids, p.groups)
	}
	return v
}
