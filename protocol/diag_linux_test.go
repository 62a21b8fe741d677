package protocol

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// loopbackPair is a connection, with the addresses as the server sees them.
func loopbackPair(t testing.TB, listen, dial string) (client, server net.Conn, from, to netip.AddrPort) {
	t.Helper()
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		t.Skip("this machine has no such loopback: ", err)
	}
	defer ln.Close()
	client, err = net.Dial(dial, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server, server.RemoteAddr().(*net.TCPAddr).AddrPort(), server.LocalAddr().(*net.TCPAddr).AddrPort()
}

// needDiag skips where the kernel cannot be asked; the tables are used there.
func needDiag(t testing.TB) {
	t.Helper()
	a := netip.MustParseAddrPort("127.0.0.1:1")
	if _, _, err := diagUID(a, a); err != nil {
		t.Skip("the kernel cannot be asked for one socket here: ", err)
	}
}

// The kernel's answer and its tables say the same, for every kind and state of a connection.
func TestDiagAgreesWithTheTables(t *testing.T) {
	needDiag(t)
	for _, tc := range []struct{ listen, dial string }{
		{"127.0.0.1:0", "tcp4"}, {"[::1]:0", "tcp6"}, {"127.0.0.1:0", "tcp"}, {"[::]:0", "tcp4"}, {"[::]:0", "tcp"},
	} {
		t.Run(tc.listen+" "+tc.dial, func(t *testing.T) {
			c, s, from, to := loopbackPair(t, tc.listen, tc.dial)
			agree := func(state string, known bool) {
				t.Helper()
				uid1, found, err := diagUID(from, to)
				uid2, err2 := procUID(from, to)
				if err != nil || found != known || (err2 == nil) != known || uid1 != uid2 || known && int(uid1) != os.Getuid() {
					t.Errorf("%s: the kernel says %d (%v, %v), the tables %d (%v)", state, uid1, found, err, uid2, err2)
				}
			}
			agree("open", true)
			// The server's end is a socket of IPv6 that speaks IPv4 in some of these, as a client's may be.
			if uid, found, err := diagUID(to, from); err != nil || !found || int(uid) != os.Getuid() {
				t.Errorf("the server's end: user %d, %v, %v", uid, found, err)
			}
			c.(*net.TCPConn).CloseWrite()
			agree("half closed", true)
			c.Close()
			agree("without a process", false)
			s.Close()
			from = netip.AddrPortFrom(from.Addr(), 1)
			agree("never there", false)
		})
	}
}

// The user is that of the process at the other end, not ours.
func TestDiagSeesAnotherUser(t *testing.T) {
	needDiag(t)
	bash, err := exec.LookPath("bash")
	if os.Getuid() != 0 || err != nil {
		t.Skip("needs root and bash, to connect as somebody else")
	}
	const other = 65534
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := strings.Cut(ln.Addr().String(), ":")
	cmd := exec.Command(bash, "-c", "exec 3<>/dev/tcp/127.0.0.1/"+port+"; read x")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other}}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); cmd.Wait() }()
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if uid, err := loopbackUID(s); err != nil || uid != other {
		t.Errorf("user %d, %v", uid, err)
	}
}

// Answers that are not what was asked for are refused, not read as user 0.
func TestDiagAnswers(t *testing.T) {
	from, to := netip.MustParseAddrPort("127.0.0.1:4660"), netip.MustParseAddrPort("127.0.0.1:19998")
	message := func(kind uint16, data []byte) []byte {
		b := make([]byte, syscall.NLMSG_HDRLEN, syscall.NLMSG_HDRLEN+len(data))
		binary.NativeEndian.PutUint32(b, uint32(syscall.NLMSG_HDRLEN+len(data)))
		binary.NativeEndian.PutUint16(b[4:], kind)
		return append(b, data...)
	}
	socket := func(sport, dport uint16, uid, inode uint32) []byte {
		d := make([]byte, diagMsgSize)
		binary.BigEndian.PutUint16(d[4:], sport)
		binary.BigEndian.PutUint16(d[6:], dport)
		binary.NativeEndian.PutUint32(d[64:], uid)
		binary.NativeEndian.PutUint32(d[68:], inode)
		return message(sockDiagByFamily, d)
	}
	failure := func(no syscall.Errno) []byte {
		return message(syscall.NLMSG_ERROR, binary.NativeEndian.AppendUint32(nil, uint32(-int32(no))))
	}
	for name, tc := range map[string]struct {
		answer []byte
		uid    uint32
		found  bool
		bad    bool
	}{
		"a user":           {socket(4660, 19998, 1000, 7), 1000, true, false},
		"a listener":       {socket(19998, 0, 0, 7), 0, false, false},
		"the other end":    {socket(19998, 4660, 0, 7), 0, false, false},
		"orphaned":         {socket(4660, 19998, 0, 0), 0, false, false},
		"none":             {failure(syscall.ENOENT), 0, false, false},
		"forbidden":        {failure(syscall.EPERM), 0, false, true},
		"cut off":          {message(sockDiagByFamily, make([]byte, 8)), 0, false, true},
		"nothing":          {nil, 0, false, true},
		"of another kind":  {message(syscall.NLMSG_DONE, make([]byte, 80)), 0, false, true},
		"half of a header": {make([]byte, 7), 0, false, true},
	} {
		uid, found, err := diagAnswer(tc.answer, from, to)
		if uid != tc.uid || found != tc.found || (err != nil) != tc.bad {
			t.Errorf("%s: user %d, %v, %v", name, uid, found, err)
		}
	}
}

func BenchmarkPeerLookup(b *testing.B) {
	_, _, from, to := loopbackPair(b, "127.0.0.1:0", "tcp4")
	b.Run("diag", func(b *testing.B) {
		needDiag(b)
		for b.Loop() {
			if _, _, err := diagUID(from, to); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("tables", func(b *testing.B) {
		for b.Loop() {
			if _, err := procUID(from, to); err != nil {
				b.Fatal(err)
			}
		}
	})
}
