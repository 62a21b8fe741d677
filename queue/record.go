package queue

import (
	"slices"
	"strings"

	"s3apu/protocol"
)

// State says where a record stands.
type State uint8

// The states of a record.
const (
	Ready   State  = iota // in line, perhaps not due yet
	Blocked               // waits for an earlier wish for another key
	Leased                // in somebody's hand
	Held                  // stopped by a guard, waits for a person
	Dead                  // given up, listed, waits for a person or a newer wish
	states  = iota        // how many there are
)

// String returns the state as a word.
func (s State) String() string {
	return [...]string{"ready", "blocked", "leased", "held", "dead", "unknown state"}[min(int(s), states)]
}

// maxFurther bounds the wishes that wait behind the first one of a record. There is more than one only where copies
// stand between the wishes, so that each must be carried out. The bound keeps a record small; it is a guess. A Put that
// would exceed it is refused as a whole with KindTransient: overwriting a wish that a copy still needs could lose the
// only copy of its bytes (upl a; cpo a→b; del a).
const maxFurther = 64

// maxReason bounds the text of an error that is kept; a guess, some lines of a terminal.
const maxReason = 1000

// wish is one thing to be done with a key.
type wish struct {
	verb   protocol.Verb
	class  protocol.Class
	hint   bool
	held   bool
	failed bool   // given up before it was ever in a hand; kind and reason say why
	gen    uint64 // tells a newer wish from an older one
	order  uint64 // its place among the wishes for all keys, for the rules of order.go
	seq    uint64 // its place in line
	at     int64  // when it, or the first wish that it replaced, came
	due    int64  // not to be handed out before
	source string
	from   string // upl: an object that may hold the same bytes; see wish.reads
	guest  protocol.Guest
	kind   protocol.Kind
	reason string
}

// parked wishes wait for a person: they block nobody, and a newer wish always replaces them.
func (w *wish) parked() bool { return w.held || w.failed }

// record is all that the queue knows of one key. wishes[0] is the one that is in line or in a hand; the ones behind it
// came while it could not be replaced. Only the last can be parked.
type record struct {
	id       protocol.ObjectID
	state    State
	again    bool // an earlier hand may have carried something out without our learning of it
	wishes   []wish
	attempts int
	due      int64 // of wishes[0], the waiting time of a failure included

	token    uint64 // Leased
	deadline int64  // Leased: 0 lives as long as the store is open
	first    uint64 // token of the first hand since the last one that ended well; 0: there was none

	blocker protocol.ObjectID // Blocked: the record it is entered under

	err    bool // the last attempt failed: kind, reason, when
	kind   protocol.Kind
	reason string
	errAt  int64
}

func (r *record) head() *wish { return &r.wishes[0] }
func (r *record) last() *wish { return &r.wishes[len(r.wishes)-1] }

// clone copies what a change may touch.
func (r *record) clone() *record {
	c := *r
	c.wishes = slices.Clone(r.wishes)
	return &c
}

// fail notes a failure.
func (r *record) fail(kind protocol.Kind, reason string, now int64) {
	r.err, r.kind, r.reason, r.errAt = true, kind, clip(reason), now
}

// clean forgets failures.
func (r *record) clean() {
	r.err, r.kind, r.reason, r.errAt, r.attempts = false, 0, "", 0, 0
}

// firstPending returns the smallest order among the wishes that others may have to wait for, and whether there is one.
func (r *record) firstPending() (uint64, bool) {
	if r == nil || r.state == Dead || r.head().parked() {
		return 0, false
	}
	return r.head().order, true
}

// firstDelete does the same among the deletes.
func (r *record) firstDelete() (uint64, bool) {
	if r.state == Dead {
		return 0, false
	}
	for i := range r.wishes {
		if w := &r.wishes[i]; w.verb == protocol.Del && !w.parked() {
			return w.order, true
		}
	}
	return 0, false
}

// lost reports whether a wish that others may wait for is in old and no longer in r. Either may be nil.
func (r *record) lost(old *record) bool {
	if old == nil || old.state == Dead {
		return false
	}
	for i := range old.wishes {
		w := &old.wishes[i]
		if w.parked() {
			continue
		}
		if r == nil || r.state == Dead ||
			!slices.ContainsFunc(r.wishes, func(v wish) bool { return v.order == w.order && !v.parked() }) {
			return true
		}
	}
	return false
}

// clip bounds a text for people and makes it valid UTF-8.
func clip(s string) string {
	if len(s) > maxReason { // a long path stands at the front, what is wrong with it at the end
		const dots, head = "…", maxReason / 3
		s = strings.ToValidUTF8(s[:head], "") + dots + strings.ToValidUTF8(s[len(s)-(maxReason-head-len(dots)):], "")
	}
	return strings.ToValidUTF8(s, "�")
}

const recordVersion = 1

// The bits of a record's and of a wish's first bytes.
const (
	recAgain = 1 << iota
	recErr
	recGuests // each wish says whose rights bound it
	recFirst
	recBits = recAgain | recErr | recGuests | recFirst
)

const (
	wishVerb  = 0b111
	wishClass = 1 << (iota + 2)
	wishHint
	wishHeld
	wishFailed
	wishFrom
	wishBits = wishVerb | wishClass | wishHint | wishHeld | wishFailed | wishFrom
)

