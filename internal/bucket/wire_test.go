package bucket

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"errors"
	"io"
	"maps"
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
		w, err := tr.wire(t.Context(), address{"http", l.Addr().String()}, time.Now().Add(time.Minute))
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
		keys := aws.Credentials{AccessKeyID: c.id, SessionToken: c.token}
		r := &http.Request{Method: http.MethodPut, Host: "a", URL: &url.URL{Scheme: "http", Host: "a", Path: "/k"}, Header: http.Header{}}
		if signed(new(signer).signingWith("s"), keys, r, "/k", unsigned, c.region, time.Now()) {
			t.Errorf("%q is signed: %v", c, r.Header)
		}
	}
}

// TestTextIsARequest: what is sent is read by net/http as what was to be sent, whatever is in it, or it is left to net/http.
func TestTextIsARequest(t *testing.T) {
	with := new(signer).signingWith("secret")
	tr := &Transport{Transport: &http.Transport{}}
	carried := 0
	rapid.Check(t, func(t *rapid.T) {
		b := &Bucket{cfg: Config{UserAgent: "s3apu", ACL: rapid.SampledFrom([]string{"", "private"}).Draw(t, "acl")}}
		pick := func(what string, usual ...string) string { // or, seldom, something odd
			odd := []string{"", "a b", "a\r\nX-Evil: 1", "a\n", "\r\nX", "\x00", "é", "a\tb", "a:", "a/b", "[fe80::1%25eth0]:9000", rapid.String().Draw(t, "any")}
			if rapid.IntRange(0, 19).Draw(t, what) == 0 {
				usual = odd
			}
			return rapid.SampledFrom(usual).Draw(t, what)
		}
		h := protocol.Headers{ContentType: pick("type", "", "text/css"), Meta: map[string]string{}}
		for range rapid.IntRange(0, 6).Draw(t, "metadata") {
			h.Meta[pick("name", "a", "A", "a-b", "a_b", "1", "-", "mTime")] = pick("value", "", "1", "x y")
		}
		host := pick("host", "a.example", "a.example:9000", "[::1]:9000")
		key := rapid.StringN(1, 20, 60).Draw(t, "key")
		body := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "body")
		at := location{base: url.URL{Scheme: "http", Host: host, Path: "/b"}, region: "r"}
		r := b.request(nil, at, protocol.Key(key), h, int64(len(body)), md5.Sum(body), pick("token", "", "a/b+="), unsigned, "20261129T080000Z")
		var ok bool
		if r.auth, ok = with.signPlain("id", &r, unsigned, "20261129T080000Z"); !ok || !tr.carries("http", host) {
			return
		}
		carried++
		text, err := tr.text(&r, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(*text)))
		if err != nil {
			t.Fatalf("%v: %q", err, *text)
		}
		content, err := io.ReadAll(got.Body)
		want := r.http()
		got.Header.Del("Content-Length") // it is in the request itself
		if err != nil || !bytes.Equal(content, body) || got.URL.Path != "/b/"+key || got.Host != host || got.ContentLength != int64(len(body)) ||
			!maps.EqualFunc(got.Header, want.Header, slices.Equal) || want.URL.Path != got.URL.Path || want.Header.Get("Authorization") == "" {
			t.Fatalf("%q becomes %+v, not %+v", *text, got, want)
		}
		tr.done(text)
	})
	if carried == 0 {
		t.Error("no request was carried")
	}
	r := request{at: location{base: url.URL{Host: "a"}}, path: "/", size: 5}
	if _, err := tr.text(&r, strings.NewReader("four")); err == nil {
		t.Error("a body that is too short is sent")
	}
}
