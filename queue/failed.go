package queue

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// Record is what the queue knows of one key, to be looked at.
type Record struct {
	protocol.Instruction
	State    State
	Class    protocol.Class
	Hint     bool
	Again    bool
	Gen      uint64
	Attempts int       // that failed and counted
	Since    time.Time // when the wish first came
	Next     time.Time // Ready and Blocked: not before; Leased: the end of the lease, zero if it has none

	Kind   protocol.Kind // of the last failure
	Reason string        // of the last failure, "" if there was none
	Failed time.Time     // when that was

	Blocker protocol.ObjectID // Blocked: whose wish this one waits for, or one of several
	Further int               // newer wishes behind this one
}

// view shows r; its times are those of the wall.
func (r *record) view(c *clock) Record {
	h := r.head()
	v := Record{
		Instruction: r.instruction(), State: r.state, Class: h.class, Hint: h.hint, Again: r.again, Gen: h.gen,
		Attempts: r.attempts, Since: c.wall(h.at), Blocker: r.blocker, Further: len(r.wishes) - 1,
	}
	switch {
	case r.state == Ready || r.state == Blocked:
		v.Next = c.wall(r.due)
	case r.state == Leased && r.deadline != 0:
		v.Next = c.wall(r.deadline)
	}
	if r.err {
		v.Kind, v.Reason, v.Failed = r.kind, r.reason, c.wall(r.errAt)
	}
	return v
}

// times returns a clock to translate times with, without the mutex.
func (q *Queue) times() *clock {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.clock.read()
	c := q.clock
	return &c
}

// fetch reads one row and gives its value to f; a row that is not there is no call and no error.
func (q *Queue) fetch(op string, key []byte, f func(val []byte) error) error {
	if err := q.enter(); err != nil {
		return err
	}
	defer q.exit()
	v, c, err := q.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = errors.Join(f(v), c.Close())
	}
	return q.opError(op, err)
}

// Pending returns the record of a key, dead ones included, and whether there is one.
func (q *Queue) Pending(id protocol.ObjectID) (rec Record, found bool, err error) {
	c := q.times()
	err = q.fetch("look up "+id.String(), idKey(nil, spaceRecord, id), func(v []byte) error {
		r, err := decodeRecord(id, v)
		if err == nil {
			rec, found = r.view(c), true
		}
		return err
	})
	return rec, found, err
}

// Records yields the records of a bucket, in the order of the keys, whose keys begin with prefix and are greater than
// after, as they are at one moment. Memory stays flat. Breaking off is fine; an error is the last thing yielded.
func (q *Queue) Records(ctx context.Context, bucket string, prefix, after protocol.Key) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		c, on := q.times(), true
		err := q.scan(ctx, spaceRecord, bucket, prefix, after, func(key, v []byte) (bool, error) {
			id := protocol.ObjectID{Bucket: bucket, Key: protocol.Key(key)}
			r, err := decodeRecord(id, v)
			on = err != nil || yield(r.view(c), nil)
			return on && err == nil, err
		})
		if err != nil && on {
			yield(Record{}, err)
		}
	}
}

// Fail enters an instruction that is known to be impossible: it is dead at once, and listed with the reason. Its key need
// not be a valid one; a display form will do. A newer Put for the key replaces it, and it replaces what waits under the
// key, as a newer wish does.
func (q *Queue) Fail(ctx context.Context, item Item, reason *protocol.Error) error {
	err := checkID(item.ID())
	if err == nil && (item.Verb < protocol.Mkd || item.Verb > protocol.Del || item.Class > protocol.Backfill) {
		err = errors.New("no such verb or class")
	}
	if err == nil && reason == nil {
		err = errors.New("no reason given")
	}
	if err != nil {
		return &protocol.Error{Op: "list a failure", Object: item.ID().String(), Kind: protocol.KindItem, Err: err}
	}
	return q.do(ctx, "list a failure", synced, func(t *tx) error { return t.put(&item, reason) })
}

// Failed lists up to n instructions that are dead or wait out a failure, or are in a hand after one, in the order of
// bucket and key, behind after (the zero value: from the start).
func (q *Queue) Failed(ctx context.Context, after protocol.ObjectID, n int) ([]protocol.Failure, error) {
	recs, err := q.listed(ctx, "list failures", spaceFailed, after, n)
	out := make([]protocol.Failure, 0, len(recs))
	for _, r := range recs {
		f := protocol.Failure{
			Instruction: r.Instruction, Dead: r.State == Dead, Attempts: r.Attempts, Since: r.Since, Reason: r.Reason,
		}
		if !f.Dead {
			f.Next = r.Next
		}
		out = append(out, f)
	}
	return out, err
}

// Held lists up to n held instructions in the order of bucket and key, behind after.
func (q *Queue) Held(ctx context.Context, after protocol.ObjectID, n int) ([]Record, error) {
	return q.listed(ctx, "list held instructions", spaceHeld, after, n)
}

