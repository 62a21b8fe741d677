package bucket

import (
	"bytes"
	"context"
	"io"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// leastBuffer is the least size of the buffer of an outgoing body, in bytes: most of many small files fit, and one that was used for
// a smaller one can be used for the next. A guess.
const leastBuffer = 16 << 10

// outgoing is the copy of a small body while a transport sends it. net/http may go on reading a body when the answer is there already,
// so a copy is used again only when it is known that all who began to send it are done (net/http/httptrace); copies made anew for
// each request were 44 % of all memory that a cold run allocates (docs/design/0012).
type outgoing struct {
	content        []byte
	reader         bytes.Reader
	trace          httptrace.ClientTrace
	began, written atomic.Int32 // connections that it was given to, and those to which all was written
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

// outgoings are copies that nobody reads. The zero value is ready. Safe for concurrent use.
type outgoings struct{ pool sync.Pool }

// read returns a copy of the next size bytes of r, and the context with which it is to be sent.
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

// body is what net/http knows to be in memory.
func (o *outgoing) body() io.ReadCloser { return io.NopCloser(&o.reader) }

// put takes back a copy whose request was answered, if nobody can be reading it any more; else it is left to the collector.
func (p *outgoings) put(o *outgoing) {
	if n := o.began.Load(); n > 0 && n == o.written.Load() {
		p.pool.Put(o)
	}
}
