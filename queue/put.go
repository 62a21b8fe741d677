package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// Item is an instruction on its way into the queue.
type Item struct {
	protocol.Instruction
	Class protocol.Class

	// Hint says that the instruction came from watching or scanning; see [protocol.Delivery]. False is an explicit
	// wish, and stays explicit until it is carried out: a hint of the same verb that comes meanwhile does not weaken it.
	Hint bool

	// Held stops the instruction until a person releases or drops it. It does not hold back one of the same verb that
	// waits unheld already, and a hint of the same verb does not free one that is held.
	Held bool

	// Renamed says of a delete that its file was seen under another name and that what was put for that stands before it.
	// It takes its place behind that, also where a delete waited before, and lets one through that is held. (Where keys
	// that cannot stand beside this one wait as well, the older delete keeps its place: it may have to make room.)
	Renamed bool

	// NotBefore is the earliest time to carry it out, by the wall's clock. Zero is now.
	NotBefore time.Time
}

// Put enters instructions, all in one commit or none. It returns when they are durable; what is Backfill is on disk
// within a second instead, and waits first, until ctx ends, as long as more than MaxBackfill of it is pending.
//
// The newest wish for a key wins. If the key is
//
//   - ready or blocked, the new wish takes the old one's place in line; it is live if either was;
//   - waiting after a failure, it goes on waiting;
//   - dead, it is alive again with no attempt behind it;
//   - in a hand, the hand is left alone and the new wish follows it ([protocol.Superseded]);
//   - still needed as it is by a pending copy, the new wish follows it as well. More than 64 wishes behind one another
//     are refused with KindTransient; nothing of the call is then taken.
//
// An instruction that cannot be carried out as it is ([protocol.Instruction.Check]) is refused with KindItem, and with it
// the whole call: enter it with [Queue.Fail].
func (q *Queue) Put(ctx context.Context, items ...Item) error {
	if len(items) == 0 {
		return ctx.Err()
	}
	mode := lazily
	for i := range items {
		if err := checkItem(&items[i]); err != nil {
			return err
		}
		if items[i].Class != protocol.Backfill {
			mode = synced
		}
	}
	for i := range items {
		if items[i].Class == protocol.Backfill {
			if err := q.Room(ctx); err != nil {
				return err
			}
			break
		}
	}
	failpoint.Here("queue.put")
	err := q.do(ctx, opPut, mode, func(t *tx) error {
		for i := range items {
			if err := t.put(&items[i], nil); err != nil {
				return err
			}
		}
		return nil
	})
	failpoint.Here("queue.put.done")
	if err == nil {
		for i := range items {
			q.puts[items[i].Verb].Add(1)
		}
	}
	return err
}

const opPut = "enter an instruction"

func checkItem(it *Item) error {
	err := it.Check()
	if err == nil {
		err = checkID(it.ID())
	}
	if err == nil && it.Class > protocol.Backfill {
		err = errors.New("no such class")
	}
	if err != nil {
		return &protocol.Error{Op: opPut, Object: it.ID().String(), Kind: protocol.KindItem, Err: err}
	}
	return nil
}

// checkID reports why id cannot be the key of a row.
func checkID(id protocol.ObjectID) error {
	switch {
	case strings.IndexByte(id.Bucket, 0) >= 0:
		return errors.New("the name of the bucket holds a NUL byte")
	case len(id.Bucket)+len(id.Key) > maxIDBytes:
		return fmt.Errorf("bucket and key are longer than %d bytes", maxIDBytes)
	case id.Key == "":
		return protocol.ErrKeyEmpty
	}
	return nil
}

// Room waits while more than MaxBackfill of backfill is pending. Who may not wait inside of [Queue.Put] waits here before.
func (q *Queue) Room(ctx context.Context) error {
	for {
		st := q.store.Load()
		if e := st.failure(); e != nil {
			return e
		}
		q.mu.Lock()
		if q.total.backlog() <= q.opt.MaxBackfill {
			q.mu.Unlock()
			return nil
		}
		if q.room == nil {
			q.room = make(chan struct{})
		}
		room := q.room
		q.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		case <-q.closing:
			return q.closedError(opPut)
		case <-st.broken:
			return st.failure()
		}
	}
}

