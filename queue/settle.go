package queue

import (
	"context"
	"math"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// Settle takes back what [Queue.Lease] handed out, all in one commit, the rows of the ledger included, and returns one
// outcome for each result, in their order. Of a Delivery it needs Bucket, Key and Token.
//
//   - Err nil: carried out. The ledger takes Entry, or loses its row, or keeps it. Done, or Superseded if a newer wish
//     came: that one is then ready, with no attempt behind it.
//     With an Origin that says so the hinted delete of the object in Delivery.From is taken back.
//   - Err set: attempts grows by one unless Uncounted, and the instruction is Requeued for after Delay. If a newer wish
//     came it takes over, after Delay as well: Superseded.
//   - Err set and Passed: forgotten as if it were carried out, with the ledger as it is, unless a copy waits for it.
//   - Dead, or KindItem with MaxRetries attempts behind it: Buried, unless a newer wish came: Superseded.
//   - The token is not that of the lease that is out: LeaseLost, and nothing is recorded.
//
// A lease that has ended but was not taken back yet still counts.
func (q *Queue) Settle(ctx context.Context, results []protocol.Result) ([]protocol.Outcome, error) {
	if len(results) == 0 {
		return nil, ctx.Err()
	}
	out := make([]protocol.Outcome, len(results))
	failpoint.Here("queue.settle")
	err := q.do(ctx, "settle", synced, func(t *tx) (err error) {
		t.patient = true
		for i := range results {
			if out[i], err = t.settle(&results[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	failpoint.Here("queue.settled")
	return out, nil
}

func (t *tx) settle(res *protocol.Result) (protocol.Outcome, error) {
	id := res.Delivery.ID()
	r, err := t.load(id)
	if err != nil {
		return 0, err
	}
	if r == nil || r.state != Leased || r.token != res.Delivery.Token {
		return protocol.LeaseLost, nil
	}
	t.patient = t.patient && r.deadline == 0 // a worker's
	old := r.clone()
	over := res.Err == nil
	if over {
		if err := t.record(id, res); err != nil {
			return 0, err
		}
		if err := t.letGo(id, r.head(), res.Origin); err != nil {
			return 0, err
		}
	} else if res.Passed {
		needed, err := t.pinned(id, r.head(), math.MaxUint64)
		if err != nil {
			return 0, err
		}
		over = !needed
	}
	if over {
		further := len(r.wishes) > 1
		if err := t.pop(old, r); err != nil || further {
			return protocol.Superseded, err
		}
		return protocol.Done, nil
	}
	out, err := t.setBack(r, res)
	if err != nil {
		return 0, err
	}
	t.save(id, old, r)
	return out, nil
}

// record writes the ledger's row for what was carried out.
func (t *tx) record(id protocol.ObjectID, res *protocol.Result) error {
	if res.Entry == nil && res.Keep {
		return nil
	}
	return t.writeRow(id, res.Entry)
}

// pop lets the first wish go, carried out or handed out for good; the next one is ready in the place of its own.
func (t *tx) pop(old, r *record) error {
	if len(r.wishes) == 1 {
		t.save(r.id, old, nil)
		return nil
	}
	r.wishes = r.wishes[1:]
	r.due, r.again, r.first = r.head().due, false, 0
	r.clean()
	if err := t.place(r); err != nil {
		return err
	}
	t.save(r.id, old, r)
	return nil
}

// setBack is what follows a failure.
func (t *tx) setBack(r *record, res *protocol.Result) (protocol.Outcome, error) {
	if !res.Uncounted {
		r.attempts++
	}
	r.again = r.again || res.Unsure
	r.fail(res.Err.Kind, res.Err.Error(), t.now)
	r.due = after(t.now, max(res.Delay, 0))
	limit := t.q.opt.MaxRetries
	final := res.Dead ||
		limit > 0 && res.Err.Kind == protocol.KindItem && !res.Uncounted && r.attempts >= limit
	if len(r.wishes) > 1 {
		keep, err := t.needed(r)
		if err != nil {
			return 0, err
		}
		if final || !keep {
			r.dropHead()
			return protocol.Superseded, t.place(r)
		}
	} else if final {
		r.state, r.token, r.deadline = Dead, 0, 0
		return protocol.Buried, t.keepOrigin(r.id, r.head())
	}
	return protocol.Requeued, t.place(r)
}
