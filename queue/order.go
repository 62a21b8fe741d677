package queue

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"s3apu/protocol"
)

// Order across keys. A wish waits
//
//  1. if it writes K, for every earlier pending wish that reads K;
//  2. if it reads K, for an earlier pending write of K;
//  3. if it is an upl, mkd or cpo to K, for earlier pending deletes of a name above K ("a" for "a/b") and of anything
//     below K ("a/…" for "a"), because stores that keep objects as files refuse the two side by side.
//
// A cpo reads its source. So does an upl with an origin, the object of the name that its file had before; but that one
// can do without, as it has the file: what it reads may be overwritten in the queue by newer wishes. If it is given up the
// old object may be all that is left of the file, so that a hinted delete of that is held; see tx.keepOrigin.
//
// Earlier is meant by wish.order, and pending is what is neither dead nor held. All waiting is of the later for the
// earlier, so there are no circles. A delete waits by rule 1 only.
//
// Nobody polls: a record that waits leaves its line and is entered under one of the records it waits for. When a wish
// leaves that record, the waiter is looked at again: it goes back to its old place, or under the next one. As the one to
// wait for the latest is taken, so that few steps are needed. Counts of pending copies and deletes let the common case,
// in which there are none, skip all of this.
//
// A wish that a waiting cpo still needs (rule 2) is not overwritten by a newer one; see tx.pinned. Nor is a delete that
// makes room for one that a cpo needs: see tx.makesRoom.

// blocker returns a record that the first wish of r has to wait for.
func (t *tx) blocker(r *record) (protocol.ObjectID, bool, error) {
	h := r.head()
	if src, ok := h.reads(); ok && src != r.id {
		s, err := t.load(src)
		if err != nil {
			return protocol.ObjectID{}, false, err
		}
		if order, ok := s.firstPending(); ok && order < h.order {
			return src, true, nil
		}
	}
	if t.q.total.copies+t.delta.copies > 0 {
		if id, ok, err := t.lastReader(r.id, h.order); ok || err != nil {
			return id, ok, err
		}
	}
	if h.verb == protocol.Del || t.q.total.deletes+t.delta.deletes == 0 {
		return protocol.ObjectID{}, false, nil
	}
	return t.roomMaker(r.id, h.order)
}

// lastReader returns the destination of the latest pending copy of id with an order below limit, copies of an object
// onto itself left out.
func (t *tx) lastReader(id protocol.ObjectID, limit uint64) (dest protocol.ObjectID, ok bool, err error) {
	prefix := pairPrefix(nil, spaceCopy, id)
	upper := binary.BigEndian.AppendUint64(pairPrefix(nil, spaceCopy, id), limit)
	it, err := t.b.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: upper})
	if err != nil {
		return dest, false, err
	}
	for valid := it.Last(); valid; valid = it.Prev() {
		dest, ok = parseID(it.Key()[len(prefix)+8:])
		if ok && dest != id {
			break
		}
		dest, ok = protocol.ObjectID{}, false
	}
	return dest, ok, it.Close()
}

// pinned reports whether wish w of id must be carried out before a wish of a later order, because a cpo that reads it
// stands between the two.
func (t *tx) pinned(id protocol.ObjectID, w *wish, later uint64) (bool, error) {
	if w.parked() || t.q.total.copies+t.delta.copies == 0 {
		return false, nil
	}
	it, err := t.b.NewIter(&pebble.IterOptions{
		LowerBound: binary.BigEndian.AppendUint64(pairPrefix(nil, spaceCopy, id), w.order+1),
		UpperBound: binary.BigEndian.AppendUint64(pairPrefix(nil, spaceCopy, id), later),
	})
	if err != nil {
		return false, err
	}
	found := false
	for valid := it.First(); valid && !found; valid = it.Next() {
		found = len(it.Value()) == 0 // an upload can do without its origin
	}
	return found, it.Close()
}

// needed reports whether the first wish of r must be carried out although a newer one waits behind it.
func (t *tx) needed(r *record) (bool, error) {
	next := &r.wishes[1]
	if next.copies(r.id) {
		return true, nil
	}
	if keep, err := t.makesRoom(r.id, r.head(), next); keep || err != nil {
		return keep, err
	}
	return t.pinned(r.id, r.head(), next.order)
}

