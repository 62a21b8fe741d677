//go:build linux

package e2e

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tally counts the PUTs of whole objects by key, and remembers when each was last answered with 200.
type tally struct {
	bucket string

	mu       sync.Mutex
	puts     map[string]int
	answered map[string]time.Time
	requests int
	trail    map[string][]string     // what was asked of each object, and how it was answered, for a test that fails
	heard    func(key string, n int) // called for each answer with the number of answered keys; may be nil
}

func newTally(bucket string) *tally {
	return &tally{bucket: bucket, puts: make(map[string]int), answered: make(map[string]time.Time),
		trail: make(map[string][]string)}
}

// key returns the key that a request puts as a whole, or "".
func (c *tally) key(r *http.Request) string {
	key, ok := strings.CutPrefix(r.URL.Path, "/"+c.bucket+"/")
	if r.Method != http.MethodPut || !ok || r.URL.Query().Has("uploadId") || r.Header.Get("X-Amz-Copy-Source") != "" {
		return ""
	}
	return key
}

func (c *tally) began(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	if key != "" {
		c.puts[key]++
	}
}

func (c *tally) done(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key == "" {
		return
	}
	c.answered[key] = time.Now()
	if c.heard != nil {
		c.heard(key, len(c.answered))
	}
}

// note adds a request that was answered with code, or with 0 if not at all, to the trail of its object.
func (c *tally) note(r *http.Request, began time.Time, code int) {
	key, ok := strings.CutPrefix(r.URL.Path, "/"+c.bucket+"/")
	if !ok || key == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trail[key] = append(c.trail[key], fmt.Sprintf("%s %s %s: %d after %v", began.Format("15:04:05.000"), r.Method,
		r.URL.RawQuery, code, time.Since(began).Round(time.Millisecond)))
}

// told returns the trail of an object.
func (c *tally) told(key string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.trail[key], "\n")
}

// answeredKeys returns how many keys were answered.
func (c *tally) answeredKeys() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.answered)
}

// at returns when a key was last answered.
func (c *tally) at(key string) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	when, ok := c.answered[key]
	return when, ok
}

// total returns how many requests came.
func (c *tally) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests
}

// state returns copies of the counts.
func (c *tally) state() (puts map[string]int, answered map[string]time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	puts, answered = make(map[string]int), make(map[string]time.Time)
	for k, v := range c.puts {
		puts[k] = v
	}
	for k, v := range c.answered {
		answered[k] = v
	}
	return puts, answered
}

// proxyTo hands every request on as it is. The Host header goes through unchanged: it is signed.
func proxyTo(t *testing.T, upstream string) http.Handler {
	t.Helper()
	target, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		Transport: transport,
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // connections of killed agents
	}
}

// serveProxy puts a counting proxy before a server and returns its address.
func serveProxy(t *testing.T, upstream string, c *tally) string {
	t.Helper()
	proxy := proxyTo(t, upstream)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, began := c.key(r), time.Now()
		c.began(key)
		status := &statusWriter{ResponseWriter: w}
		defer func() { c.note(r, began, status.code) }()
		proxy.ServeHTTP(status, r)
		// The client has its answer when it left our hands; a client that is gone by then had none.
		if err := http.NewResponseController(w).Flush(); err == nil && status.code == http.StatusOK && r.Context().Err() == nil {
			c.done(key)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// serveNull serves an S3 that reads bodies, answers with their true MD5 and keeps nothing, so that the agent is what is
// measured. Its listings are empty.
func serveNull(t *testing.T, c *tally) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := c.key(r)
		c.began(key)
		h := md5.New()
		if _, err := io.Copy(h, r.Body); err != nil {
			return // The client went away; it has no answer.
		}
		switch r.Method {
		case http.MethodPut:
			w.Header().Set("ETag", `"`+hex.EncodeToString(h.Sum(nil))+`"`)
			w.WriteHeader(http.StatusOK)
			if err := http.NewResponseController(w).Flush(); err == nil {
				c.done(key)
			}
		case http.MethodGet:
			w.Header().Set("Content-Type", "application/xml")
			fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`+
				`<Name>%s</Name><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>`, c.bucket)
		case http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case http.MethodHead:
			if strings.Trim(r.URL.Path, "/") != c.bucket {
				w.WriteHeader(http.StatusNotFound)
			}
		default:
			w.WriteHeader(http.StatusNotImplemented)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// serveToTheEnd hands every request on, and carries it out also if its sender dies meanwhile. quiet waits until all that was
// ever sent has been carried out and everybody is gone.
func serveToTheEnd(t *testing.T, upstream string) (endpoint string, quiet func()) {
	t.Helper()
	var open atomic.Int32
	proxy := proxyTo(t, upstream)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
	}))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL, func() {
		t.Helper()
		eventually(t, settledIn, func() error {
			if n := open.Load(); n > 0 {
				return fmt.Errorf("%d connections are open", n)
			}
			return nil
		})
	}
}
