package worker

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"time"

	"github.com/minio/crc64nvme"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// smallFile is the size up to which a file is read into memory once and sent from there, in bytes. Each hand keeps one buffer that
// grows to it: 8 MiB for the 128 hands that there are by default at the most. A guess: above it a second read from the page cache
// costs less than the memory does.
const smallFile = 64 << 10

// hashBuffer is how much of a larger file is read at once for hashing, in bytes; a guess.
const hashBuffer = 64 << 10

// hand carries out one delivery after another. It belongs to one goroutine.
type hand struct {
	p   *Pool
	big bool // of the lane for big files
	buf []byte
	sum hash.Hash // MD5

	// Of the delivery in hand.
	class    class // of the request made last
	requests int
	bytes    int64
	unsure   bool // a request may have taken effect although it failed
	origin   protocol.OriginFate
}

func newHand(p *Pool, big bool) *hand { return &hand{p: p, big: big, sum: md5.New()} }

// finished is a delivery on its way to being settled.
type finished struct {
	protocol.Result
	began    time.Time
	took     time.Duration
	requests int
	bytes    int64
}

// done is what a verb has to say: nil for an error that failed() judges.
type done struct {
	entry *protocol.Entry
	keep  bool // leave the ledger's row
	moot  bool // what the instruction is about has gone, or is of another kind
	lane  bool // nothing was done: this one is for the lane of big files
}

// carry carries d out. lane reports that it did nothing because d belongs into the lane for big files.
func (h *hand) carry(ctx context.Context, d protocol.Delivery) (f finished, lane bool) {
	h.class, h.requests, h.bytes, h.unsure, h.origin = reading, 0, 0, false, protocol.OriginRenamed
	f.began = time.Now()
	out, err := h.verb(ctx, &d)
	switch {
	case err == nil && out.lane:
		return f, true
	case err == nil:
		f.Result = protocol.Result{Delivery: d, Entry: out.entry, Keep: out.keep, Origin: h.origin}
	case ctx.Err() != nil, h.p.stop.Err() != nil && errors.Is(err, context.Canceled):
		f.Result = later(d, protocol.KindTransient, "the agent is stopping", 0)
	default:
		f.Result = h.p.failed(d, h.class, err)
		f.Passed = h.pass(ctx, &d, err)
	}
	f.Unsure = f.Err != nil && h.requests > 0 && (h.unsure || mayHaveArrived(err))
	f.took = time.Since(f.began)
	f.requests, f.bytes = h.requests, h.bytes
	return f, false
}

// pass leaves the waiting for a file that is being written to who watches it, and reports whether that will be. What has more to it than
// its file stays in the queue: an old name that waits for it, an earlier hand whose object may be in the bucket, parts that were sent.
func (h *hand) pass(ctx context.Context, d *protocol.Delivery, err *protocol.Error) bool {
	if err.Kind != protocol.KindBusy || !d.Hint || d.Again || d.From != "" || h.requests > 0 || h.p.cfg.Await == nil {
		return false
	}
	if folder, _ := h.p.cfg.folderOf(d.Key, d.Source); folder == nil {
		return false // another configuration made it
	}
	up, failed := h.p.source.LoadUpload(ctx, d.ID())
	return failed == nil && up == nil && h.p.cfg.Await(d.Source)
}

// mayHaveArrived reports whether a request that ended so may have taken effect: its answer was lost.
func mayHaveArrived(err *protocol.Error) bool {
	switch err.Kind {
	case protocol.KindTransient, protocol.KindUnreachable, protocol.KindUnknown:
		return true
	}
	return false
}

// verb carries d out. A hint that turns out to be about nothing, because its file or folder has gone or is of another kind
// by now, leaves no orphan of an earlier hand behind.
func (h *hand) verb(ctx context.Context, d *protocol.Delivery) (done, *protocol.Error) {
	out, e := h.byVerb(ctx, d)
	moot := e == nil && out.moot || e != nil && e.Kind == protocol.KindVanished
	if moot && d.Hint && d.Again && d.Known == nil && (d.Verb == protocol.Upl || d.Verb == protocol.Mkd) {
		out, e = h.orphan(ctx, d)
	}
	if e == nil && !out.lane {
		h.tidy(ctx, d)
	}
	return out, e
}

