package queuetest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"s3apu/protocol"
	"s3apu/queue"
)

// Dice is where a history takes its random choices from, and what it reports to. A test makes one from a tool that can
// shrink a failing history to a short one.
type Dice interface {
	Context() context.Context
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	// Int draws a number from lo to hi, both included. The smaller, the simpler.
	Int(label string, lo, hi int) int
}

// Play plays one random history against a queue and checks what must hold in all of them.
//
// The judge is a bucket that is a plain map. Every wish is carried out twice: once on a reference bucket, at the moment
// and in the order in which it is put, and once on the real one, when a hand has it. If each hand does what it was given
// (sometimes at once, sometimes when it settles, sometimes both and sometimes in vain), then after everything is drained
// the two must be equal: the newest wish won, copies read what their source was when they were asked for, nothing was
// lost. The real bucket refuses x beside x/…, as stores do that keep objects as files, and copies of what is not there:
// neither may ever happen.
//
// On the way: no key is in two hands, no token comes twice, nothing is handed out before its time, lists and counts
// agree, and opening again (after a close or a loss of power) changes none of it.
//
// A loose play has deaths, held deletes and changes by hand as well, which the judge does not follow: then it is only
// checked that no key is in two hands, that lists and counts agree and that nothing is stuck.
func Play(d Dice, s Store, loose bool) {
	m := &model{
		Dice: d, store: s, loose: loose, clk: &fakeClock{t: time.Unix(1_800_000_000, 0)},
		want: map[protocol.Key]string{}, have: map[protocol.Key]string{}, hands: map[protocol.Key]*hand{},
		floor: map[protocol.Key]int64{}, tokens: map[uint64]bool{},
	}
	m.wall = m.clk.now()
	m.open()
	defer func() { m.ok(m.q.Close()) }()
	actions := []func(){m.put, m.put, m.lease, m.lease, m.settle, m.pass, m.reopen}
	if loose {
		actions = append(actions, m.fail, m.pop, m.byHand(Queue.Retry), m.byHand(Queue.Release), m.byHand(Queue.Drop))
	}
	for range m.Int("steps", 1, maxSteps) {
		actions[m.Int("action", 0, len(actions)-1)]()
		m.agree()
	}
	m.drain()
}

// maxSteps is long enough for chains of wishes and short enough for hundreds of histories in a few seconds; a guess.
const maxSteps = 60

// modelKeys are few, so that they meet; some cannot stand side by side.
var modelKeys = []protocol.Key{"a", "a/", "a/b", "a/b/c", "b", "c", "d/e"}

// hand is a delivery that the model has taken.
type hand struct {
	protocol.Delivery
	ends    int64 // the model's time, 0: with the queue
	carried bool  // done on the real bucket
}

type model struct {
	Dice
	store Store
	q     Queue
	clk   *fakeClock
	wall  time.Time // at the last look
	time  int64     // never behind the queue's own
	loose bool      // with deaths, holds and hand-made changes, that the judge does not follow

	version int
	want    map[protocol.Key]string // the reference bucket
	have    map[protocol.Key]string // the real one
	hands   map[protocol.Key]*hand
	floor   map[protocol.Key]int64 // not before, by the model's time
	tokens  map[uint64]bool
	lazy    bool // something was put that a loss of power may take
}

func (m *model) ok(err error) {
	if err != nil {
		m.Fatalf("unexpected error: %v", err)
	}
}

func (m *model) open() {
	q, err := m.store.Open(queue.Options{Now: m.clk.now, MaxRetries: 3})
	m.ok(err)
	m.q = q
}

// now follows the queue's time from above.
func (m *model) now() int64 {
	w := m.clk.now()
	m.time += max(int64(w.Sub(m.wall)), 0)
	m.wall = w
	return m.time
}

// bool draws a choice.
func (m *model) bool(label string) bool { return m.Int(label, 0, 1) == 1 }

// seconds draws a time.
func (m *model) seconds(label string, lo, hi int) time.Duration {
	return time.Duration(m.Int(label, lo, hi)) * time.Second
}

// key draws one of the keys.
func (m *model) key() protocol.Key { return modelKeys[m.Int("key", 0, len(modelKeys)-1)] }

func (m *model) pass() { m.step(m.seconds("time", -20, 40)) }

func (m *model) step(d time.Duration) {
	m.clk.add(d)
	m.now()
}

// clash reports whether a bucket holds what cannot stand beside k.
func clash(b map[protocol.Key]string, k protocol.Key) (protocol.Key, bool) {
	for o := range b {
		if o != k && (strings.HasPrefix(string(o), strings.TrimSuffix(string(k), "/")+"/") && !k.IsFolder() ||
			strings.HasPrefix(string(k), string(o)+"/")) {
			return o, true
		}
	}
	return "", false
}

// carry does an instruction on a bucket.
func carry(b map[protocol.Key]string, in protocol.Instruction) error {
	content := in.Source
	switch in.Verb {
	case protocol.Del:
		delete(b, in.Key)
		return nil
	case protocol.Mkd:
		content = "folder"
	case protocol.Cpo:
		src, err := protocol.ParseObjectID(in.Source)
		if err != nil {
			return err
		}
		var ok bool
		if content, ok = b[src.Key]; !ok {
			return fmt.Errorf("%s copies what is not there: %s", in.Key, src)
		}
	}
	if o, bad := clash(b, in.Key); bad {
		return fmt.Errorf("%s %s beside %s", in.Verb, in.Key, o)
	}
	b[in.Key] = content
	return nil
}
