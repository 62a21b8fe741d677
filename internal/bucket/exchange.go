package bucket

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A PUT of a small file is one write to a connection and one read from it. net/http has two goroutines for each connection, hands each
// request to the one and gets its answer from the other, which was a tenth of all that such a PUT costs (docs/design/0012). So here the
// goroutine that has the request writes it, and reads the answer, one that is not plain with [http.ReadResponse]. Only plain requests go
// this way, over connections without a proxy (wire.go); every other one is net/http's.

// leastText is the smallest buffer that is made for a request, in bytes: most small files fit. A guess.
const leastText = 16 << 10

// Transport carries the requests of any number of buckets: small PUTs in this way, all others by net/http. Safe for concurrent use.
type Transport struct {
	*http.Transport
	wires     wires
	texts     sync.Pool // of *[]byte: requests that were sent
	unproxied sync.Map  // of address, bool: no proxy is on the way there
}

// CloseIdleConnections closes the connections that carry nothing. One that carries something is closed when it has been idle for a while.
func (t *Transport) CloseIdleConnections() {
	t.Transport.CloseIdleConnections()
	t.wires.closeIdle(time.Now())
}

// carries reports whether a request to a host can go without net/http: not if net/http would change the host, or send it to a proxy.
func (t *Transport) carries(scheme, host string) bool {
	if !tellsQuiet || !made(host, ".-_:[]") {
		return false
	}
	if t.Proxy == nil {
		return true
	}
	to := address{scheme, host}
	none, known := t.unproxied.Load(to)
	if !known { // the environment says so once for all (http.ProxyFromEnvironment)
		proxy, err := t.Proxy(&http.Request{URL: &url.URL{Scheme: scheme, Host: host}})
		none = proxy == nil && err == nil
		t.unproxied.Store(to, none)
	}
	return none.(bool)
}

// made reports whether s, which is not empty, is made of ASCII letters, digits and marks.
func made[T ~string | []byte](s T, marks string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; ('a' > c || c > 'z') && ('0' > s[i] || s[i] > '9') && strings.IndexByte(marks, s[i]) < 0 {
			return false
		}
	}
	return len(s) > 0
}

// text returns a request as it is sent, with its body. It fails if the body does. The text is given back with done.
func (t *Transport) text(r *request, body io.Reader) (*[]byte, error) {
	text, ok := t.texts.Get().(*[]byte)
	if !ok {
		empty := make([]byte, 0, leastText)
		text = &empty
	}
	var err error
	if *text, err = r.text((*text)[:0], body); err != nil {
		t.done(text)
		return nil, err
	}
	return text, nil
}

// done takes back a text that is not needed any more.
func (t *Transport) done(text *[]byte) { t.texts.Put(text) }

// exchange makes one attempt at r, whose text this is. A plain answer is out; any other one is resp, with its body in memory. It gives up
// with errStalled when the answer is not whole after stall. When it returns, the text is not read any more.
func (t *Transport) exchange(ctx context.Context, r *request, text []byte, stall time.Duration) (out stored, resp *http.Response, err error) {
	attempt(ctx)
	by := time.Now().Add(stall)
	w, err := t.wire(ctx, address{r.at.base.Scheme, r.at.base.Host}, by)
	if err != nil {
		return out, nil, ending(ctx, by, err)
	}
	unhook := context.AfterFunc(ctx, func() { _ = w.conn.SetDeadline(time.Unix(1, 0)) }) // long ago: what waits ends
	out, resp, again, err := w.exchange(ctx, by, r, text)
	if unhook() && again {
		t.wires.put(w, time.Now())
	} else {
		_ = w.conn.Close() // what there is to know is known
	}
	return out, resp, err
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