// tidy ends an upload in parts that was begun for the key and is of no use any more, because its file went or became small.
func (h *hand) tidy(ctx context.Context, d *protocol.Delivery) {
	if up, err := h.p.source.LoadUpload(ctx, d.ID()); err == nil && up != nil { // else it is ended as a leftover
		_ = h.p.abort(ctx, up)
	}
}

func (h *hand) byVerb(ctx context.Context, d *protocol.Delivery) (done, *protocol.Error) {
	switch d.Verb {
	case protocol.Upl:
		return h.upload(ctx, d)
	case protocol.Mkd:
		return h.folder(ctx, d)
	case protocol.Cpo:
		return h.copyObject(ctx, d)
	case protocol.Del:
		return h.remove(ctx, d)
	}
	return done{}, &protocol.Error{Op: "carry out", Object: string(d.Key), Kind: protocol.KindItem,
		Err: reason(d.Verb.String() + " is not a verb")}
}

// request makes one request of class c to the Store for d and tells the gate what came of it. op is for errors that do
// not say what was done.
func (h *hand) request(c class, op string, d *protocol.Delivery, f func() error) *protocol.Error {
	h.class = c
	h.requests++
	return h.p.request(c, op, d.ID(), func() error {
		err := f()
		h.unsure = h.unsure || protocol.MayHaveArrived(err)
		return err
	})
}

// request is the same for goroutines that are nobody's hand.
func (p *Pool) request(c class, op string, id protocol.ObjectID, f func() error) *protocol.Error {
	began := time.Now()
	err := f()
	if err == nil {
		p.gate.success(c, began)
		return nil
	}
	return p.refusal(c, op, id, began, err)
}

// refusal tells the gate that a request of class c, made for id, has failed.
func (p *Pool) refusal(c class, op string, id protocol.ObjectID, began time.Time, err error) *protocol.Error {
	// What a stop broke off tells nothing of the target, nor does an instruction that is known to be refused alone.
	if p.work.Err() == nil && (protocol.KindOf(err) != protocol.KindTarget || !p.refusedAlone(c, id)) {
		p.gate.failure(c, id, began, err)
	}
	e := *protocol.AsError(err, op, string(id.Key)) // a copy: it is ours to complete
	return &e
}

// put writes an object in one request.
func (h *hand) put(ctx context.Context, d *protocol.Delivery, key protocol.Key, hd protocol.Headers, body io.ReadSeeker, size int64, sum [16]byte) (r protocol.Receipt, e *protocol.Error) {
	guard, _ := body.(*guarded)
	hd = marked(d, key, hd, size, hex.EncodeToString(sum[:]))
	e = h.request(writing, "put", d, func() (err error) {
		failpoint.Here("worker.send")
		r, err = h.p.store.Put(ctx, key, hd, body, size, sum)
		failpoint.Here("worker.answer")
		if err != nil && guard != nil && guard.err != nil {
			h.unsure = h.unsure || protocol.MayHaveArrived(err)
			err = guard.err // the cause; what the Store made of it does not matter
		}
		return err
	})
	if e == nil {
		h.bytes += size
	}
	return r, e
}

// hashRange returns the MD5 of n bytes of a file from off.
func (p *Pool) hashRange(ctx context.Context, s *source, off, n int64) (sum [16]byte, e *protocol.Error) {
	m := md5.New()
	e = p.readRange(ctx, s, off, n, m)
	m.Sum(sum[:0])
	return sum, e
}

// crcRange returns the CRC-64/NVME of n bytes of a file from off.
func (p *Pool) crcRange(ctx context.Context, s *source, off, n int64) (uint64, *protocol.Error) {
	c := crc64nvme.New()
	e := p.readRange(ctx, s, off, n, c)
	return c.Sum64(), e
}

// readRange writes n bytes of a file from off to a hash.
func (p *Pool) readRange(ctx context.Context, s *source, off, n int64, to hash.Hash) *protocol.Error {
	buf := p.hashBuffers.Get().(*[hashBuffer]byte)
	defer p.hashBuffers.Put(buf)
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return &protocol.Error{Op: "read", Object: s.path, Kind: protocol.KindTransient, Err: err}
		}
		k, err := s.f.ReadAt(buf[:min(n, hashBuffer)], off)
		to.Write(buf[:k])
		off, n = off+int64(k), n-int64(k)
		if err != nil && n > 0 {
			return s.readError(err)
		}
	}
	return nil
}
