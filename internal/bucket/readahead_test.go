package bucket_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

// gathering is a connection whose writes go out together.
type gathering struct {
	net.Conn
	on  bool
	buf bytes.Buffer
}

func (g *gathering) Write(p []byte) (int, error) {
	if g.on {
		return g.buf.Write(p)
	}
	return g.Conn.Write(p)
}

func (g *gathering) send() {
	_ = g.Conn.SetWriteDeadline(time.Time{}) // TLS has ended it with the goodbye
	_, _ = g.Conn.Write(g.buf.Bytes())
	g.buf.Reset()
	g.on = false
}

// overTLS is a bucket behind a TLS server that answers request number n, from 1, by what say writes; that goes out in one segment.
func overTLS(t *testing.T, say func(n int, c *tls.Conn, body []byte), change func(*bucket.Config)) *bucket.Bucket {
	t.Helper()
	model := httptest.NewTLSServer(nil) // for its certificate
	model.Close()
	var requests atomic.Int32
	addr := accepting(t, func(raw net.Conn) {
		g := &gathering{Conn: raw}
		c := tls.Server(g, model.TLS)
		eachRequest(c, func(body []byte) bool {
			g.on = true
			say(int(requests.Add(1)), c, body)
			g.send()
			return true
		})
	})
	tr, err := bucket.NewTransport(bucket.TransportConfig{})
	if err != nil {
		t.Fatal(err)
	}
	tr.TLSClientConfig = model.Client().Transport.(*http.Transport).TLSClientConfig
	t.Cleanup(tr.CloseIdleConnections)
	return reach(t, "https://"+addr, func(c *bucket.Config) { c.Transport = tr; change(c) })
}

// TestAnswerThatNobodyAskedFor: a server sends two answers to one request, and refuses the next. TLS may have read the second with
// the first; it is not the answer to the next request.
func TestAnswerThatNobodyAskedFor(t *testing.T) {
	b := overTLS(t, func(n int, c *tls.Conn, _ []byte) {
		if n > 1 {
			_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
			return
		}
		for range 2 {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 0\r\n\r\n") // no MD5, so it is not compared
		}
	}, func(*bucket.Config) {})
	if _, err := put(b, "first"); err != nil {
		t.Fatal(err)
	}
	_, err := put(b, "second")
	check(t, err, protocol.KindTarget)
}

// TestGoodbyeWithTheAnswer: a server ends TLS behind each answer, but not the connection.
func TestGoodbyeWithTheAnswer(t *testing.T) {
	b := overTLS(t, func(_ int, c *tls.Conn, body []byte) {
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nETag: %s\r\nContent-Length: 0\r\n\r\n", etagOf(body))
		_ = c.CloseWrite()
	}, func(c *bucket.Config) { c.Attempts = 1 })
	for i := range 10 {
		if _, err := put(b, strconv.Itoa(i)); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// TestHalfAnAnswer: what stands still in the middle of an answer is given up after one stall, as what does not begin.
func TestHalfAnAnswer(t *testing.T) {
	for _, half := range []string{
		"HTTP/1.1 200 OK\r\nETa", "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 100\r\n\r\n", "HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\n<Err",
		"HTTP/1.1 200 OK\r\nETag: \"x\"\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run(half[9:], func(t *testing.T) {
			var n atomic.Int32
			over := make(chan struct{})
			endpoint, _ := wireServer(t, func(_ int, c net.Conn, _ []byte) bool {
				n.Add(1)
				_, _ = io.WriteString(c, half)
				<-over
				return false
			})
			b := reach(t, endpoint, func(c *bucket.Config) { c.Stall = 300 * time.Millisecond })
			_, err := put(b, "x")
			close(over)
			check(t, err, protocol.KindTransient)
			if n.Load() != 1 {
				t.Errorf("%d requests", n.Load())
			}
		})
	}
}
