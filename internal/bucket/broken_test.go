package bucket_test

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

// TestBrokenConnections plays servers that hang up.
func TestBrokenConnections(t *testing.T) {
	hangUp := func(reset bool, first string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			if tcp, ok := conn.(*net.TCPConn); ok && reset {
				_ = tcp.SetLinger(0)
			}
			_, _ = io.WriteString(conn, first)
			_ = conn.Close()
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"EOF":     hangUp(false, ""),
		"Reset":   hangUp(true, ""),
		"CutOff":  hangUp(false, "HTTP/1.1 200 OK\r\nContent-Le"),
		"Short":   hangUp(false, "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: 1000\r\n\r\n<?xml version=\"1.0\"?><ListBucketResult>"),
		"Garbage": hangUp(false, "SSH-2.0-OpenSSH_9.2\r\n"),
	} {
		b := against(t, h, func(cfg *bucket.Config) { cfg.Attempts = 2 })
		for _, op := range []string{"Put", "List", "Copy"} {
			t.Run(name+"/"+op, func(t *testing.T) { check(t, operations[op](b), protocol.KindTransient) })
		}
	}
}

func TestRetries(t *testing.T) {
	for _, c := range []struct {
		status, failures, want int
		kind                   protocol.Kind
	}{
		{500, 2, 3, protocol.KindUnknown}, // passes at the third
		{500, 99, 3, protocol.KindTransient},
		{503, 99, 1, protocol.KindSlow}, // known at once
		{403, 99, 1, protocol.KindTarget},
		{400, 99, 1, protocol.KindTarget},
	} {
		var n atomic.Int64
		const content = "all of it, each time"
		b := against(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if string(body) != content {
				t.Errorf("attempt %d sent %q", n.Load(), body)
			}
			if n.Add(1) <= int64(c.failures) {
				w.WriteHeader(c.status)
				return
			}
			w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum(body)))
		})
		began := time.Now()
		_, err := put(b, content)
		if c.kind == protocol.KindUnknown && err != nil || n.Load() != int64(c.want) {
			t.Errorf("%d: %d requests, %v", c.status, n.Load(), err)
		}
		if c.kind != protocol.KindUnknown {
			check(t, err, c.kind)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%d: took %v", c.status, took)
		}
	}
}

// TestBodyIsLeftAlone: a server that answers before it has read the body, and a caller that uses the buffer again as soon
// as it has it back. The race detector sees a late reader.
func TestBodyIsLeftAlone(t *testing.T) {
	b := against(t, answer(503, "SlowDown", ""))
	buf := make([]byte, 4<<20)
	for i := range 30 {
		size := len(buf) >> (i % 3 * 8)
		_, err := b.Put(t.Context(), "k", protocol.Headers{}, bytes.NewReader(buf[:size]), int64(size), [16]byte{})
		if k := protocol.KindOf(err); k != protocol.KindSlow && k != protocol.KindTransient { // a reset may come before the answer
			t.Fatal(err)
		}
		clear(buf)
	}
}

// TestStall plays a server on which nothing moves.
func TestStall(t *testing.T) {
	const stall = 150 * time.Millisecond
	b := against(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client is gone
		<-r.Context().Done()
	}, func(cfg *bucket.Config) { cfg.Stall = stall })
	began := time.Now()
	_, err := put(b, "x")
	check(t, err, protocol.KindTransient)
	if took := time.Since(began); took < stall {
		t.Errorf("took %v", took)
	}
}

func TestDisorder(t *testing.T) {
	page := func(keys ...string) string {
		s := `<ListBucketResult><IsTruncated>false</IsTruncated>`
		for _, k := range keys {
			s += "<Contents><Key>" + k + "</Key><Size>1</Size></Contents>"
		}
		return s + "</ListBucketResult>"
	}
	for name, body := range map[string]string{
		"Order":   page("b", "a"),
		"NoToken": strings.Replace(page("a", "b"), "false", "true", 1),
	} {
		t.Run(name, func(t *testing.T) {
			b := against(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
			var last error
			for _, err := range b.List(t.Context(), "", "", "") {
				last = err
			}
			check(t, last, protocol.KindDamaged)
		})
	}
}
