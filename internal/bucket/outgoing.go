package bucket

import (
	"bytes"
	"context"
	"io"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// leastBuffer is the smallest buffer that is made for a copy, in bytes: most small files fit, so that a buffer made for one can be
// used for the next. A guess.
const leastBuffer = 16 << 10

// outgoing is the copy of a small body while a transport sends it. net/http may go on reading a body when the answer is there already,
// so its buffer is used again only if net/http/httptrace has told that every connection that began to send it has sent it all.
// Copies made anew for each request were 44 % of all memory that a cold run allocated (docs/design/0012).
type outgoing struct {
	content        []byte
	reader         bytes.Reader
	trace          httptrace.ClientTrace
	began, written atomic.Int32 // connections that got the request, and those to which all of it was written
}

func newOutgoing() *outgoing {
	o := &outgoing{}
	o.trace.GotConn = func(httptrace.GotConnInfo) { o.began.Add(1) }
	o.trace.WroteRequest = func(i httptrace.WroteRequestInfo) {
		if i.Err == nil {
			o.written.Add(1)
		}
	}
	return o
}

// outgoings are copies that nobody reads any more, to be used again. The zero value is ready. Safe for concurrent use.
type outgoings struct{ pool sync.Pool }

// read returns a copy of the next size bytes of r, and the context with which it must be sent, so that put knows who reads it. It
// fails if r does, with io.ErrUnexpectedEOF if r is shorter.
func (p *outgoings) read(ctx context.Context, r io.Reader, size int64) (*outgoing, context.Context, error) {
	o, ok := p.pool.Get().(*outgoing)
	if !ok {
		o = newOutgoing()
	}
	if int64(cap(o.content)) < size {
		o.content = make([]byte, max(size, leastBuffer))
	}
	o.content = o.content[:size]
	if _, err := io.ReadFull(r, o.content); err != nil {
		return nil, nil, err
	}
	o.reader.Reset(o.content)
	o.began.Store(0)
	o.written.Store(0)
	return o, httptrace.WithClientTrace(ctx, &o.trace), nil
}

// body returns the copy as a type that net/http knows to be in memory.
func (o *outgoing) body() io.ReadCloser { return io.NopCloser(&o.reader) }

// put takes back a copy whose request was answered, if nobody can be reading it any more; else it is left to the garbage collector.
func (p *outgoings) put(o *outgoing) {
	if n := o.began.Load(); n > 0 && n == o.written.Load() {
		p.pool.Put(o)
	}
}
