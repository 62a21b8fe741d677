package queue

import (
	"context"
	"errors"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// entry reads a row of the ledger without looking at the state of the queue.
func (q *Queue) entry(id protocol.ObjectID) (*protocol.Entry, error) {
	v, c, err := q.db.Get(idKey(nil, spaceLedger, id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e, err := decodeEntry(id, v)
	return e, errors.Join(err, c.Close())
}

// Entry returns the ledger's row for an object, or nil if there is none.
func (q *Queue) Entry(id protocol.ObjectID) (*protocol.Entry, error) {
	if err := q.enter(); err != nil {
		return nil, err
	}
	defer q.exit()
	e, err := q.entry(id)
	return e, q.opError("read the ledger", err)
}

// Ledger yields the rows of a bucket, in the order of the keys (the order of LIST), whose keys begin with prefix and are
// greater than after, as they are at one moment. Memory stays flat, but what is deleted meanwhile takes room on the disk
// until the iteration ends. Breaking off is fine; an error is the last thing yielded. A row is good until
// the next one is asked for. Its texts are good for ever, but they are one string: who keeps one of them clones it.
func (q *Queue) Ledger(ctx context.Context, bucket string, prefix, after protocol.Key) iter.Seq2[*protocol.Entry, error] {
	return func(yield func(*protocol.Entry, error) bool) {
		on := true
		var text []byte
		var row protocol.Entry
		err := q.scan(ctx, spaceLedger, bucket, prefix, after, func(key, v []byte) (bool, error) {
			text = append(append(text[:0], key...), v...)
			all := string(text)
			err := (&decoder{b: v, text: all}).entry(protocol.ObjectID{Bucket: bucket, Key: protocol.Key(all[:len(key)])}, &row)
			on = err != nil || yield(&row, nil)
			return on && err == nil, err
		})
		if err != nil && on {
			yield(nil, err)
		}
	}
}

// Adopt writes rows for objects that are in the bucket already. It is durable when it returns.
func (q *Queue) Adopt(ctx context.Context, entries ...*protocol.Entry) error {
	for _, e := range entries {
		if err := checkID(e.ID()); err != nil {
			return &protocol.Error{Op: "adopt", Object: e.ID().String(), Kind: protocol.KindItem, Err: err}
		}
	}
	failpoint.Here("queue.adopt")
	return q.do(ctx, "adopt", synced, func(t *tx) error {
		for _, e := range entries {
			if err := t.writeRow(e.ID(), e); err != nil {
				return err
			}
		}
		return nil
	})
}

// Forget removes rows of objects that are no longer as the ledger says. It is durable when it returns.
func (q *Queue) Forget(ctx context.Context, ids ...protocol.ObjectID) error {
	failpoint.Here("queue.forget")
	return q.do(ctx, "forget", synced, func(t *tx) error {
		for _, id := range ids {
			if err := t.writeRow(id, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// ctxEvery is how many rows a scan reads between two looks at its context; a guess: below a millisecond.
const ctxEvery = 256

// scan gives the keys and values of a space and bucket to f, as they are at one moment, until f returns false or an error.
func (q *Queue) scan(ctx context.Context, space byte, bucket string, prefix, after protocol.Key,
	f func(key, val []byte) (bool, error),
) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := q.enter(); err != nil {
		return err
	}
	defer q.exit()
	head := idKey(nil, space, protocol.ObjectID{Bucket: bucket})
	low := idKey(nil, space, protocol.ObjectID{Bucket: bucket, Key: prefix})
	high := prefixEnd(low)
	if after >= prefix && after != "" {
		low = append(append(head[:len(head):len(head)], after...), 0)
	}
	return q.opError("read the store", q.walk(ctx, low, high, func(key, val []byte) (bool, error) {
		return f(key[len(head):], val)
	}))
}

// walk gives the rows from low to below high to f. It ends early when the queue is closed or
// breaks.
func (q *Queue) walk(ctx context.Context, low, high []byte, f func(key, val []byte) (bool, error)) error {
	it, err := q.db.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return err
	}
	n := 0
	for valid := it.First(); valid && err == nil; valid = it.Next() {
		var on bool
		if on, err = f(it.Key(), it.Value()); !on {
			break
		}
		if n++; n%ctxEvery == 0 {
			err = ctx.Err()
		}
		select {
		case <-q.closing:
			err = q.closedError("read the store")
		case <-q.store.Load().broken:
			err = q.Err()
		default:
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}