func bit(set bool, b byte) byte {
	if set {
		return b
	}
	return 0
}

// appendRecord appends the encoding of r, all but its id, which is the key of its row.
func appendRecord(b []byte, r *record) []byte {
	b = append(b, recordVersion, byte(r.state),
		bit(r.again, recAgain)|bit(r.err, recErr)|bit(r.guests(), recGuests)|bit(r.first != 0, recFirst))
	if r.first != 0 {
		b = appendUint(b, r.first)
	}
	b = appendUint(b, uint64(r.attempts))
	b = appendUint(b, uint64(r.due))
	switch r.state {
	case Leased:
		b = appendUint(b, r.token)
		b = appendUint(b, uint64(r.deadline))
	case Blocked:
		b = appendString(b, r.blocker.Bucket)
		b = appendString(b, string(r.blocker.Key))
	}
	if r.err {
		b = append(b, byte(r.kind))
		b = appendUint(b, uint64(r.errAt))
		b = appendString(b, r.reason)
	}
	b = appendUint(b, uint64(len(r.wishes)))
	for i := range r.wishes {
		b = appendWish(b, &r.wishes[i])
		if r.guests() {
			b = appendString(b, string(r.wishes[i].guest))
		}
	}
	return b
}

// guests reports whether the rights of a guest bound one of the wishes.
func (r *record) guests() bool {
	return slices.ContainsFunc(r.wishes, func(w wish) bool { return w.guest != "" })
}

func appendWish(b []byte, w *wish) []byte {
	b = append(b, byte(w.verb)|bit(w.class == protocol.Backfill, wishClass)|bit(w.hint, wishHint)|
		bit(w.held, wishHeld)|bit(w.failed, wishFailed)|bit(w.from != "", wishFrom))
	b = appendUint(b, w.gen)
	b = appendUint(b, w.gen-w.order)
	b = appendUint(b, w.gen-w.seq)
	b = appendUint(b, uint64(w.at))
	b = appendUint(b, uint64(w.due))
	b = appendString(b, w.source)
	if w.from != "" {
		b = appendString(b, w.from)
	}
	if w.failed {
		b = append(b, byte(w.kind))
		b = appendString(b, w.reason)
	}
	return b
}

// decodeRecord is the inverse of [appendRecord]. It takes exactly what that writes and nothing else.
func decodeRecord(id protocol.ObjectID, b []byte) (*record, error) {
	d := decoder{b: b}
	d.version(recordVersion)
	r := &record{id: id, state: State(d.byte())}
	d.check(r.state < states, "state")
	bits := d.byte()
	d.check(bits&^recBits == 0, "record bits")
	r.again, r.err = bits&recAgain != 0, bits&recErr != 0
	if bits&recFirst != 0 {
		r.first = d.uint()
		d.check(r.first != 0, "first token")
	}
	r.attempts = int(d.uintUpTo(1 << 30))
	r.due = d.time()
	switch r.state {
	case Leased:
		r.token, r.deadline = d.uint(), d.time()
		d.check(r.token != 0, "token")
	case Blocked:
		r.blocker.Bucket, r.blocker.Key = d.string(), protocol.Key(d.string())
	}
	if r.err {
		r.kind, r.errAt, r.reason = protocol.Kind(d.byte()), d.time(), d.string()
	}
	n := int(d.uintUpTo(1 + maxFurther))
	d.check(n > 0, "number of wishes")
	if d.err == nil {
		r.wishes = make([]wish, n)
	}
	for i := range r.wishes {
		r.wishes[i] = d.wish()
		if bits&recGuests != 0 {
			r.wishes[i].guest = protocol.Guest(d.string())
		}
		if i > 0 {
			v, w := &r.wishes[i-1], &r.wishes[i]
			d.check(v.gen < w.gen && v.order < w.order && !v.parked(), "order of the wishes")
		}
	}
	d.end()
	if d.err == nil {
		d.check(r.consistent(), "state and wishes")
		d.check(r.guests() == (bits&recGuests != 0), "guests")
	}
	if d.err != nil {
		return nil, d.err
	}
	return r, nil
}

// consistent reports whether state and wishes agree.
func (r *record) consistent() bool {
	switch h := r.head(); r.state {
	case Held:
		return h.held && !h.failed
	case Dead:
		return r.err && len(r.wishes) == 1
	default:
		return !h.parked()
	}
}

func (d *decoder) wish() wish {
	bits := d.byte()
	d.check(bits&^wishBits == 0, "wish bits")
	w := wish{
		verb: protocol.Verb(bits & wishVerb),
		hint: bits&wishHint != 0, held: bits&wishHeld != 0, failed: bits&wishFailed != 0,
	}
	d.check(w.verb >= protocol.Mkd && w.verb <= protocol.Del, "verb")
	if bits&wishClass != 0 {
		w.class = protocol.Backfill
	}
	w.gen = d.uint()
	w.order = w.gen - d.uintUpTo(w.gen)
	w.seq = w.gen - d.uintUpTo(w.gen)
	w.at, w.due = d.time(), d.time()
	w.source = d.string()
	if bits&wishFrom != 0 {
		w.from = d.string()
		d.check(w.from != "", "origin")
	}
	if w.failed {
		w.kind, w.reason = protocol.Kind(d.byte()), d.string()
	}
	return w
}
