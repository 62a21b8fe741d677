package protocol

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// The real tables, for connections of every kind that loopback has.
func TestUserOfRealConnections(t *testing.T) {
	for _, tc := range []struct{ listen, dial string }{
		{"127.0.0.1:0", "tcp4"}, {"[::1]:0", "tcp6"}, {"127.0.0.1:0", "tcp"},
	} {
		ln, err := net.Listen("tcp", tc.listen)
		if err != nil {
			t.Logf("left out: %s: %v", tc.listen, err)
			continue
		}
		c, err := net.Dial(tc.dial, ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if uid, err := loopbackUID(s); err != nil || int(uid) != os.Getuid() {
			t.Errorf("%s: user %d, %v", tc.listen, uid, err)
		}
		c.(*net.TCPConn).CloseWrite() // which a client may do as soon as it has sent its requests
		if uid, err := loopbackUID(s); err != nil || int(uid) != os.Getuid() {
			t.Errorf("%s, half closed: user %d, %v", tc.listen, uid, err)
		}
		c.Close()
		if uid, err := loopbackUID(s); err == nil {
			t.Errorf("%s: a connection without a process belongs to user %d", tc.listen, uid)
		}
		s.Close()
		ln.Close()
	}
}

func TestUserTables(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the tables of this test are those of a little-endian machine")
	}
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	row := func(local, remote, state, uid, inode string) string {
		return "   0: " + local + " " + remote + " " + state + " 00000000:00000000 00:00000000 00000000  " + uid + "        0 " + inode + " 1 0000000000000000 20 4 30 10 -1\n"
	}
	from, to := netip.MustParseAddrPort("127.0.0.1:4660"), netip.MustParseAddrPort("127.0.0.1:19998")
	const f4, t4 = "0100007F:1234", "0100007F:4E1E"
	const f6, t6 = "0000000000000000FFFF00000100007F:1234", "0000000000000000FFFF00000100007F:4E1E"
	long := strings.Repeat(row("0100007F:0001", "0100007F:0002", "01", "1", "1"), 5000)
	for name, tc := range map[string]struct {
		reads [][2]string // tcp and tcp6, one pair for each time they are read; the last one stays
		want  int         // -1: cannot be told
	}{
		"a user":                    {[][2]string{{head + row(f4, t4, "01", "1000", "77"), head}}, 1000},
		"a mapped address":          {[][2]string{{head, head + row(f6, t6, "01", "1000", "77")}}, 1000},
		"half closed":               {[][2]string{{head + row(f4, t4, "05", "1000", "77"), head}}, 1000},
		"behind many":               {[][2]string{{head + long + row(f4, t4, "01", "1000", "77"), head}}, 1000},
		"root, twice":               {[][2]string{{head + row(f4, t4, "01", "0", "77"), head}}, 0},
		"the other way round":       {[][2]string{{head + row(t4, f4, "01", "0", "77"), head}}, -1},
		"another port":              {[][2]string{{head + row(f4, "0100007F:4E1F", "01", "0", "77"), head}}, -1},
		"time wait":                 {[][2]string{{head + row(f4, t4, "06", "0", "0"), head}}, -1},
		"orphaned":                  {[][2]string{{head + row(f4, t4, "05", "0", "0"), head}}, -1},
		"caught while being closed": {[][2]string{{head + row(f4, t4, "05", "0", "77"), head}, {head + row(f4, t4, "05", "0", "0"), head}}, -1},
		"seen at the second look":   {[][2]string{{head, head}, {head + row(f4, t4, "01", "1000", "77"), head}}, 1000},
		"another socket each time": {[][2]string{{head + row(f4, t4, "01", "0", "77"), head}, {head + row(f4, t4, "01", "0", "78"), head},
			{head + row(f4, t4, "01", "0", "79"), head}}, -1},
		"cut off":  {[][2]string{{head + "   0: " + f4 + " " + t4 + " 01 0", head}}, -1},
		"rubbish":  {[][2]string{{head + row(f4, t4, "01", "x", "77"), head}}, -1},
		"negative": {[][2]string{{head + row(f4, t4, "01", "-1", "77"), head}}, -1},
	} {
		reads := 0
		uid, err := tablesUID(from, to, func() ([]io.ReadCloser, error) {
			pair := tc.reads[min(reads, len(tc.reads)-1)]
			reads++
			return []io.ReadCloser{io.NopCloser(strings.NewReader(pair[0])), io.NopCloser(strings.NewReader(pair[1]))}, nil
		})
		if (err == nil) != (tc.want >= 0) || err == nil && int(uid) != tc.want {
			t.Errorf("%s: user %d, %v", name, uid, err)
		}
	}
	broken := errors.New("broken")
	if _, err := tablesUID(from, to, func() ([]io.ReadCloser, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("tables that cannot be opened: %v", err)
	}
	if got := procAddr(netip.MustParseAddrPort("[::1]:1"), false); got != "00000000000000000000000001000000:0001" {
		t.Error(got)
	}
}