// put enters one instruction. With a reason it is given up at once.
func (t *tx) put(it *Item, reason *protocol.Error) error {
	id := it.ID()
	r, err := t.load(id)
	if err != nil {
		return err
	}
	w := t.newWish(it, reason)
	if r == nil {
		r = &record{id: id, wishes: []wish{w}, due: w.due}
		if err := t.place(r); err != nil {
			return err
		}
		t.save(id, nil, r)
		return nil
	}
	old := r.clone()
	last := r.last()
	if reason != nil {
		if err := t.keepOrigin(id, last); err != nil {
			return err
		}
	}
	follow, err := t.follows(r, &w)
	behind := false
	if err == nil && it.Renamed {
		behind, err = t.beside(id) // what stands there may wait for the delete to make room
		behind = !behind
	}
	switch {
	case err != nil:
		return err
	case r.state == Dead:
		w.hint = w.hint && (last.hint || last.verb != w.verb)
		r.wishes[0], r.due = w, w.due
		r.clean()
	case follow && len(r.wishes) > maxFurther:
		return &protocol.Error{Op: opPut, Object: id.String(), Kind: protocol.KindTransient,
			Err:  fmt.Errorf("%d wishes for this key wait behind one another, each needed by a copy", len(r.wishes)),
			Hint: "try again when some are carried out"}
	case follow:
		r.wishes = append(r.wishes, w)
	case len(r.wishes) == 1 && r.state != Leased:
		r.due = w.replace(last, r.due, r.err, behind, it, t.now)
		*last = w
	default:
		w.due = w.replace(last, last.due, false, behind, it, t.now)
		*last = w
		if err := t.merge(r); err != nil {
			return err
		}
	}
	if r.state != Leased && len(r.wishes) == 1 {
		if err := t.place(r); err != nil {
			return err
		}
	}
	t.save(id, old, r)
	return nil
}

// newWish makes the wish of an item that has just come.
func (t *tx) newWish(it *Item, reason *protocol.Error) wish {
	n := t.number()
	w := wish{
		verb: it.Verb, class: it.Class, hint: it.Hint, held: it.Held, source: it.Source, from: it.From, guest: it.Guest,
		gen: n, order: n, seq: n, at: t.now, due: max(t.now, t.q.clock.from(it.NotBefore)),
	}
	if reason != nil {
		w.held, w.failed, w.kind, w.reason = false, true, reason.Kind, clip(reason.Error())
	}
	return w
}

// inherit takes over from a wish that was not carried out what a newer one of the same verb does not change.
func (w *wish) inherit(old *wish) {
	if w.verb != old.verb || w.failed {
		return
	}
	if w.held && !old.parked() {
		w.held = false // it was let through already
	} else if old.held && w.hint {
		w.held = true // only a person or an explicit wish frees it
	}
	w.hint = w.hint && old.hint
	if w.source == old.source && old.guest == "" && !old.parked() {
		w.guest = "" // it was wished for without a guest already, and a guest must not be able to stop it
	}
	if w.parked() || old.parked() {
		return
	}
	switch {
	case w.verb == protocol.Del:
		w.order = old.order // what waits for the key to be gone goes on waiting
	case w.verb == protocol.Upl && w.from == "" && w.source == old.source && old.from != "":
		w.from, w.order = old.from, old.order // what waits for the copy goes on waiting, or the old object would go first
	}
}

// follows reports whether w must be kept behind the last wish of r instead of replacing it.
func (t *tx) follows(r *record, w *wish) (bool, error) {
	last := r.last()
	if r.state == Dead || last.parked() {
		return false, nil
	}
	if r.state == Leased && len(r.wishes) == 1 {
		return true, nil
	}
	if w.copies(r.id) {
		return true, nil // a copy onto itself reads what the last wish writes
	}
	if room, err := t.makesRoom(r.id, last, w); room || err != nil {
		return room, err
	}
	return t.pinned(r.id, last, w.order)
}

// replace gives w the place of old and returns when it is due: due is when old was, waiting says that it was waiting out
// a failure, behind that a delete takes a place behind all that was put before it.
func (w *wish) replace(old *wish, due int64, waiting, behind bool, it *Item, now int64) int64 {
	order := w.order
	w.inherit(old)
	if it.Renamed && w.verb == protocol.Del {
		w.held = it.Held
	}
	if behind {
		w.order = order
	}
	if !old.parked() {
		w.class = min(w.class, old.class)
		w.seq, w.at = old.seq, old.at
	}
	switch {
	case waiting:
		if it.NotBefore.IsZero() {
			return due
		}
		return max(due, w.due)
	case old.parked():
		return w.due
	case it.NotBefore.IsZero():
		return min(due, now) // it keeps its place
	default:
		return w.due
	}
}
