//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// weather is what an endpoint does to one request in so many, at random by a seed. The shares are in a thousand.
type weather struct {
	mu   sync.Mutex
	r    *rand.Rand
	seen map[string]int // what was done, for the log
	past []string       // the requests, in order
	copy int            // those that copy an object to another key
}

// faults and their shares in a thousand: a guess at a very bad day.
var faults = []struct {
	name  string
	share int
}{
	{"500", 30},            // before anything happened
	{"503 SlowDown", 10},   // the same
	{"reset before", 20},   // the connection ends, nothing happened
	{"reset after", 30},    // it happened, and the answer is lost
	{"500 after", 10},      // it happened, and the answer says that it did not
	{"stall", 15},          // it takes some seconds
	{"half an answer", 10}, // the answer breaks off
}

func newWeather(seed uint64) *weather {
	return &weather{r: rand.New(rand.NewPCG(seed, 0x3a1d)), seen: make(map[string]int)}
}

// next decides about one request; "" is fair weather.
func (w *weather) next(r *http.Request) (fault string, long time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() {
		w.past = append(w.past, fmt.Sprintf("%s %s %s %s", time.Now().UTC().Format("15:04:05.000"), r.Method, r.URL.Path, fault))
	}()
	k := w.r.IntN(1000)
	for _, f := range faults {
		if k -= f.share; k < 0 {
			fault = f.name
			break
		}
	}
	w.seen[fault]++
	if from, err := url.PathUnescape(r.Header.Get("X-Amz-Copy-Source")); err == nil && from != "" && "/"+strings.TrimPrefix(from, "/") != r.URL.Path {
		w.copy++
	}
	return fault, time.Duration(500+w.r.IntN(3000)) * time.Millisecond
}

// history returns the requests whose path holds any of the words.
func (w *weather) history(words []string) (lines []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, line := range w.past {
		if slices.ContainsFunc(words, func(word string) bool { return strings.Contains(line, word) }) {
			lines = append(lines, line)
		}
	}
	return lines
}

func (w *weather) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := fmt.Sprintf("%d requests went well", w.seen[""])
	for _, f := range faults {
		text += fmt.Sprintf(", %d × %s", w.seen[f.name], f.name)
	}
	return text + fmt.Sprintf("; %d were copies to another key", w.copy)
}

// serveWeather puts a proxy with faults before a server and returns its address.
func serveWeather(t *testing.T, upstream string, w *weather) string {
	t.Helper()
	proxy := proxyTo(t, upstream)
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fault, delay := w.next(r)
		switch fault {
		case "":
			proxy.ServeHTTP(rw, r)
		case "500":
			refuse(rw, r, http.StatusInternalServerError, "InternalError")
		case "503 SlowDown":
			refuse(rw, r, http.StatusServiceUnavailable, "SlowDown")
		case "reset before":
			panic(http.ErrAbortHandler)
		case "stall":
			// The body is read first: only then does net/http notice that the client has gone. A request that comes into
			// effect long after its sender was killed is a case of its own (docs/reliability.md, "what is left").
			body, err := io.ReadAll(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			select {
			case <-time.After(delay):
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
			proxy.ServeHTTP(rw, r)
		default:
			answer := httptest.NewRecorder()
			proxy.ServeHTTP(answer, r)
			broken(rw, r, answer, fault)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// broken hands on an answer in the way of a fault.
func broken(rw http.ResponseWriter, r *http.Request, answer *httptest.ResponseRecorder, fault string) {
	body := answer.Body.Bytes()
	if fault == "500 after" {
		refuse(rw, r, http.StatusInternalServerError, "InternalError")
		return
	}
	if fault == "half an answer" && len(body) > 1 {
		for name, values := range answer.Header() {
			rw.Header()[name] = values
		}
		rw.Header().Set("Content-Length", fmt.Sprint(len(body)))
		rw.WriteHeader(answer.Code)
		_, _ = rw.Write(body[:len(body)/2]) // it is broken off anyway
		_ = http.NewResponseController(rw).Flush()
	}
	panic(http.ErrAbortHandler)
}

// refuse answers with an error of S3, after the request was read.
func refuse(rw http.ResponseWriter, r *http.Request, status int, code string) {
	_, _ = io.Copy(io.Discard, r.Body) // a client that went away has no answer
	rw.Header().Set("Content-Type", "application/xml")
	rw.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprintf(rw, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>bad weather</Message></Error>`, code)
	}
}
