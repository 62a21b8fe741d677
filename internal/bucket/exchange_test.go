package bucket_test

import (
	"bufio"
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

// etagOf is the header that S3 answers to a PUT of body.
func etagOf(body []byte) string { return fmt.Sprintf(`"%x"`, md5.Sum(body)) }

// counted returns a server, not started yet, that counts its connections.
func counted(t *testing.T, h http.HandlerFunc) (srv *httptest.Server, connections *atomic.Int32) {
	t.Helper()
	connections = new(atomic.Int32)
	srv = httptest.NewUnstartedServer(h)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	t.Cleanup(srv.Close)
	return srv, connections
}

// stores answers a PUT as S3 does.
func stores(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("ETag", etagOf(body))
}

// TestExchangeIsNetHTTPs sends requests with and without net/http: a server cannot tell which is which.
func TestExchangeIsNetHTTPs(t *testing.T) {
	var got *http.Request
	var content []byte
	srv, _ := counted(t, func(w http.ResponseWriter, r *http.Request) {
		content, _ = io.ReadAll(r.Body)
		got = r
		w.Header().Set("ETag", etagOf(content))
	})
	srv.Start()
	without := reach(t, srv.URL, func(c *bucket.Config) { c.UserAgent = "test/1" })
	tr, err := bucket.NewTransport(bucket.TransportConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.CloseIdleConnections()
	with := reach(t, srv.URL, func(c *bucket.Config) { c.UserAgent, c.Transport = "test/1", tr.Transport })
	for _, key := range []protocol.Key{"plain", "a b/é", "a//b", "/first", "./x/../y", "dir/", "+&=?#%41;,:@!$'()*[]", "日本/\U0001f600", "a\x01\x7f"} {
		for _, body := range []string{"", "content", strings.Repeat("x", 24<<10)} {
			var was *http.Request
			for _, b := range []*bucket.Bucket{with, without} {
				h := protocol.Headers{ContentType: "text/css", Meta: map[string]string{"mode": "0100644", "mark": "x y"}}
				if _, err := b.Put(t.Context(), key, h, strings.NewReader(body), int64(len(body)), md5.Sum([]byte(body))); err != nil {
					t.Fatal(err)
				}
				if string(content) != body {
					t.Fatalf("%q: %d bytes have arrived, not %d", key, len(content), len(body))
				}
				for _, name := range []string{"X-Amz-Date", "Authorization"} { // of the second
					if got.Header.Get(name) == "" {
						t.Errorf("%q: no %s", key, name)
					}
					got.Header.Del(name)
				}
				if was == nil {
					was = got
				}
			}
			if got.RequestURI != was.RequestURI || got.Method != was.Method || got.Host != was.Host || got.ContentLength != was.ContentLength ||
				got.Proto != was.Proto || !maps.EqualFunc(got.Header, was.Header, slices.Equal) {
				t.Errorf("%q:\n%+v\nby net/http\n%+v", key, got, was)
			}
		}
	}
}

// TestConnectionsAreUsedAgain, in plain and over TLS; and they are as many as there are requests at once.
func TestConnectionsAreUsedAgain(t *testing.T) {
	for _, secure := range []bool{false, true} {
		srv, n := counted(t, stores)
		tr, err := bucket.NewTransport(bucket.TransportConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if secure {
			srv.StartTLS()
			tr.TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig
		} else {
			srv.Start()
		}
		b := reach(t, srv.URL, func(c *bucket.Config) { c.Transport = tr })
		for i := range 50 {
			if _, err := put(b, strconv.Itoa(i)); err != nil {
				t.Fatal(err)
			}
		}
		if n.Load() != 1 {
			t.Errorf("TLS %v: %d connections for requests one after another", secure, n.Load())
		}
		var group sync.WaitGroup
		for hand := range 8 {
			group.Go(func() {
				for i := range 50 {
					if _, err := put(b, strconv.Itoa(hand*1000+i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		if n.Load() > 8 {
			t.Errorf("TLS %v: %d connections for 8 requests at once", secure, n.Load())
		}
		tr.CloseIdleConnections()
	}
}

// TestProxiesAreNetHTTPs: where there is a proxy it gets the request.
func TestProxiesAreNetHTTPs(t *testing.T) {
	var asked atomic.Pointer[string]
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uri := r.RequestURI
		asked.Store(&uri)
		stores(w, r)
	}))
	defer proxy.Close()
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := bucket.NewTransport(bucket.TransportConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.CloseIdleConnections()
	tr.Proxy = http.ProxyURL(at)
	if _, err := put(reach(t, "http://s3.invalid", func(c *bucket.Config) { c.Transport = tr }), "x"); err != nil {
		t.Fatal(err)
	}
	if uri := asked.Load(); uri == nil {
		t.Error("the proxy was not asked")
	} else if *uri != "http://faulty.s3.invalid/a/key" {
		t.Errorf("the proxy was asked for %s", *uri)
	}
}

// accepting gives each connection to its address to serve, which runs in a goroutine of its own, and closes it then.
func accepting(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); group.Wait() })
	return l.Addr().String()
}

// eachRequest reads request by request and has the body of each answered by say, until that is false or there is none.
func eachRequest(c io.Reader, say func(body []byte) bool) {
	for in := bufio.NewReader(c); ; {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if body, err := io.ReadAll(r.Body); err != nil || !say(body) {
			return
		}
	}
}

// wireServer answers each request on a connection by what say writes, given the number of the request from 1; false closes it.
func wireServer(t *testing.T, say func(n int, c net.Conn, body []byte) bool) (endpoint string, connections *atomic.Int32) {
	t.Helper()
	connections = new(atomic.Int32)
	var requests atomic.Int32
	addr := accepting(t, func(c net.Conn) {
		connections.Add(1)
		eachRequest(c, func(body []byte) bool { return say(int(requests.Add(1)), c, body) })
	})
	return "http://" + addr, connections
}

// TestOddAnswers: what a server may say, and what it may not. The later attempts of a PUT are the SDK's, by net/http, which keeps silent
// about an answer without an end until it has waited for long enough.
func TestOddAnswers(t *testing.T) {
	good := "HTTP/1.1 200 OK\r\nETag: " + etagOf([]byte("x")) + "\r\nContent-Length: 0\r\n\r\n"
	forbidden := "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
	for _, c := range []struct {
		name, answer string
		kind         protocol.Kind // KindUnknown: it is stored
		connections  int32         // for two PUTs
	}{
		{"good", good, protocol.KindUnknown, 1},
		{"early answers", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + good, protocol.KindUnknown, 1},
		{"chunked, empty", strings.Replace(good, "Content-Length: 0", "Transfer-Encoding: chunked", 1) + "0\r\n\r\n", protocol.KindUnknown, 1},
		{"goodbye", strings.Replace(good, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1), protocol.KindUnknown, 2},
		{"HTTP/1.0", strings.Replace(good, "1.1", "1.0", 1), protocol.KindUnknown, 2},
		{"more than was asked for", good + good, protocol.KindUnknown, 2},
		{"refused", fmt.Sprintf("HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s", len(forbidden), forbidden), protocol.KindTarget, 1},
		{"refused, chunked", fmt.Sprintf("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(forbidden), forbidden), protocol.KindTarget, 1},
		{"an error in a success", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", 65, "<Error><Code>InternalError</Code><Message>no</Message></Error>   "), protocol.KindTransient, 2},
		{"a head without end", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 2000), protocol.KindTransient, 4},
		{"a line without end", "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 3<<20), protocol.KindTransient, 4},
		{"a body without end", "HTTP/1.1 500 No\r\nContent-Length: 99999999\r\n\r\n" + strings.Repeat("a", 3<<20), protocol.KindTransient, 4},
		{"a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", protocol.KindTransient, 6},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n", protocol.KindTransient, 6},
		{"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n", protocol.KindTransient, 6},
		{"nothing", "", protocol.KindTransient, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			endpoint, connections := wireServer(t, func(_ int, to net.Conn, _ []byte) bool {
				_, err := io.WriteString(to, c.answer)
				return c.answer != "" && err == nil
			})
			b := reach(t, endpoint, func(cfg *bucket.Config) { cfg.Stall = time.Second / 2 })
			for range 2 {
				_, err := put(b, "x")
				if c.kind == protocol.KindUnknown && err != nil {
					t.Error(err)
				} else if c.kind != protocol.KindUnknown {
					check(t, err, c.kind)
				}
			}
			if n := connections.Load(); n != c.connections {
				t.Errorf("%d connections, not %d", n, c.connections)
			}
		})
	}
}

// TestAnswerInPieces: an answer may come in pieces, wherever it is cut.
func TestAnswerInPieces(t *testing.T) {
	good := "HTTP/1.1 200 OK\r\nETag: " + etagOf([]byte("x")) + "\r\nX-Other: y\r\nContent-Length: 0\r\n\r\n"
	endpoint, connections := wireServer(t, func(n int, to net.Conn, _ []byte) bool {
		cut := n % (len(good) + 1)
		_, err := io.WriteString(to, good[:cut])
		<-time.After(time.Millisecond) // so that the first piece comes alone, as a rule
		_, failed := io.WriteString(to, good[cut:])
		return err == nil && failed == nil
	})
	b := reach(t, endpoint, func(cfg *bucket.Config) { cfg.Attempts = 1 })
	for range len(good) {
		if _, err := put(b, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestClosedWhileIdle: a server may close a connection on which nothing is under way, or say something on it, at any time. The next
// PUT does not fail by that.
func TestClosedWhileIdle(t *testing.T) {
	for name, last := range map[string]string{"closed": "", "closed with a word": "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			closed := make(chan struct{}, 1)
			endpoint, connections := wireServer(t, func(_ int, c net.Conn, body []byte) bool {
				requests.Add(1)
				_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nETag: %s\r\nContent-Length: 0\r\n\r\n", etagOf(body))
				// What follows comes behind the answer, but may come with it.
				_, _ = io.WriteString(c, last)
				_ = c.(*net.TCPConn).CloseWrite()
				closed <- struct{}{}
				return err == nil
			})
			b := reach(t, endpoint, func(cfg *bucket.Config) { cfg.Attempts = 1 })
			const n = 30
			for i := range n {
				if _, err := put(b, strconv.Itoa(i)); err != nil {
					t.Fatal(i, err)
				}
				<-closed // on loopback it is here by now
			}
			if requests.Load() != n || connections.Load() != n {
				t.Errorf("%d requests over %d connections, not %d over as many", requests.Load(), connections.Load(), n)
			}
		})
	}
}

// TestRefusedEarly: a server that answers before it has read the request, and closes.
func TestRefusedEarly(t *testing.T) {
	b := reach(t, "http://"+accepting(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: 42\r\n\r\n<Error><Code>SlowDown</Code></Error>      ")
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}))
	for range 20 {
		_, err := put(b, strings.Repeat("x", 20<<10))
		check(t, err, protocol.KindSlow)
	}
}

// TestBrokenOffIsNotUsedAgain: a connection whose request was broken off carries no other, for its answer may still come.
func TestBrokenOffIsNotUsedAgain(t *testing.T) {
	entered, free := make(chan struct{}), make(chan struct{})
	var n atomic.Int32
	endpoint, connections := wireServer(t, func(_ int, c net.Conn, body []byte) bool {
		if n.Add(1) == 1 {
			close(entered)
			<-free
		}
		_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nETag: %s\r\nContent-Length: 0\r\n\r\n", etagOf(body))
		return err == nil
	})
	b := reach(t, endpoint)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	_, err := b.Put(ctx, "k", protocol.Headers{}, strings.NewReader("first"), 5, md5.Sum([]byte("first")))
	check(t, err, protocol.KindTransient)
	close(free)
	if _, err := put(b, "second"); err != nil { // the ETag of the first would be an error
		t.Error(err)
	}
	if connections.Load() != 2 {
		t.Errorf("%d connections", connections.Load())
	}
}
