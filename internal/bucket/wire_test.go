package bucket

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"pgregory.net/rapid"

	"s3apu/protocol"
)

// TestIdleConnectionsAreClosed keeps connections as long as they may be idle, and no more of them than was said.
func TestIdleConnectionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []net.Conn
		to, other := address{"http", "a"}, address{"http", "b"}
		c := wires{most: 2}
		put := func(to address) *wire {
			ours, theirs := net.Pipe()
			all = append(all, theirs)
			w := &wire{to: to, conn: ours}
			c.put(w, time.Now())
			return w
		}
		open := func() (n int) {
			for _, c := range all {
				_ = c.SetReadDeadline(time.Now().Add(time.Nanosecond))
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					n++
				}
			}
			return n
		}
		pass := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}
		first := put(to)
		pass(idleTimeout / 3)
		second := put(to)
		put(other)
		if put(to); open() != 3 {
			t.Errorf("%d are open, not 3: two for one address", open())
		}
		if got := c.take(to); got != second {
			t.Error("what was used last is not what is used next")
		}
		c.put(second, time.Now())
		pass(idleTimeout - idleTimeout/3 + time.Second)
		if open() != 2 {
			t.Errorf("%d are open, not 2: the first was idle for too long", open())
		}
		if got := c.take(to); got != second || c.take(to) != nil || got == first {
			t.Error("one that is closed is kept")
		}
		c.put(second, time.Now())
		pass(2 * idleTimeout)
		if open() != 0 || c.timer != nil || len(c.idle) != 0 {
			t.Errorf("%d are open, and there is nothing to do; a timer: %v", open(), c.timer != nil)
		}
		put(to)
		if c.closeIdle(time.Now()); open() != 0 || c.timer != nil {
			t.Errorf("%d are open", open())
		}
	})
}

// TestSuspendedMachine: the clock of the timer stands still while a machine sleeps, and the wall's goes on.
func TestSuspendedMachine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tr, err := NewTransport(TransportConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.CloseIdleConnections()
	wire := func() *wire {
		w, err := tr.wire(t.Context(), "http", l.Addr().String(), time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	first := wire()
	if tr.wires.put(first, time.Now()); wire() != first {
		t.Error("a connection that was just idle is not used again")
	}
	tr.wires.put(first, time.Now().Round(0).Add(-time.Hour))
	second := wire()
	if second == first {
		t.Error("one that has been idle for an hour, by the wall's clock, is used again")
	}
	_ = second.conn.Close()
}

// TestKeysThatAreNoText: what net/http would refuse in a header is left to it.
func TestKeysThatAreNoText(t *testing.T) {
	for _, c := range []struct{ id, token, region string }{
		{"id\r\nX-Evil: 1", "", "r"}, {"id\n", "", "r"}, {"id", "t\r\nX-Evil: 1", "r"}, {"id", "", "r\r\nX-Evil: 1"}, {"é", "", "r"},
	} {
		r := &http.Request{Method: http.MethodPut, Host: "a", URL: &url.URL{Scheme: "http", Host: "a", Path: "/k"}, Header: http.Header{}}
		keys := aws.Credentials{AccessKeyID: c.id, SessionToken: c.token}
		if new(signer).signingWith("s").signPlain(keys, r, "/k", unsigned, c.region, time.Now()) || len(r.Header) > 0 {
			t.Errorf("%q is signed: %v", c, r.Header)
		}
	}
}

// TestTextIsARequest: what is sent is read by net/http as what was to be sent, whatever is in it, or it is left to net/http.
func TestTextIsARequest(t *testing.T) {
	var s signer
	tr := &Transport{Transport: &http.Transport{}}
	carried := 0
	rapid.Check(t, func(t *rapid.T) {
		head := http.Header{"User-Agent": {"s3apu"}}
		for range rapid.IntRange(0, 6).Draw(t, "headers") {
			name := rapid.SampledFrom([]string{"Content-Type", "X-Amz-Acl", "X-Amz-Meta-A", "X-Amz-Meta-A b", "X-Amz-Meta-A:", "X-Amz-Meta-\r\nX", "X-Amz-Meta-é", ""}).Draw(t, "name")
			head[name] = []string{rapid.OneOf(rapid.SampledFrom([]string{"", "a", "a b", "a\r\nX-Evil: 1", "a\n", "\x00", "é", "a\tb"}), rapid.String()).Draw(t, "value")}
		}
		host := rapid.SampledFrom([]string{"a.example", "a.example:9000", "[::1]:9000", "[fe80::1%25eth0]:9000", "a b", "a\r\nX: y", "é.example", "a/b"}).Draw(t, "host")
		key := rapid.StringN(1, 20, 60).Draw(t, "key")
		body := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "body")
		path := "/" + escapeKey(protocol.Key(key))
		r := &http.Request{Method: http.MethodPut, Host: host, Header: head, ContentLength: int64(len(body)),
			URL: &url.URL{Scheme: "http", Host: host, Path: "/" + key, RawPath: path}}
		if !s.signingWith("secret").signPlain(aws.Credentials{AccessKeyID: "id"}, r, path, unsigned, "r", time.Now()) || !tr.carries(r) {
			return
		}
		carried++
		text, err := tr.text(r, path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		in := bytes.NewReader(*text)
		got, err := http.ReadRequest(bufio.NewReader(in))
		if err != nil {
			t.Fatalf("%v: %q", err, *text)
		}
		content, err := io.ReadAll(got.Body)
		got.Header.Del("Content-Length") // it is in the request itself
		same := len(got.Header) == len(r.Header)
		for name, values := range r.Header {
			same = same && slices.Equal(got.Header[name], values)
		}
		if err != nil || !bytes.Equal(content, body) || got.URL.Path != "/"+key || got.Host != host || !same || got.ContentLength != int64(len(body)) {
			t.Fatalf("%q becomes %+v", *text, got)
		}
		tr.done(text)
	})
	if carried == 0 {
		t.Error("no request was carried")
	}
	r := &http.Request{Method: http.MethodPut, Host: "a", Header: http.Header{}, ContentLength: 5}
	if _, err := tr.text(r, "/", strings.NewReader("four")); err == nil {
		t.Error("a body that is too short is sent")
	}
}
