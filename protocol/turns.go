package protocol

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// turnTime is how long a client's requests may use a processor before the next client's turn. A guess: a hundredth of
	// what a person notices, and a thousand requests.
	turnTime = time.Millisecond

	// stuckAfter is when a turn is taken to be stuck, in a disk that does not answer, and another begins beside it. A
	// guess.
	stuckAfter = 100 * time.Millisecond

	// junkRate is how many bytes a second of what can never be carried out are read, from all clients together. A guess:
	// more than any mistake makes, and a small part of a processor.
	junkRate = 128 << 20

	// junkLeast is what such a line counts at least, for the work beside its bytes. A guess.
	junkLeast = 512

	// leastPause is the shortest pause that is worth a timer. A guess.
	leastPause = 2 * time.Millisecond
)

// turns lets the clients' requests use half of the processors, one row of requests after the other, so that the agent's
// other work and other programs have the rest whatever clients send. Who comes first is served first. The zero value is
// ready to use; it may be used by many goroutines.
type turns struct {
	mu      sync.Mutex
	started bool
	free    int
	waiting []*turn
	holding []*turn
}

// turn is the right of one session to use a processor. It belongs to the session's goroutine; the fields are the
// turns'.
type turn struct {
	granted chan struct{} // made once, with room for one
	since   time.Time     // when it began; zero: it does not hold
	lost    bool          // it was stuck, and somebody else has it now
}

// enter begins a turn, or goes on with one that is younger than turnTime. begun reports whether this is a new one.
func (ts *turns) enter(t *turn) (begun bool) {
	if !t.since.IsZero() {
		if time.Since(t.since) < turnTime {
			return false
		}
		ts.leave(t)
		runtime.Gosched() // the scheduler alone would let us run for 10 ms
	}
	if t.granted == nil {
		t.granted = make(chan struct{}, 1)
	}
	ts.mu.Lock()
	if !ts.started {
		ts.started, ts.free = true, max(1, runtime.GOMAXPROCS(0)/2)
	}
	if ts.free > 0 {
		ts.free--
		ts.grant(t)
		<-t.granted
		ts.mu.Unlock()
		return true
	}
	ts.waiting = append(ts.waiting, t)
	ts.mu.Unlock()
	late := time.NewTimer(stuckAfter)
	defer late.Stop()
	for {
		select {
		case <-t.granted:
			return true
		case <-late.C:
			ts.rescue()
			late.Reset(stuckAfter)
		}
	}
}

// grant makes t a holder; mu is held.
func (ts *turns) grant(t *turn) {
	t.since, t.lost = time.Now(), false
	ts.holding = append(ts.holding, t)
	t.granted <- struct{}{}
}

// leave ends the turn, if there is one.
func (ts *turns) leave(t *turn) {
	if t.since.IsZero() {
		return
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t.since = time.Time{}
	if t.lost {
		return
	}
	ts.holding = slices.DeleteFunc(ts.holding, func(h *turn) bool { return h == t })
	ts.next()
}

// next hands a turn that became free on; mu is held.
func (ts *turns) next() {
	if len(ts.waiting) == 0 {
		ts.free++
		return
	}
	t := ts.waiting[0]
	ts.waiting = slices.Delete(ts.waiting, 0, 1)
	ts.grant(t)
}

// rescue takes the turns away that are stuck: their holders go on, without counting.
func (ts *turns) rescue() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	var stuck []*turn
	for _, h := range ts.holding {
		if time.Since(h.since) >= stuckAfter {
			stuck = append(stuck, h)
		}
	}
	for _, h := range stuck {
		h.lost = true
		ts.holding = slices.DeleteFunc(ts.holding, func(o *turn) bool { return o == h })
		ts.next()
	}
}

// pacer spreads what is taken from it evenly over time. The zero value has nothing behind it. It may be used by many
// goroutines.
type pacer struct {
	mu   sync.Mutex
	next time.Time // when all that was taken is paid for
}

// take takes n bytes of junk and returns how long the taker has to wait, 0 if that is not worth waiting.
func (p *pacer) take(n int, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(max(n, junkLeast)) * time.Second / junkRate)
	if d := p.next.Sub(now); d >= leastPause {
		return d
	}
	return 0
}
