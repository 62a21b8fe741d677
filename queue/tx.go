package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// tx is one change of the state: it reads the store as it is with the change so far, and gathers one batch, the counts
// that it moves and the lines that got something to do. It lives under Queue.mu from begin to commit or abort.
type tx struct {
	q     *Queue
	b     *pebble.Batch // indexed: reads see what was written
	now   int64
	limit uint64 // numbers below it may be given out once this is committed
	delta counts
	lines []*lineDelta
	woken []protocol.ObjectID // records that wishes left; their waiters are looked at in finish
	later []wakeup            // replaces Queue.later at commit
	key   []byte              // scratch
	val   []byte              // scratch
	came  []mark              // of new records: Queue.filter has them already, and abort takes them out
	went  []mark              // of records that go: Queue.filter loses them once the change is applied
	swept bool                // Queue.deadline was set anew

	patient bool // who waits for this change can wait a little longer: see syncPause

	leased []*leasedRecord // by this change, for Queue.leased; nil: it has ended the lease again
}

// lineDelta is what a tx does to one line.
type lineDelta struct {
	*line
	delta  counts
	due    int      // rows that became due
	next   int64    // the first of the rows that are not due yet, or 0
	lowest [2]place // the first row that came in, by class; zero for none
	raised [2]place // how far the claim got, by class; zero for not at all
}

func (q *Queue) begin() *tx {
	return &tx{q: q, b: q.db.NewIndexedBatch(), now: q.clock.read(), limit: q.limit, later: q.later}
}

// abort drops the change.
func (t *tx) abort() {
	_ = t.b.Close() // an uncommitted batch holds memory only
	for _, m := range t.came {
		t.q.filter.remove(m)
	}
	if t.swept {
		t.q.deadline = max(t.now, 1) // look again
	}
}

// line returns what t does to the line of a bucket.
func (t *tx) line(bucket string) *lineDelta {
	for _, l := range t.lines {
		if l.bucket == bucket {
			return l
		}
	}
	l := &lineDelta{line: t.q.line(bucket)}
	t.lines = append(t.lines, l)
	return l
}

// number gives out the next number of the sequence that orders wishes, places and tokens. Numbers are reserved in blocks
// that are written down with the first change that uses them: a later change cannot be durable without that, so no
// number is seen twice, whatever happens.
func (t *tx) number() uint64 {
	if t.q.next >= t.limit {
		t.limit = t.q.next + numberBlock
		t.set(ownNext, binary.BigEndian.AppendUint64(nil, t.limit))
	}
	n := t.q.next
	t.q.next++
	return n
}

// numberBlock is a guess: one more small row in 65,536 numbers, and 64 bits last for ever.
const numberBlock = 1 << 16

// get reads one row; the value may be used until close is called. A row that is not there gives nil.
func (t *tx) get(key []byte) (val []byte, done func(), err error) {
	v, c, err := t.b.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, func() {}, nil
	case err != nil:
		return nil, nil, err
	}
	return v, func() { _ = c.Close() }, nil
}

// set and del write to the batch. Its errors are those of a closed or foreign batch and cannot happen.
func (t *tx) set(key, val []byte) { _ = t.b.Set(key, val, nil) }
func (t *tx) del(key []byte)      { _ = t.b.Delete(key, nil) }

// load returns the record of id, or nil.
func (t *tx) load(id protocol.ObjectID) (*record, error) {
	if l := t.q.leased[id]; l != nil {
		return l.record.clone(), nil
	}
	t.key = idKey(t.key[:0], spaceRecord, id)
	if !t.q.filter.mayHold(t.key) {
		return nil, nil
	}
	v, done, err := t.get(t.key)
	if err != nil || v == nil {
		return nil, err
	}
	defer done()
	r, err := decodeRecord(id, v)
	if err != nil {
		return nil, fmt.Errorf("%w (record %s)", err, id)
	}
	return r, nil
}

// save replaces record old by r, with all their index rows and counts. Either may be nil.
func (t *tx) save(id protocol.ObjectID, old, r *record) {
	t.index(old, r)
	t.noteLeased(id, old, r)
	t.key = idKey(t.key[:0], spaceRecord, id)
	if r == nil {
		t.del(t.key)
		if old != nil {
			t.went = append(t.went, t.q.filter.mark(t.key))
		}
	} else {
		if old == nil {
			t.came = append(t.came, t.q.filter.add(t.key))
		}
		t.val = appendRecord(t.val[:0], r)
		t.set(t.key, t.val)
	}
	l := t.line(id.Bucket)
	for _, d := range []*counts{&t.delta, &l.delta} {
		d.add(old, -1)
		d.add(r, 1)
	}
	if r.lost(old) {
		t.woken = append(t.woken, id)
	}
}

