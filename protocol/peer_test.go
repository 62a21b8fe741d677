package protocol

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// asUser says that every client is this user.
func asUser(uid uint32) func(net.Conn) (uint32, error) {
	return func(net.Conn) (uint32, error) { return uid, nil }
}

const stranger = 4_000_000_000 // no user of this machine

func TestUsers(t *testing.T) {
	self := uint32(max(os.Getuid(), 0))
	unknown := func(net.Conn) (uint32, error) { return 0, errNoUID }
	for name, tc := range map[string]struct {
		peers Peers
		want  string // the answer to del|a, or "closed"
	}{
		"root":                     {Peers{UID: asUser(0)}, "ok"},
		"our own":                  {Peers{UID: asUser(self)}, "ok"},
		"allowed":                  {Peers{UID: asUser(stranger), AllowUsers: []uint32{1, stranger}}, "ok"},
		"a stranger":               {Peers{UID: asUser(stranger)}, "closed"},
		"a stranger, others may":   {Peers{UID: asUser(stranger), AllowUsers: []uint32{1}}, "closed"},
		"unknown":                  {Peers{UID: unknown}, "closed"},
		"a stranger without token": {Peers{UID: asUser(stranger), Token: "t"}, "closed"},
		"root with a token set":    {Peers{UID: asUser(0), Token: "t"}, "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			q := newFakeQueue()
			logs := &logBuffer{}
			w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, Peers: tc.peers, Log: logs.logger(),
				CheckGuest: func(Guest, Instruction) error { return nil }}))
			w.send(b64("del|a") + "\n")
			got := w.text()
			if tc.want == "closed" {
				if ready, _, _ := q.counts(); got != "invalid" || !w.ended() || ready != 0 {
					t.Errorf("answered %q; %d instructions", got, ready)
				}
				if !strings.Contains(logs.String(), "a client was refused") {
					t.Errorf("the log: %s", logs)
				}
			} else if got != tc.want {
				t.Errorf("answered %q", got)
			}
		})
	}
}

func TestToken(t *testing.T) {
	const token = "s3cret +|é"
	logs := &logBuffer{}
	q := newFakeQueue()
	addr := startServer(t, &Server{Handler: q, Log: logs.logger(), Peers: Peers{UID: asUser(stranger), Token: token}})
	w := dialWire(t, "tcp", addr)
	w.send(b64("tok|"+escape(token)) + "\n" + b64("del|a") + "\n")
	for range 2 {
		if got := w.text(); got != "ok" {
			t.Errorf("after the right token: %q", got)
		}
	}
	for _, first := range []string{"tok|wrong", "tok|", "tok", "tok|" + escape(token) + "x", "del|a", "tok|%", "get|1", strings.Repeat("x", 2*MaxLine)} {
		w := dialWire(t, "tcp", addr)
		go w.conn.Write([]byte(b64(first) + "\n" + b64("del|b") + "\n"))
		if got := w.text(); got != "invalid" || !w.ended() {
			t.Errorf("%.20q was answered %q, or not cut off", first, got)
		}
	}
	w = dialWire(t, "tcp", addr)
	w.send("!" + escape(token) + "\n")
	if got := w.text(); got != "invalid" || !w.ended() {
		t.Errorf("a token without base64 was answered %q", got)
	}
	if ready, _, _ := q.counts(); ready != 1 {
		t.Errorf("%d instructions", ready)
	}
	// A slip by somebody who is let in anyway.
	w = dialWire(t, "tcp", startServer(t, &Server{Handler: q, Log: logs.logger(), Peers: Peers{UID: asUser(0)}}))
	if got := w.ask("tok|s3cret"); got != "ok" {
		t.Errorf("a token that nobody needs: %q", got)
	}
	w.send(b64("TOK|s3cret") + "\n" + b64("tok|s3cret") + "=\ntok|s3cret\n")
	w.text()
	w.text()
	w.text()
	for _, secret := range []string{"s3cret", b64("tok|s3cret")[4:]} {
		if strings.Contains(logs.String(), secret) {
			t.Errorf("the log holds the token: %s", logs)
		}
	}
}

func TestTokenTimeout(t *testing.T) {
	bubble(t, func(s *Server) { s.Peers = Peers{UID: asUser(stranger), Token: "t"} }, func(t *testing.T, _ *fakeQueue, l *pipeListener, _ func()) {
		w := l.dial(t)
		began := time.Now()
		if _, err := w.line(); err == nil || time.Since(began) != tokenTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestUnixPeers(t *testing.T) {
	logs := &logBuffer{}
	s := &Server{Handler: newFakeQueue(), Log: logs.logger(), Peers: Peers{UID: asUser(stranger), Token: "t"}}
	w := dialWire(t, "unix", listenFor(t, s, "unix"))
	if got := w.ask("del|a"); got != "ok" {
		t.Errorf("who may open the socket was answered %q", got)
	}
	w.ask("nope")
	if canTellUsers && !strings.Contains(logs.String(), "peer=\"unix pid=") {
		t.Errorf("the log does not name the process: %s", logs)
	}
}

func TestNoUserBeyondLoopback(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := loopbackUID(a); !errors.Is(err, errNoUID) {
		t.Errorf("a pipe: %v", err)
	}
	for _, addrs := range [][2]string{{"192.0.2.1:5", "192.0.2.2:6"}, {"127.0.0.1:5", "192.0.2.2:6"}, {"192.0.2.1:5", "127.0.0.1:6"}} {
		c := fakeConn{Conn: a, local: tcpAddr(t, addrs[0]), remote: tcpAddr(t, addrs[1])}
		if _, err := loopbackUID(c); !errors.Is(err, errNoUID) {
			t.Errorf("%v: %v", addrs, err)
		}
	}
}

type fakeConn struct {
	net.Conn
	local, remote net.Addr
}

func (c fakeConn) LocalAddr() net.Addr  { return c.local }
func (c fakeConn) RemoteAddr() net.Addr { return c.remote }

func tcpAddr(t *testing.T, s string) net.Addr {
	a, err := net.ResolveTCPAddr("tcp", s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
