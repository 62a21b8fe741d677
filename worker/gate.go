package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"s3apu/protocol"
)

const (
	firstProbe = 500 * time.Millisecond // gap before the second probe of an outage; a guess: a restart takes about so long
	lastProbe  = 30 * time.Second       // the longest gap between probes; a guess: 2,880 requests a day of outage
	lastTrial  = 5 * time.Second        // the same for trials; a guess: the target answers, so more may be asked of it
	trialPhase = 10 * time.Minute       // of a pause, with such gaps; a guess: in it 60,000 instructions are looked at
	leastRun   = 8                      // instructions in a row that fail, without one success, are the target's fault; a guess
	mostRun    = 1024                   // the same where trials have proved that guess wrong; bounds the memory of it
)

// class says of which kind a request is, where a success of one says nothing about another: a policy may allow writes
// and forbid deletes.
type class uint8

const (
	writing  class = iota // objects of our bucket
	deleting              // objects of our bucket
	copying               // from another bucket, whose faults are not those of ours
	reading               // and everything else: no proof of anything
)

// gate lets requests through: as many at once as the target bears, and none while it is down. It learns from every
// answer of the Store. All methods may be called at the same time.
type gate struct {
	log   *slog.Logger
	small slots // of the workers
	parts slots // of multipart uploads

	mu        sync.Mutex
	pace      aimd
	climb     climb         // sets the most of pace
	changed   chan struct{} // closed when the limit changes, and made anew
	maxParts  int
	lastStart time.Time // of a request, for the pause at the slowest pace

	parked    *parked                        // nil: open
	opened    chan struct{}                  // closed while open
	shut      chan struct{}                  // closed while parked
	alarm     chan struct{}                  // holds one token when the keeper has something to do
	suspect   error                          // a fault that may be the target's; the keeper probes
	gap       time.Duration                  // until the next probe; goes back to firstProbe with the first success
	run       map[protocol.ObjectID]struct{} // what failed since the last success, at most runLimit
	runLimit  int                            // so many park the target: leastRun, or more once that proved too few
	leastRun  int
	unproven  bool         // nothing has succeeded since the gate was last opened
	told      time.Time    // when the pauses began of which the log has the beginning and not the end; zero: it has all
	succeeded int64        // requests, ever
	failed    int64        // requests that may have been the target's fault, ever
	proofs    [3]time.Time // per class but reading: when the newest request that succeeded began
}

// parked describes a pause.
type parked struct {
	since  time.Time
	reason error
	run    bool      // because of a run of failures: a good probe is not enough, a trial must succeed
	proven bool      // something has succeeded meanwhile
	next   time.Time // the next probe
}

func newGate(c Config) *gate {
	first := newClimb(c.MaxWorkers)
	g := &gate{
		log:      c.Log,
		climb:    first,
		pace:     newAIMD(first.limit, c.SlowdownTime),
		maxParts: c.Parts,
		opened:   make(chan struct{}),
		shut:     make(chan struct{}),
		changed:  make(chan struct{}),
		alarm:    make(chan struct{}, 1),
		gap:      firstProbe,
		leastRun: max(leastRun, 2*first.limit),
		run:      make(map[protocol.ObjectID]struct{}),
	}
	g.runLimit = g.leastRun
	close(g.opened)
	g.resize()
	return g
}

// shutting returns a channel that is closed while the gate is parked.
func (g *gate) shutting() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// isParked reports whether nothing should be sent now.
func (g *gate) isParked() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.parked != nil
}

// success takes in that the target carried a request out.
func (g *gate) success(c class, began time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c == reading {
		return
	}
	if began.After(g.proofs[c]) {
		g.proofs[c] = began
	}
	if g.parked != nil && began.Before(g.parked.since) {
		return // it began before the trouble did
	}
	if g.pace.served(time.Now(), began) {
		g.resize()
	}
	g.succeeded++
	g.gap, g.suspect, g.unproven = firstProbe, nil, false
	clear(g.run)
	if g.parked != nil {
		g.parked.proven = true
	} else {
		g.sayWell()
	}
}