// indexRow is a row that follows from a record.
type indexRow struct{ key, val []byte }

// index writes the difference between the index rows of two records.
func (t *tx) index(old, r *record) {
	var bufs [2][6]indexRow
	was, is := appendRows(bufs[0][:0], old), appendRows(bufs[1][:0], r)
	for _, o := range was {
		if !hasRow(is, o) {
			t.del(o.key)
		}
	}
	for _, n := range is {
		if hasRow(was, n) {
			continue
		}
		t.set(n.key, n.val)
		switch n.key[0] {
		case spaceReady:
			t.lined(r)
		case spaceLease:
			t.q.deadlineAt(r.deadline)
		}
	}
}

// hasRow reports whether rows hold exactly this one.
func hasRow(rows []indexRow, row indexRow) bool {
	for _, r := range rows {
		if bytes.Equal(r.key, row.key) && bytes.Equal(r.val, row.val) {
			return true
		}
	}
	return false
}

// lined notes that r came into its line.
func (t *tx) lined(r *record) {
	l, p := t.line(r.id.Bucket), place{r.due, r.head().seq}
	if low := &l.lowest[r.head().class]; *low == (place{}) || p.before(*low) {
		*low = p
	}
	if r.due <= t.now {
		l.due++
	} else if l.next == 0 || r.due < l.next {
		l.next = r.due
	}
}

// appendRows appends the index rows of r, which may be nil.
func appendRows(rows []indexRow, r *record) []indexRow {
	if r == nil {
		return rows
	}
	h := r.head()
	switch r.state {
	case Ready:
		key := make([]byte, 0, 3+len(r.id.Bucket)+16)
		key = appendPlace(readyPrefix(key, r.id.Bucket, h.class), place{r.due, h.seq})
		rows = append(rows, indexRow{key, []byte(r.id.Key)})
	case Blocked:
		rows = append(rows, indexRow{key: blockedKey(nil, r.blocker, r.id)})
	case Leased:
		if r.deadline != 0 {
			rows = append(rows, indexRow{leaseKey(nil, r.deadline, r.token), appendID(nil, r.id)})
		}
	case Held:
		rows = append(rows, indexRow{key: idKey(nil, spaceHeld, r.id)})
	}
	if r.err {
		rows = append(rows, indexRow{key: idKey(nil, spaceFailed, r.id)})
	}
	if order, ok := r.firstDelete(); ok {
		rows = append(rows, indexRow{idKey(nil, spaceDelete, r.id), binary.BigEndian.AppendUint64(nil, order)})
	}
	if r.state == Dead {
		return rows
	}
	for i := range r.wishes {
		w := &r.wishes[i]
		if src, ok := w.reads(); ok {
			row := indexRow{key: copyKey(nil, src, w.order, r.id)}
			if w.verb == protocol.Upl {
				row.val = []byte{1}
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// place decides where a record that is in no hand stands, by its first wish.
func (t *tx) place(r *record) error {
	h := r.head()
	r.token, r.deadline, r.blocker = 0, 0, protocol.ObjectID{}
	switch {
	case h.failed:
		r.state = Dead
		r.clean()
		r.fail(h.kind, h.reason, h.at)
	case h.held:
		failpoint.Here("queue.hold")
		r.state = Held
	default:
		blocker, blocked, err := t.blocker(r)
		if err != nil {
			return err
		}
		r.state, r.blocker = Ready, blocker
		if blocked {
			r.state = Blocked
		}
	}
	return nil
}

// finish looks at the waiters of what left and writes down the clock. It is the last step before commit.
func (t *tx) finish() error {
	if err := t.wake(); err != nil {
		return err
	}
	if !t.b.Empty() && t.now-t.q.clockSaved >= clockStep {
		t.setClock()
	}
	return nil
}

// setClock writes the clock down.
func (t *tx) setClock() {
	t.set(ownClock, be64(uint64(t.now)))
	t.set(ownPace, appendPace(nil, t.q.pace(t.now)))
}

// clockStep is how much of the queue's time may be unwritten, in nanoseconds; a guess. Waiting times may grow by as
// much over a crash if the wall's clock has been set back as well.
const clockStep = 1e9