// makesRoom reports whether w, a delete of id, may make room for a wish that comes before next, a write of id: in
// "del x; upl x/f; cpo x/f→b; del x/f; upl x" the copy keeps the second wish alive, so the first must be carried out
// although the last is newer. It asks only whether there is anything beside id, which may be once too often: then a
// delete is carried out that could have been left out.
func (t *tx) makesRoom(id protocol.ObjectID, w, next *wish) (bool, error) {
	if w.verb != protocol.Del || w.parked() || next.verb == protocol.Del || t.q.total.copies+t.delta.copies == 0 {
		return false, nil
	}
	return t.beside(id)
}

// beside reports whether there is a record of a key that cannot stand beside id.
func (t *tx) beside(id protocol.ObjectID) (bool, error) {
	for name := range namesAbove(id.Key) {
		r, err := t.load(protocol.ObjectID{Bucket: id.Bucket, Key: name})
		if err != nil || r != nil {
			return r != nil, err
		}
	}
	if id.Key.IsFolder() {
		return false, nil
	}
	prefix := append(idKey(nil, spaceRecord, id), '/')
	it, err := t.b.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return false, err
	}
	found := it.First()
	return found, it.Close()
}

// merge makes one of the last two wishes of r if both are deletes and nothing needs the two.
func (t *tx) merge(r *record) error {
	n := len(r.wishes)
	if n < 2 || n == 2 && r.state == Leased {
		return nil
	}
	prev, last := &r.wishes[n-2], &r.wishes[n-1]
	if prev.verb != protocol.Del || last.verb != protocol.Del || last.parked() {
		return nil
	}
	if keep, err := t.pinned(r.id, prev, last.order); keep || err != nil {
		return err
	}
	last.inherit(prev)
	last.class, last.seq, last.at = min(last.class, prev.class), prev.seq, prev.at
	last.due = min(last.due, prev.due)
	r.wishes = append(r.wishes[:n-2], *last)
	return nil
}

// reads returns the object that a pending w reads, and whether there is one.
func (w *wish) reads() (protocol.ObjectID, bool) {
	name := ""
	switch {
	case w.parked():
	case w.verb == protocol.Cpo:
		name = w.source
	case w.verb == protocol.Upl:
		name = w.from
	}
	if name == "" {
		return protocol.ObjectID{}, false
	}
	src, err := protocol.ParseObjectID(name)
	return src, err == nil
}

// origin returns the object that w was to be copied from, and whether it names one; w may have been given up.
func (w *wish) origin() (protocol.ObjectID, bool) {
	src, err := protocol.ParseObjectID(w.from)
	return src, err == nil
}

// keepOrigin holds the delete of the object that w, an upload which has been given up, was to be copied from.
func (t *tx) keepOrigin(id protocol.ObjectID, w *wish) error {
	if w.verb != protocol.Upl || w.from == "" {
		return nil
	}
	src, ok := w.origin()
	if !ok || src == id {
		return nil
	}
	_, err := t.change(src, func(t *tx, r *record) (bool, error) {
		last := r.last()
		if last.verb != protocol.Del || !last.hint || last.parked() || r.state == Leased && len(r.wishes) == 1 || r.state == Dead {
			return false, nil
		}
		last.held = true
		if len(r.wishes) > 1 {
			return true, nil
		}
		return true, t.place(r)
	})
	return err
}

// letGo takes back the hinted delete of the object that w was to be copied from, which was put because w's file was taken
// for the one that had its name.
func (t *tx) letGo(id protocol.ObjectID, w *wish, fate protocol.OriginFate) error {
	src, ok := w.origin()
	if !ok || src == id || fate == protocol.OriginRenamed {
		return nil
	}
	if fate == protocol.OriginForeign {
		if err := t.writeRow(src, nil); err != nil {
			return err
		}
	}
	_, err := t.change(src, func(_ *tx, r *record) (bool, error) {
		last := r.last()
		if last.verb != protocol.Del || !last.hint || last.failed || r.state == Dead || r.state == Leased && len(r.wishes) == 1 ||
			last.held && fate != protocol.OriginForeign {
			return false, nil
		}
		r.wishes = r.wishes[:len(r.wishes)-1]
		return true, nil
	})
	return err
}

// copies reports whether w is a cpo of id.
func (w *wish) copies(id protocol.ObjectID) bool {
	src, ok := w.reads()
	return ok && w.verb == protocol.Cpo && src == id
}

// roomMaker returns the record of a pending delete with an order below limit that makes room for id (rule 3).
func (t *tx) roomMaker(id protocol.ObjectID, limit uint64) (protocol.ObjectID, bool, error) {
	var none protocol.ObjectID
	for name := range namesAbove(id.Key) {
		above := protocol.ObjectID{Bucket: id.Bucket, Key: name}
		t.key = idKey(t.key[:0], spaceDelete, above)
		v, done, err := t.get(t.key)
		if err != nil {
			return none, false, err
		}
		earlier := len(v) == 8 && binary.BigEndian.Uint64(v) < limit
		done()
		if earlier {
			return above, true, nil
		}
	}
	if id.Key.IsFolder() {
		return none, false, nil
	}
	return t.deleteBelow(id, limit)
}

