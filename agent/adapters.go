package agent

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"time"

	"s3apu/feeder"
	"s3apu/internal/failpoint"
	"s3apu/protocol"
	"s3apu/queue"
)

// workerSource is the queue as the workers of one bucket see it.
type workerSource struct {
	*queue.Queue
	bucket string
}

// Lease hands out deliveries of the bucket for as long as this process lives. While the queue's disk refuses it waits: the
// queue has said so, and there is nothing that the workers could add.
func (s workerSource) Lease(ctx context.Context, n int, wait time.Duration) ([]protocol.Delivery, error) {
	if err := s.Up(ctx); err != nil {
		return nil, err
	}
	ds, err := s.Queue.Lease(ctx, s.bucket, n, wait, 0)
	if err != nil && s.Err() != nil {
		return nil, s.Up(ctx)
	}
	return ds, err
}

// Settle waits as Lease does. What was in a hand when the queue's disk refused is LeaseLost then, and handed out again.
func (s workerSource) Settle(ctx context.Context, results []protocol.Result) ([]protocol.Outcome, error) {
	for {
		out, err := s.Queue.Settle(ctx, results)
		if err == nil || s.Err() == nil {
			return out, err
		}
		if err := s.Up(ctx); err != nil {
			return nil, err
		}
	}
}

// LoadUpload returns how far a multipart upload has come. The look into the store is short: ctx is not asked.
func (s workerSource) LoadUpload(_ context.Context, id protocol.ObjectID) (*protocol.Upload, error) {
	return s.Queue.LoadUpload(id)
}

// Leftovers returns the uploads of the bucket whose instruction is gone.
func (s workerSource) Leftovers(ctx context.Context) ([]*protocol.Upload, error) {
	var left []*protocol.Upload
	for u, err := range s.Uploads(ctx) {
		if err != nil {
			return nil, err
		}
		if u.Bucket != s.bucket {
			continue
		}
		rec, pending, err := s.Pending(protocol.ObjectID{Bucket: u.Bucket, Key: u.Key})
		if err != nil {
			return nil, err
		}
		if !pending || rec.State == queue.Dead {
			left = append(left, u)
		}
	}
	return left, nil
}

// feederQueue is the queue as a feeder sees it. What a feeder puts is a hint.
type feederQueue struct {
	*queue.Queue
	log *slog.Logger
}

func (q feederQueue) Put(ctx context.Context, wishes ...feeder.Wish) error {
	items := make([]queue.Item, len(wishes))
	for i, w := range wishes {
		items[i] = item(w)
	}
	return q.Queue.Put(ctx, items...)
}

func (q feederQueue) Fail(ctx context.Context, w feeder.Wish, reason *protocol.Error) error {
	if err := q.Queue.Fail(ctx, item(w), reason); err != nil {
		return err
	}
	q.log.Warn("it cannot go; see: s3apu-agent queue failed", "key", w.Key, "verb", w.Verb.String(), "err", reason)
	return nil
}

func item(w feeder.Wish) queue.Item {
	it := queue.Item{Instruction: w.Instruction, Class: w.Class, Hint: true, Held: w.Held, Renamed: w.Renamed}
	if w.Delay > 0 {
		it.NotBefore = time.Now().Add(w.Delay)
	}
	return it
}

func (q feederQueue) Pending(id protocol.ObjectID) (feeder.Record, bool, error) {
	rec, ok, err := q.Queue.Pending(id)
	return record(rec), ok, err
}

func (q feederQueue) Records(ctx context.Context, bucket string, prefix, after protocol.Key) iter.Seq2[feeder.Record, error] {
	return func(yield func(feeder.Record, error) bool) {
		for rec, err := range q.Queue.Records(ctx, bucket, prefix, after) {
			if !yield(record(rec), err) || err != nil {
				return
			}
		}
	}
}

func record(r queue.Record) feeder.Record {
	return feeder.Record{Instruction: r.Instruction, Hint: r.Hint, Leased: r.State == queue.Leased,
		Held: r.State == queue.Held, Dead: r.State == queue.Dead}
}

// clientHandler is the queue as the socket's clients see it: they know the default bucket only, under the empty name,
// and folders by their plain keys.
type clientHandler struct {
	queue   *queue.Queue
	bucket  string
	folders string // [s3] folder_objects

	// awaits reports whether the file of a hint is being written and will be reported once it is at rest. May be nil.
	awaits func(bucket, source string) bool
}

// inward gives an instruction from the wire its bucket and the key that its object has.
func (h clientHandler) inward(ins protocol.Instruction) protocol.Instruction {
	ins.Bucket = h.bucket
	if ins.Verb == protocol.Mkd && h.folders != "plain" && !ins.Key.IsFolder() {
		ins.Key += "/"
	}
	return ins
}

// outward hides the name of the default bucket. The key stays the object's own, which a lease is known by; the codec
// writes a folder's without its slash.
func (h clientHandler) outward(ins protocol.Instruction) protocol.Instruction {
	if ins.Bucket == h.bucket {
		ins.Bucket = ""
	}
	return ins
}

