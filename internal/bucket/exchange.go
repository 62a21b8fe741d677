package bucket

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A PUT of a small file is one write to a connection and one read from it. net/http has two goroutines for each connection, hands each
// request to the one and gets its answer from the other, which was a tenth of all that such a PUT costs (docs/design/0012). So here the
// goroutine that has the request writes it, and reads the answer with [http.ReadResponse]. Only plain requests go this way, over
// connections without a proxy (wire.go); every other one is net/http's.

// leastText is the smallest buffer that is made for a request, in bytes: most small files fit. A guess.
const leastText = 16 << 10

// Transport carries the requests of any number of buckets: small PUTs in this way, all others by net/http. Safe for concurrent use.
type Transport struct {
	*http.Transport
	wires wires
	texts sync.Pool // of *[]byte: requests that were sent
}

// CloseIdleConnections closes the connections that carry nothing. One that carries something is closed when it has been idle for a while.
func (t *Transport) CloseIdleConnections() {
	t.Transport.CloseIdleConnections()
	t.wires.closeIdle(time.Now())
}

// carries reports whether a request that [signing.signPlain] has signed can go without net/http: not if net/http would change its host,
// or send it to a proxy.
func (t *Transport) carries(r *http.Request) bool {
	if !tellsQuiet || !made(r.Host, ".-_:[]") {
		return false
	}
	if t.Proxy == nil {
		return true
	}
	proxy, err := t.Proxy(r)
	return proxy == nil && err == nil
}

// made reports whether s, which is not empty, is made of ASCII letters, digits and marks.
func made(s, marks string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; ('a' > c || c > 'z') && ('0' > s[i] || s[i] > '9') && strings.IndexByte(marks, s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

// text returns a request as it is sent (RFC 9112, "Message"), with the next ContentLength bytes of body. path is that of its URL,
// escaped. It fails if body does. The text is given back with done.
func (t *Transport) text(r *http.Request, path string, body io.Reader) (*[]byte, error) {
	text, ok := t.texts.Get().(*[]byte)
	if !ok {
		empty := make([]byte, 0, leastText)
		text = &empty
	}
	b := append(append((*text)[:0], r.Method...), ' ')
	b = append(append(b, path...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, r.Host...), "\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, r.ContentLength, 10), "\r\n"...)
	for name, values := range r.Header { // one of each
		b = append(append(append(append(b, name...), ": "...), values[0]...), "\r\n"...)
	}
	b = append(b, "\r\n"...)
	head, all := len(b), len(b)+int(r.ContentLength)
	if cap(b) < all {
		b = append(make([]byte, 0, all), b...)
	}
	*text = b[:all]
	if _, err := io.ReadFull(body, (*text)[head:]); err != nil {
		t.done(text)
		return nil, err
	}
	return text, nil
}

// done takes back a text that is not needed any more.
func (t *Transport) done(text *[]byte) { t.texts.Put(text) }

// exchange makes one attempt at a request with this text, and returns the answer, with its body in memory. It gives up with errStalled
// when the answer is not whole after stall. When it returns, the text is not read any more.
func (t *Transport) exchange(ctx context.Context, r *http.Request, text []byte, stall time.Duration) (*http.Response, error) {
	attempt(ctx)
	by := time.Now().Add(stall)
	w, err := t.wire(ctx, r.URL.Scheme, r.URL.Host, by)
	if err != nil {
		return nil, ending(ctx, by, err)
	}
	unhook := context.AfterFunc(ctx, func() { _ = w.conn.SetDeadline(time.Unix(1, 0)) }) // long ago: what waits ends
	resp, err := w.exchange(ctx, by, r, text)
	if whole := unhook() && err == nil && !resp.Close; whole {
		t.wires.put(w, time.Now())
	} else {
		_ = w.conn.Close() // what there is to know is known
	}
	return resp, err
}

// ending returns why an attempt ended: by its context, its time, or else err. What is read when the time is over may be taken for
// something else, such as half a line.
func ending(ctx context.Context, by time.Time, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !time.Now().Before(by):
		return errStalled
	}
	return err
}