// listed pages through an index of records.
func (q *Queue) listed(ctx context.Context, op string, space byte, after protocol.ObjectID, n int) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := q.enter(); err != nil {
		return nil, err
	}
	defer q.exit()
	c := q.times()
	snap := q.db.NewSnapshot()
	ids, err := idsBehind(snap, space, after, n)
	var out []Record
	for _, id := range ids {
		if err != nil {
			break
		}
		var v []byte
		var done interface{ Close() error }
		if v, done, err = snap.Get(idKey(nil, spaceRecord, id)); err == nil {
			var r *record
			if r, err = decodeRecord(id, v); err == nil {
				out = append(out, r.view(c))
			}
			err = errors.Join(err, done.Close())
		}
	}
	return out, q.opError(op, errors.Join(err, snap.Close()))
}

// idsBehind reads up to n IDs of an index, behind after.
func idsBehind(from pebble.Reader, space byte, after protocol.ObjectID, n int) (ids []protocol.ObjectID, err error) {
	lower := []byte{space}
	if after != (protocol.ObjectID{}) {
		lower = append(idKey(nil, space, after), 0)
	}
	it, err := from.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{space + 1}})
	if err != nil {
		return nil, err
	}
	for valid := it.First(); valid && len(ids) < n; valid = it.Next() {
		if id, ok := parseID(it.Key()[1:]); ok {
			ids = append(ids, id)
		}
	}
	return ids, errors.Join(it.Error(), it.Close())
}

// Retry makes the named failed instructions due now, with no attempt behind them, or all of them if none is named, and
// says how many. It leaves alone what is in a hand and what can never be carried out as it is.
func (q *Queue) Retry(ctx context.Context, ids []protocol.ObjectID) (int, error) {
	return q.forEach(ctx, "retry", spaceFailed, ids, func(t *tx, r *record) (bool, error) {
		if possible := r.instruction().Check() == nil; !possible || !r.err || r.state == Leased {
			return false, nil
		}
		if r.state == Dead {
			h := r.head()
			h.failed, h.held, h.kind, h.reason = false, false, 0, ""
			h.gen = t.number() // a wish that comes now: what came meanwhile must not wait for it
			h.order, h.seq = h.gen, h.gen
		}
		r.attempts, r.due = 0, t.now
		return true, t.place(r)
	})
}

// Release lets the named held instructions go, or all of them if none is named, and says how many. They come after all
// that is pending now.
func (q *Queue) Release(ctx context.Context, ids []protocol.ObjectID) (int, error) {
	return q.forEach(ctx, "release", spaceHeld, ids, func(t *tx, r *record) (bool, error) {
		if r.state != Held {
			return false, nil
		}
		h := r.head()
		h.held, h.gen = false, t.number()
		h.order, h.seq = h.gen, h.gen
		r.due = max(r.due, t.now)
		return true, t.place(r)
	})
}

// Drop forgets the named instructions that are held or dead, or all held ones if none is named, and says how many.
func (q *Queue) Drop(ctx context.Context, ids []protocol.ObjectID) (int, error) {
	return q.forEach(ctx, "drop", spaceHeld, ids, func(_ *tx, r *record) (bool, error) {
		drop := r.state == Held || r.state == Dead
		if drop {
			r.wishes = nil
		}
		return drop, nil
	})
}

// personBatch bounds the records that one change by hand touches; a guess.
const personBatch = 1000

// forEach changes the named records, or all of an index if none is named, some at a time. f says whether it changed the
// record; one without wishes is removed.
func (q *Queue) forEach(ctx context.Context, op string, space byte, ids []protocol.ObjectID,
	f func(t *tx, r *record) (bool, error),
) (total int, err error) {
	var after protocol.ObjectID
	named := slices.Clone(ids)
	for {
		changed, more := 0, false
		failpoint.Here("queue.person")
		err := q.do(ctx, op, synced, func(t *tx) error {
			part := named[:min(len(named), personBatch)]
			if len(ids) == 0 {
				var err error
				if part, err = idsBehind(t.b, space, after, personBatch); err != nil {
					return err
				}
				if more = len(part) == personBatch; more {
					after = part[len(part)-1]
				}
			}
			for _, id := range part {
				ok, err := t.change(id, f)
				if err != nil {
					return err
				}
				if ok {
					changed++
				}
			}
			return nil
		})
		if err != nil {
			return total, err
		}
		failpoint.Here("queue.person.done")
		total += changed
		named = named[min(len(named), personBatch):]
		if !more && len(named) == 0 {
			return total, nil
		}
	}
}

// change lets f change one record.
func (t *tx) change(id protocol.ObjectID, f func(t *tx, r *record) (bool, error)) (bool, error) {
	r, err := t.load(id)
	if err != nil || r == nil {
		return false, err
	}
	old := r.clone()
	ok, err := f(t, r)
	switch {
	case err != nil || !ok:
		return false, err
	case len(r.wishes) == 0:
		t.save(id, old, nil)
	default:
		t.save(id, old, r)
	}
	return true, nil
}
