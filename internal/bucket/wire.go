package bucket

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	answerBuffer = 4 << 10 // of a connection, in bytes: answers are short
	// mostAnswer is how long an answer may be in bytes, with its body and those before it: S3's errors have some hundred. A guess.
	mostAnswer = 1 << 20
)

var errLongAnswer = errors.New("the server's answer has no end")

// wire is a connection on which one request is under way at a time.
type wire struct {
	to   address
	conn net.Conn // TLS or not
	raw  syscall.RawConn
	in   *bufio.Reader // of the wire itself
	left int           // bytes that the answer may still have
	idle time.Time     // since when nothing is under way
}

// address is where a wire leads.
type address struct{ scheme, host string }

// Read lets in as much as an answer may have.
func (w *wire) Read(p []byte) (int, error) {
	if w.left <= 0 {
		return 0, errLongAnswer
	}
	n, err := w.conn.Read(p[:min(len(p), w.left)])
	w.left -= n
	return n, err
}

// exchange writes a request and reads its answer: out is what a plain one says; any other is resp, which is nil with a plain one. again:
// the wire may carry another request. It ends by a time, to which the connection's deadline is set, or with ctx.
func (w *wire) exchange(ctx context.Context, by time.Time, r *request, text []byte) (out stored, resp *http.Response, again bool, err error) {
	w.left = mostAnswer
	_, failed := w.conn.Write(text)
	if errors.Is(failed, os.ErrDeadlineExceeded) {
		return out, nil, false, ending(ctx, by, failed) // there is no time left in which an answer could come
	}
	out, plain, err := w.plain()
	if plain {
		return out, nil, w.in.Buffered() == 0 && failed == nil, nil
	}
	if err == nil {
		resp, err = w.answer(ctx, by, r.http())
	}
	switch {
	case failed != nil && err != nil:
		return out, nil, false, ending(ctx, by, failed)
	case err != nil:
		return out, nil, false, ending(ctx, by, err)
	}
	// Not after a refusal before all was sent, nor with more than was asked for.
	return out, resp, !resp.Close && failed == nil && w.in.Buffered() == 0, nil
}

// plain reads an answer that is plain and has come at once. Else it leaves what has come where it is. The error is of reading.
func (w *wire) plain() (out stored, ok bool, err error) {
	if _, err := w.in.Peek(1); err != nil {
		return out, false, err
	}
	text, _ := w.in.Peek(w.in.Buffered()) // it is there
	out, n := plainAnswer(text)
	_, _ = w.in.Discard(n) // the same
	return out, n > 0, nil
}

// answer reads the answer to r, with its body. Informational answers (RFC 9110, 15.2) before it are passed over.
func (w *wire) answer(ctx context.Context, by time.Time, r *http.Request) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(w.in, r)
		switch {
		case err != nil:
			return nil, err
		case resp.StatusCode == http.StatusSwitchingProtocols:
			resp.Close = true
		case resp.StatusCode < http.StatusOK:
			continue
		case resp.ContentLength != 0:
			content, err := io.ReadAll(resp.Body)
			if err != nil {
				err, resp.Close = ending(ctx, by, err), true
			}
			resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(content), broken{err}))
		}
		return resp, nil
	}
}

// broken is the end of a body: its error, or io.EOF if that is nil.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return 0, io.EOF
}

// wires are the connections on which nothing is under way. The zero value is ready. Safe for concurrent use.
type wires struct {
	mu    sync.Mutex
	most  int                 // for each address
	idle  map[address][]*wire // the one that was used last is the last
	timer *time.Timer         // closes those that nobody needs for long; nil: there is none
}

// wire returns a connection whose reads and writes end at a time: one that is there, or a new one.
func (t *Transport) wire(ctx context.Context, to address, by time.Time) (*wire, error) {
	for w := t.wires.take(to); w != nil; w = t.wires.take(to) {
		if w.silent(time.Now()) && w.conn.SetDeadline(by) == nil {
			return w, nil
		}
		_ = w.conn.Close() // the server has closed it, or said what nobody has asked
	}
	return t.dial(ctx, to, by)
}

// silent reports whether an idle connection can be used: nothing has come, and it is not idle for too long by the wall's clock either,
// which goes on while the machine is suspended. Then a connection may be forgotten by who is at its other end, without a word.
func (w *wire) silent(now time.Time) bool {
	if now.Round(0).Sub(w.idle.Round(0)) > idleTimeout || !quiet(w.raw) {
		return false
	}
	if _, secure := w.conn.(*tls.Conn); !secure {
		return true
	}
	// It reads ahead of what it was asked for. A deadline in the past makes it look at that only.
	w.left = 1
	if w.conn.SetDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	_, err := w.in.Peek(1)
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// dial makes a connection, as net/http does by the transport's settings.
func (t *Transport) dial(ctx context.Context, to address, by time.Time) (_ *wire, err error) {
	ctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	at := url.URL{Host: to.host}
	port := cmp.Or(at.Port(), map[string]string{"http": "80", "https": "443"}[to.scheme])
	w := &wire{to: to}
	if w.conn, err = t.DialContext(ctx, "tcp", net.JoinHostPort(at.Hostname(), port)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = w.conn.Close() // the first error counts
		}
	}()
	if raw, ok := w.conn.(syscall.Conn); !ok {
		return nil, errors.ErrUnsupported
	} else if w.raw, err = raw.SyscallConn(); err != nil {
		return nil, err
	}
	if to.scheme == "https" {
		ctx, cancel := context.WithTimeout(ctx, t.TLSHandshakeTimeout)
		defer cancel()
		c := t.TLSClientConfig.Clone()
		c.ServerName = at.Hostname()
		secure := tls.Client(w.conn, c)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		w.conn = secure
	}
	w.in = bufio.NewReaderSize(w, answerBuffer)
	return w, w.conn.SetDeadline(by)
}

// take returns the idle connection that was used last, or nil.
func (c *wires) take(to address) *wire {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := c.idle[to]
	if len(idle) == 0 {
		return nil
	}
	last := len(idle) - 1
	w := idle[last]
	idle[last] = nil
	c.idle[to] = idle[:last]
	return w
}

// put takes a connection back.
func (c *wires) put(w *wire, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle[w.to]) >= c.most {
		_ = w.conn.Close() // nothing is under way
		return
	}
	w.idle = now
	if c.idle == nil {
		c.idle = map[address][]*wire{}
	}
	c.idle[w.to] = append(c.idle[w.to], w)
	if c.timer == nil {
		c.timer = time.AfterFunc(idleTimeout, func() { c.closeIdle(time.Now().Add(-idleTimeout)) })
	}
}

// closeIdle closes what has been idle since a time, or longer.
func (c *wires) closeIdle(since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var oldest time.Time // of what remains
	for to, idle := range c.idle {
		old := 0
		for old < len(idle) && !idle[old].idle.After(since) {
			_ = idle[old].conn.Close() // nothing is under way
			old++
		}
		if idle = slices.Delete(idle, 0, old); len(idle) == 0 {
			delete(c.idle, to)
			continue
		}
		c.idle[to] = idle
		if oldest.IsZero() || idle[0].idle.Before(oldest) {
			oldest = idle[0].idle
		}
	}
	switch {
	case c.timer == nil:
	case oldest.IsZero():
		c.timer.Stop()
		c.timer = nil
	default:
		c.timer.Reset(time.Until(oldest.Add(idleTimeout)))
	}
}
