package queue

import (
	"context"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// liveShare is the weight of live to backfill: after so many live instructions one of the backfill is handed out, if one
// is due (design: 8 : 1, so that neither starves).
const liveShare = 8

// Lease hands out up to n due instructions of a bucket, each under a token of its own. It waits up to wait for the first,
// never for more; nothing in that time is no error. Each lease is on disk before Lease returns.
//
// A lease with hold > 0 ends by itself when hold is over: from then on the queue may take it back and hand the
// instruction out with Again set. It lives over Close and Open. With hold 0 it lasts until it is settled or the queue is
// closed; the next Open makes its instruction ready, with Again set.
func (q *Queue) Lease(ctx context.Context, bucket string, n int, wait, hold time.Duration) ([]protocol.Delivery, error) {
	var out []protocol.Delivery
	err := q.take(ctx, "lease", bucket, n, wait, func(t *tx, r *record) error {
		old := r.clone()
		r.state, r.token, r.deadline = Leased, t.number(), 0
		if r.first == 0 {
			r.first = r.token
		}
		t.patient = hold == 0 // a worker's
		if hold > 0 {
			r.deadline = max(after(t.now, hold), 1)
		}
		t.save(r.id, old, r)
		d := r.delivery()
		d.Queue = q.name
		out = append(out, d)
		return nil
	}, func() error {
		for i := range out {
			e, err := q.entry(out[i].ID())
			if err != nil {
				return err
			}
			out[i].Known = e
			if from, err := protocol.ParseObjectID(out[i].From); out[i].From != "" && err == nil {
				if out[i].Origin, err = q.entry(from); err != nil {
					return err
				}
			}
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		q.leased.ledgerRead(out)
		return nil
	}, func() { out = nil })
	if err != nil {
		return nil, err
	}
	if len(out) > 0 {
		failpoint.Here("queue.leased")
	}
	return out, nil
}

// delivery gives the first wish into a hand.
func (r *record) delivery() protocol.Delivery {
	h := r.head()
	return protocol.Delivery{
		Instruction: r.instruction(), Token: r.token, Gen: h.gen, Attempt: r.attempts + 1,
		Class: h.class, Hint: h.hint, Again: r.again, First: r.first,
	}
}

func (r *record) instruction() protocol.Instruction {
	h := r.head()
	return protocol.Instruction{Verb: h.verb, Bucket: r.id.Bucket, Key: r.id.Key, Source: h.source, From: h.from, Guest: h.guest}
}

// Pop hands out up to n due instructions of a bucket for good, as S3 APU's get does: they are gone from the queue when
// Pop returns, whatever becomes of them. It waits as [Queue.Lease] does.
func (q *Queue) Pop(ctx context.Context, bucket string, n int, wait time.Duration) ([]protocol.Instruction, error) {
	var out []protocol.Instruction
	err := q.take(ctx, "get", bucket, n, wait, func(t *tx, r *record) error {
		out = append(out, r.instruction())
		return t.pop(r.clone(), r)
	}, func() error { return nil }, func() { out = nil })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// take claims up to n due records of a bucket and gives each to f, in one change. While that is on its way to the disk
// read is called, outside of the mutex. undo is called if the change is dropped.
func (q *Queue) take(ctx context.Context, op, bucket string, n int, wait time.Duration,
	f func(t *tx, r *record) error, read func() error, undo func(),
) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := q.enter(); err != nil {
		return err
	}
	defer q.exit()
	if n <= 0 {
		return nil
	}
	began := time.Now()
	w := &waiter{n: n, ch: make(chan struct{}, 1)}
	for {
		q.mu.Lock()
		w.told = false
		l := q.line(bucket)
		got, due, done, err := q.claim(l, n, f)
		left := wait - time.Since(began)
		if err != nil || got > 0 || left <= 0 {
			l.leave(w, got == n, due)
			q.mu.Unlock()
			if err != nil {
				undo()
				return q.opError(op, err)
			}
			rerr := read()
			if err := done(op); err != nil {
				return err
			}
			return q.opError(op, rerr)
		}
		sleep := l.join(w, due, q.clock.t)
		q.mu.Unlock()
		if err := done(op); err != nil {
			return q.abandon(l, w, err)
		}
		if err := q.wait(ctx, w, sleep, left); err != nil {
			return q.abandon(l, w, err)
		}
	}
}

// join puts w in line for work, if it is not there yet, and says how long it may sleep until something becomes due.
func (l *line) join(w *waiter, due, now int64) time.Duration {
	if len(l.waiters) == 0 || l.waiters[0] != w {
		found := false
		for _, o := range l.waiters {
			found = found || o == w
		}
		if !found {
			l.waiters = append(l.waiters, w)
		}
	}
	if l.waiters[0] != w {
		return farAway
	}
	l.next = due
	if due == 0 {
		return farAway
	}
	return max(time.Duration(due-now), 0) + timerSlack
}

// timerSlack keeps a timer from firing a moment before what it waits for is due; clocks tick in nanoseconds, timers do
// not.
const timerSlack = 100 * time.Microsecond

// abandon takes a waiter out that will not come back.
func (q *Queue) abandon(l *line, w *waiter, err error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	l.leave(w, false, 0)
	return err
}

// claim makes one change that gives up to n due records of a line to f. It returns how many, and if none, when the next
// one is due (0: unknown). The caller holds mu.
func (q *Queue) claim(l *line, n int, f func(t *tx, r *record) error) (
	got int, due int64, done func(op string) error, err error,
) {
	if broken := q.Err(); broken != nil {
		return 0, 0, nil, broken
	}
	t := q.begin()
	defer func() {
		if err != nil {
			t.abort()
		}
	}()
	if q.deadline != 0 && q.deadline <= t.now {
		if err = t.expire(); err != nil {
			return
		}
	}
	if len(t.later) > 0 {
		if err = t.wake(); err != nil {
			return
		}
	}
	got, due, err = t.claim(l, n, f)
	if err != nil {
		return
	}
	if err = t.finish(); err != nil {
		return
	}
	mode := lazily
	if got > 0 {
		mode = synced
	}
	return got, due, q.commit(t, mode), nil
}

// claim walks the two classes of a line side by side.
func (t *tx) claim(l *line, n int, f func(t *tx, r *record) error) (got int, due int64, err error) {
	d := t.line(l.bucket)
	var its [2]*readyIter
	for class := range its {
		if l.counts.n[Ready][class]+d.delta.n[Ready][class] == 0 {
			continue
		}
		from := l.cursor[class]
		if low := d.lowest[class]; low != (place{}) && low.before(from) {
			from = low
		}
		it, err := t.readyIter(l.bucket, protocol.Class(class), from)
		if err != nil {
			return 0, 0, err
		}
		defer it.it.Close() //nolint:errcheck // an iterator's error is looked at in step
		its[class] = it
	}
	run := l.run
	for got < n {
		class := protocol.Live
		live, back := its[protocol.Live].due(t.now), its[protocol.Backfill].due(t.now)
		if !live && !back {
			break
		}
		if back && (!live || run >= liveShare) {
			class = protocol.Backfill
		}
		r, err := t.current(its[class])
		if err != nil {
			return got, 0, err
		}
		if r == nil {
			continue
		}
		if class == protocol.Live {
			run = min(run+1, liveShare)
		} else {
			run = 0
		}
		if err := f(t, r); err != nil {
			return got, 0, err
		}
		got++
	}
	l.run = run
	for class, it := range its {
		if it == nil {
			continue
		}
		if it.err != nil {
			return got, 0, it.err
		}
		d.raised[class] = it.place
		if it.valid && (due == 0 || it.place.due < due) {
			due = it.place.due
		}
	}
	return got, due, nil
}

// readyIter walks the ready rows of one line and class. place is that of the current row, or one behind the last row.
type readyIter struct {
	it     *pebble.Iterator
	bucket string
	class  protocol.Class
	place  place
	valid  bool
	err    error
}

func (t *tx) readyIter(bucket string, class protocol.Class, from place) (*readyIter, error) {
	prefix := readyPrefix(nil, bucket, class)
	it, err := t.b.NewIter(&pebble.IterOptions{
		LowerBound: appendPlace(readyPrefix(nil, bucket, class), from), UpperBound: prefixEnd(prefix),
	})
	if err != nil {
		return nil, err
	}
	r := &readyIter{it: it, bucket: bucket, class: class, place: from}
	r.settle(it.First())
	return r, nil
}

// settle reads where the iterator stands.
func (r *readyIter) settle(valid bool) {
	r.valid = valid
	if !valid {
		if r.err = r.it.Error(); r.place != (place{}) {
			r.place.seq++
		}
		return
	}
	if p, ok := parsePlace(r.it.Key()); ok {
		r.place = p
	}
}

// due reports whether the current row may be handed out.
func (r *readyIter) due(now int64) bool { return r != nil && r.valid && r.place.due <= now }

// current returns the record of the iterator's row and steps on. A row that is not that of its record is dropped, and
// the record is nil.
func (t *tx) current(it *readyIter) (*record, error) {
	id := protocol.ObjectID{Bucket: it.bucket, Key: protocol.Key(it.it.Value())}
	r, err := t.load(id)
	if err != nil {
		return nil, err
	}
	if r == nil || r.state != Ready || r.head().class != it.class || (place{r.due, r.head().seq}) != it.place {
		t.del(it.it.Key())
		r = nil
	}
	it.settle(it.it.Next())
	return r, nil
}

// expireBatch bounds the leases that one change takes back; a guess.
const expireBatch = 1000

// expire takes back leases whose time is over.
func (t *tx) expire() error {
	it, err := t.b.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceLease}, UpperBound: []byte{spaceLease + 1}})
	if err != nil {
		return err
	}
	next, room := int64(0), expireBatch
	for valid := it.First(); valid && err == nil; valid = it.Next() {
		p, ok := parsePlace(it.Key()) // deadline and token have the form of a place
		if ok && (p.due > t.now || room == 0) {
			next = max(p.due, 1)
			break
		}
		room--
		id, fine := parseID(it.Value())
		if !ok || !fine {
			t.del(it.Key())
			continue
		}
		err = t.expireOne(id, p.seq, it.Key())
	}
	t.q.deadline, t.swept = next, true
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	return err
}

// expireOne takes back one lease.
func (t *tx) expireOne(id protocol.ObjectID, token uint64, row []byte) error {
	r, err := t.load(id)
	if err != nil {
		return err
	}
	if r == nil || r.state != Leased || r.token != token {
		t.del(row)
		return nil
	}
	old := r.clone()
	if err := t.lapse(r); err != nil {
		return err
	}
	t.save(id, old, r)
	return nil
}

// lapse ends a lease of which nobody knows what became.
func (t *tx) lapse(r *record) error {
	r.again = true
	if len(r.wishes) > 1 {
		keep, err := t.needed(r)
		if err != nil {
			return err
		}
		if !keep {
			r.dropHead()
		}
	}
	return t.place(r)
}

// dropHead lets the next wish take the first one's place without the first having been carried out.
func (r *record) dropHead() {
	next := &r.wishes[1]
	next.inherit(r.head())
	r.due = max(r.due, next.due)
	r.wishes = r.wishes[1:]
}
