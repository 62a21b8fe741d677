package worker

import (
	"math/rand/v2"
	"sync"
	"time"

	"s3apu/protocol"
)

const (
	tallySize = 10_000    // instructions in trouble that are counted exactly; a guess: at most a few MB
	tallyKeep = time.Hour // how long an unused count is kept when room is needed; a guess, twelve times the longest back-off

	firstBackoff = 3 * time.Second // between attempts, as in S3 APU
	lastBackoff  = 5 * time.Minute // a guess: so long at most does a key wait after a long outage
)

// trouble counts what an instruction met in a row, by what it was: the attempts of the queue do not tell a bad key
// from a bad day. It is memory only; after a restart the counting begins anew.
type trouble struct {
	item   int       // it cannot succeed as it is
	gone   int       // looks for a source that was not there
	target int       // refused as if the whole target were wrong
	soon   int       // busy, changed, no room in the lane: asked again soon
	denied time.Time // of the last refusal
	seen   time.Time
}

// tally keeps the troubles of a bounded number of instructions. Its methods may be called at the same time.
type tally struct {
	mu    sync.Mutex
	rows  map[protocol.ObjectID]trouble
	swept time.Time // when room was last made
}

// note changes the counts of id by f and returns them. When there is no room, exact is false and the counts are those
// of one trouble.
func (t *tally) note(id protocol.ObjectID, now time.Time, f func(*trouble)) (tr trouble, exact bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tr, exact = t.rows[id]
	if !exact && len(t.rows) >= tallySize && now.Sub(t.swept).Abs() > tallyKeep/60 {
		t.swept = now
		for old, r := range t.rows {
			if now.Sub(r.seen) > tallyKeep {
				delete(t.rows, old)
			}
		}
	}
	f(&tr)
	tr.seen = now
	if exact = exact || len(t.rows) < tallySize; exact {
		if t.rows == nil {
			t.rows = make(map[protocol.ObjectID]trouble)
		}
		t.rows[id] = tr
	}
	return tr, exact
}

func (t *tally) look(id protocol.ObjectID) (tr trouble, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tr, ok = t.rows[id]
	return tr, ok
}

func (t *tally) clear(id protocol.ObjectID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.rows, id)
}

// doubled returns first, doubled n-1 times, at most last, with jitter.
func doubled(first, last time.Duration, n int) time.Duration {
	d := first
	for i := 1; i < n && d < last; i++ {
		d *= 2
	}
	return jitter(min(d, last))
}

// jitter returns three quarters of d to d, so that what failed together does not come back together.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/4+1)) //nolint:gosec // it spreads load and guards nothing
}