// namesAbove yields the plain names that cannot stand beside k: those of the folders above it, and for a folder object
// its own name without the slash.
func namesAbove(k protocol.Key) func(yield func(protocol.Key) bool) {
	return func(yield func(protocol.Key) bool) {
		if k.IsFolder() && len(k) > 1 && !yield(k[:len(k)-1]) {
			return
		}
		k.Parents(yield)
	}
}

// roomSample bounds how many deletes below a key are looked at from either end to find the latest one; a guess. With
// deletes in no order a waiter of n of them is woken about log n / log 64 times.
const roomSample = 64

// deleteBelow returns the latest of some pending deletes below id with an order below limit, if there is any.
func (t *tx) deleteBelow(id protocol.ObjectID, limit uint64) (best protocol.ObjectID, ok bool, err error) {
	prefix := append(idKey(nil, spaceDelete, id), '/')
	it, err := t.b.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return best, false, err
	}
	var top uint64
	look := func() {
		if v := it.Value(); len(v) == 8 {
			if order := binary.BigEndian.Uint64(v); order < limit && order >= top {
				if got, fine := parseID(it.Key()[1:]); fine {
					best, top, ok = got, order, true
				}
			}
		}
	}
	seen := 0
	valid := it.First()
	for ; valid && (seen < roomSample || !ok); valid = it.Next() {
		look()
		seen++
	}
	if valid {
		for valid, seen = it.Last(), 0; valid && seen < roomSample; valid = it.Prev() {
			look()
			seen++
		}
	}
	return best, ok, it.Close()
}

// wakeup is a blocker that left, and how far its waiters have been looked at.
type wakeup struct {
	blocker protocol.ObjectID
	after   []byte // key of the first blocked row not looked at yet, or nil for a blocker that just left
}

// wakeBatch bounds the waiters that one change looks at. What remains is written down and taken up by the next calls of
// Lease, so that no change grows with the number of waiters. A guess: some milliseconds.
const wakeBatch = 1000

// wake looks at the waiters of the records that wishes left, and of those left over by earlier changes.
func (t *tx) wake() error {
	if len(t.woken) == 0 && len(t.later) == 0 {
		return nil
	}
	list := append([]wakeup(nil), t.later...)
	if t.q.total.blocked()+t.delta.blocked() > 0 {
		for _, id := range t.woken {
			list = append(list, wakeup{blocker: id})
		}
	}
	room := wakeBatch
	t.later, t.woken = nil, nil
	for _, w := range list {
		rest, err := t.wakeOne(w, &room)
		if err != nil {
			return err
		}
		t.key = idKey(t.key[:0], spaceWake, w.blocker)
		if rest.after != nil {
			t.later = append(t.later, rest)
			t.set(t.key, nil)
		} else if w.after != nil {
			t.del(t.key)
		}
	}
	return nil
}

// wakeOne looks at up to room waiters of one blocker. What it returns has after set if there may be more.
func (t *tx) wakeOne(w wakeup, room *int) (rest wakeup, err error) {
	prefix := pairPrefix(nil, spaceBlocked, w.blocker)
	lower := prefix
	if w.after != nil {
		lower = w.after
	}
	if *room <= 0 {
		return wakeup{w.blocker, lower}, nil
	}
	it, err := t.b.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return rest, err
	}
	for valid := it.First(); valid; valid = it.Next() {
		if *room <= 0 {
			rest = wakeup{w.blocker, append([]byte(nil), it.Key()...)}
			break
		}
		*room--
		id, ok := parseID(it.Key()[len(prefix):])
		if !ok {
			continue
		}
		if err = t.wakeWaiter(id, w.blocker, it.Key()); err != nil {
			break
		}
	}
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	return rest, err
}

// wakeWaiter looks at one waiter again.
func (t *tx) wakeWaiter(id, blocker protocol.ObjectID, row []byte) error {
	r, err := t.load(id)
	if err != nil {
		return err
	}
	if r == nil || r.state != Blocked || r.blocker != blocker {
		t.del(row)
		return nil
	}
	old := r.clone()
	if err := t.place(r); err != nil {
		return err
	}
	t.save(id, old, r)
	return nil
}