func (h clientHandler) Put(ctx context.Context, ins []protocol.Instruction) error {
	items := make([]queue.Item, 0, len(ins))
	var made map[protocol.Key]bool // folders by this call, which neither queue nor ledger know yet
	for _, in := range ins {
		in = h.inward(in)
		items = append(items, queue.Item{Instruction: in, Class: protocol.Live})
		if in.Verb == protocol.Mkd {
			if made == nil {
				made = map[protocol.Key]bool{}
			}
			made[in.Key] = true
		}
		if in.Verb != protocol.Del || in.Key.IsFolder() || h.folders == "plain" {
			continue
		}
		// The folder that mkd|dir made is deleted by del|dir, as it was in 2010.
		in.Key += "/"
		folder, err := h.isFolder(in.ID())
		if err != nil {
			return err
		}
		if folder || made[in.Key] {
			items = append(items, queue.Item{Instruction: in, Class: protocol.Live})
		}
	}
	err := h.queue.Put(ctx, items...)
	failpoint.Here("agent.socket.answer")
	return err
}

// isFolder reports whether a folder object of this key is there because of us, or on its way.
func (h clientHandler) isFolder(id protocol.ObjectID) (bool, error) {
	_, pending, err := h.queue.Pending(id)
	if err != nil || pending {
		return pending, err
	}
	row, err := h.queue.Entry(id) // after: what is settled between the two looks is in the ledger now
	return row != nil, err
}

// Lease hands nothing out that is a hint at a file which is being written: clients do not ask, and the feeder may not have.
func (h clientHandler) Lease(ctx context.Context, n int, wait, hold time.Duration) ([]protocol.Delivery, error) {
	for until := time.Now().Add(wait); ; wait = max(time.Until(until), 0) {
		ds, err := h.queue.Lease(ctx, h.bucket, n, wait, hold)
		if err != nil || len(ds) == 0 {
			return ds, err
		}
		if ds = h.atRest(ctx, ds); len(ds) == 0 {
			continue // what was passed is not due any more
		}
		for i := range ds {
			ds[i].Instruction = h.outward(ds[i].Instruction)
		}
		return ds, nil
	}
}

// busyFor is how long a hint at a file that is being written is kept back where a copy waits for it. A guess.
const busyFor = 5 * time.Second

// atRest returns those of ds that may be carried out, and passes the others.
func (h clientHandler) atRest(ctx context.Context, ds []protocol.Delivery) []protocol.Delivery {
	var busy []protocol.Result
	ds = slices.DeleteFunc(ds, func(d protocol.Delivery) bool {
		if !d.Hint || d.Verb != protocol.Upl || d.Again || d.From != "" { // of a renamed file the feeder has asked
			return false
		}
		if h.awaits == nil || !h.awaits(d.Bucket, d.Source) {
			return false
		}
		busy = append(busy, protocol.Result{Delivery: d, Passed: true, Uncounted: true, Delay: busyFor,
			Err: &protocol.Error{Op: "hand out", Object: string(d.Key), Kind: protocol.KindBusy, Err: errBusy}})
		return true
	})
	if len(busy) > 0 {
		_, _ = h.queue.Settle(context.WithoutCancel(ctx), busy) // else their leases end by themselves
	}
	return ds
}

var errBusy = errors.New("the file is being written")

func (h clientHandler) Settle(ctx context.Context, results []protocol.Result) ([]protocol.Outcome, error) {
	for i := range results {
		if d := &results[i].Delivery; d.Bucket == "" {
			d.Bucket = h.bucket
		}
	}
	return h.queue.Settle(ctx, results)
}

func (h clientHandler) Info() protocol.Info { return h.queue.Info() }

func (h clientHandler) Failed(ctx context.Context, after protocol.ObjectID, n int) ([]protocol.Failure, error) {
	if after.Bucket == "" && after.Key != "" {
		after.Bucket = h.bucket
	}
	fs, err := h.queue.Failed(ctx, after, n)
	for i := range fs {
		fs[i].Instruction = h.outward(fs[i].Instruction)
	}
	return fs, err
}

func (h clientHandler) Held(ctx context.Context, after protocol.ObjectID, n int) ([]protocol.Failure, error) {
	if after.Bucket == "" && after.Key != "" {
		after.Bucket = h.bucket
	}
	recs, err := h.queue.Held(ctx, after, n)
	var held []protocol.Failure
	for _, r := range recs {
		held = append(held, protocol.Failure{Instruction: h.outward(r.Instruction), Held: true, Attempts: r.Attempts, Since: r.Since,
			Reason: "waits for a person"})
	}
	return held, err
}

func (h clientHandler) Release(ctx context.Context, ids []protocol.ObjectID) (int, error) {
	return h.queue.Release(ctx, h.both(ids))
}

func (h clientHandler) Retry(ctx context.Context, ids []protocol.ObjectID) (int, error) {
	return h.queue.Retry(ctx, h.both(ids))
}

// both gives "dir" the folder object "dir/" as a companion: people know the folder by that name.
func (h clientHandler) both(ids []protocol.ObjectID) []protocol.ObjectID {
	var all []protocol.ObjectID
	for _, id := range ids {
		if id.Bucket == "" {
			id.Bucket = h.bucket
		}
		all = append(all, id)
		if !id.Key.IsFolder() {
			all = append(all, protocol.ObjectID{Bucket: id.Bucket, Key: id.Key + "/"})
		}
	}
	return all
}