// failure takes in that a request for id failed with err, and does what follows for the target.
func (g *gate) failure(c class, id protocol.ObjectID, began time.Time, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	switch protocol.KindOf(err) {
	case protocol.KindSlow:
		g.pace.slow(now, began)
		g.resize()
		g.ring()
		return
	case protocol.KindUnreachable:
		g.failed++
		g.park(now, err, false)
		return
	case protocol.KindTarget:
		g.suspect = err
		g.ring()
	case protocol.KindTransient, protocol.KindUnknown:
	default:
		return // it says nothing about the target
	}
	if c == writing || c == deleting {
		g.failed++
		if len(g.run) < g.runLimit { // instructions, not attempts: one that fails for ever is not the target
			g.run[id] = struct{}{}
		}
		if len(g.run) >= g.runLimit {
			g.park(now, err, true)
		}
	}
}

// park needs the lock.
func (g *gate) park(now time.Time, reason error, run bool) {
	if g.parked != nil {
		return
	}
	g.parked = &parked{since: now, reason: reason, run: run, next: now.Add(g.gap)}
	g.opened = make(chan struct{})
	close(g.shut)
	g.ring()
	if !g.unproven {
		g.say()
	}
}

// say logs a pause, once. A pause that follows another without a success in between is the same story, unless a good probe has
// ended that one. It needs the lock.
func (g *gate) say() {
	if g.parked != nil && g.told.IsZero() {
		g.told = g.parked.since
		g.log.Warn("the bucket cannot be worked with; everything is kept and it is tried again until it can", "err", g.parked.reason)
	}
}

// sayWell logs the end of what say has told. It needs the lock.
func (g *gate) sayWell() {
	if !g.told.IsZero() {
		g.log.Info("the bucket can be worked with again", "after", time.Since(g.told).Round(time.Millisecond))
		g.told = time.Time{}
	}
}

func (g *gate) ring() {
	select {
	case g.alarm <- struct{}{}:
	default:
	}
}

// unpark opens the gate.
func (g *gate) unpark() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.parked == nil {
		return
	}
	if g.parked.proven || !g.parked.run { // else there was nothing to try it with, and it may be as it was
		g.sayWell()
	}
	if g.parked.run && g.parked.proven { // it was no fault of the target: believe that later the next time
		g.runLimit = min(2*g.runLimit, mostRun)
	}
	g.parked, g.unproven = nil, !g.parked.proven
	close(g.opened)
	g.shut = make(chan struct{})
}

// probed takes in the answer of a probe that began at began: a good one ends a suspicion, a bad one parks or keeps
// parked. It returns what the keeper does next.
func (g *gate) probed(began time.Time, err error) (next step) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		g.proofs[copying], g.suspect = began, nil
		switch {
		case g.parked == nil:
			return toRest
		case g.parked.run:
			return toTry
		}
		return toOpen
	}
	if g.parked == nil {
		g.park(time.Now(), err, false)
	}
	g.parked.reason = err
	g.say()
	return toWait
}

// tried takes in whether a trial allows the gate to be opened.
func (g *gate) tried(ok bool) (next step) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if ok {
		return toOpen
	}
	g.say()
	g.runLimit = g.leastRun
	return toWait
}

// step is what the keeper does next.
type step uint8

const (
	toRest  step = iota // nothing, until the alarm
	toProbe             // now
	toWait              // for the gap, then probe
	toTry               // carry a few instructions out
	toOpen              // let everybody on
)

// todo tells the keeper what to do after an alarm.
func (g *gate) todo() step {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.parked != nil:
		return toWait
	case g.suspect != nil:
		return toProbe
	}
	return toRest
}

// pauseFor returns how long to wait before the next probe, at most limit, and doubles the gap.
func (g *gate) pauseFor(limit time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := jitter(min(g.gap, limit))
	g.gap = min(2*g.gap, lastProbe)
	if g.parked != nil {
		g.parked.next = time.Now().Add(d)
	}
	return d
}

// trying reports whether the pause needs a trial to end and is young, so that its gaps are shorter.
func (g *gate) trying() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.parked != nil && g.parked.run && time.Since(g.parked.since) < trialPhase
}

// counts returns how many requests have succeeded and how many have failed in a way that may be the target's fault.
func (g *gate) counts() (succeeded, failed int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.succeeded, g.failed
}

// provenSince reports whether the target has carried out a request of the class that began after t.
func (g *gate) provenSince(c class, t time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return c != reading && g.proofs[c].After(t)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
