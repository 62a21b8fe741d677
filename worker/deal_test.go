package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"s3apu/protocol"
)

// TestVoidLeasesAreNotBegun has a queue open its store again while leases are ahead: of them, only what is on the wire goes on.
func TestVoidLeasesAreNotBegun(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		first := make(map[protocol.Key]bool) // keys that a request was made for before the store was opened again
		hold, slow, healed := make(chan struct{}), make(chan struct{}), false
		r.store.before = func(_ context.Context, _ string, key protocol.Key) error {
			mu.Lock()
			wait := hold
			switch {
			case healed:
				wait = nil
			case key == "a":
				wait = slow
			}
			first[key] = first[key] || !healed
			mu.Unlock()
			if wait != nil {
				<-wait
			}
			return nil
		}
		big := r.file("big", 20<<20, 1)
		r.src.put(upl("big1", big))
		r.run(Config{MaxWorkers: 2, BigFiles: 1, PartSize: 5 << 20})
		waitFor(t, time.Minute, func() bool { return r.store.count("start") == 1 })
		r.src.put(upl("a", r.file("f", 10, 1)), order(protocol.Del, "ab", ""), upl("ac", big))
		r.many("b", 200)
		<-time.After(time.Second)
		synctest.Wait()
		if _, leased := r.src.left(); leased < 6 || first["ab"] {
			t.Fatalf("%d are leased, and the delete was sent: %v", leased, first["ab"])
		}

		mu.Lock()
		healed = true
		mu.Unlock()
		r.src.crash()
		r.src.put(upl("ab", r.file("newer", 20, 2)))
		close(hold)
		waitFor(t, time.Minute, func() bool { return r.src.row("ab") != nil })
		close(slow)
		r.src.drain(t, time.Minute)
		<-time.After(time.Minute)
		r.stop()
		if r.store.object("ab") == nil {
			t.Error("a delete under a void lease took away what was uploaded since")
		}
		lost := 0
		for _, e := range r.events {
			if e.Outcome != protocol.LeaseLost {
				continue
			}
			lost++
			if e.Requests > 0 && !first[e.Delivery.Key] {
				t.Errorf("%s %s was sent under a void lease", e.Delivery.Verb, e.Delivery.Key)
			}
			if e.Err != nil && e.Requests == 0 && !e.Uncounted {
				t.Errorf("%s was counted", e.Delivery.Key)
			}
		}
		if lost < 6 {
			t.Errorf("only %d leases were void", lost)
		}
	})
}

// TestIdleIsNotSlow has bursts of work come seconds apart: that the next one is waited for does not ask for larger leases.
func TestIdleIsNotSlow(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.run(Config{MaxWorkers: 4, MaxFiles: 100})
		for i := range 10 {
			<-time.After(5 * time.Second)
			r.many(string(rune('a'+i)), 201)
			r.src.drain(t, time.Minute)
		}
		r.src.mu.Lock()
		defer r.src.mu.Unlock()
		if most := slices.Max(r.src.asked); most != 4*leastLease {
			t.Errorf("up to %d were asked for", most)
		}
	})
}

// TestLeasedFollowsTheLimit has 64 workers meet a server that answers 503 to everything: as it asks for fewer, fewer are kept ahead,
// so that a change just seen is not behind hundreds of others.
func TestLeasedFollowsTheLimit(t *testing.T) {
	for _, idle := range []bool{true, false} {
		t.Run(fmt.Sprintf("idle %v", idle), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) { leasedFollows(t, r, idle) })
		})
	}
}

func leasedFollows(t *testing.T, r *rig, idle bool) {
	const files, n = 20, 2500
	var slow atomic.Bool
	slow.Store(idle)
	r.store.latency = 20 * time.Millisecond
	r.store.before = func(context.Context, string, protocol.Key) error {
		if slow.Load() {
			return s3Error(protocol.KindSlow, 503)
		}
		return nil
	}
	r.src.settleGap = 5 * time.Millisecond
	r.run(Config{MaxWorkers: 64, MaxFiles: files})
	g := r.pool.gate
	g.mu.Lock()
	g.climb.limit = 64
	g.follow()
	g.mu.Unlock()
	synctest.Wait() // all wait for something to do
	ds := make([]protocol.Delivery, n)
	path := r.file("f", 10, 1)
	for i := range ds {
		ds[i] = upl(fmt.Sprintf("k%05d", i), path)
		ds[i].Class = protocol.Backfill
	}
	r.src.put(ds...)
	if !idle {
		waitFor(t, time.Minute, func() bool { return r.src.done() >= 500 })
		slow.Store(true)
	}
	waitFor(t, time.Minute, func() bool { return r.pool.Stats().Gap == maxGap })
	<-time.After(10 * time.Second)
	if _, leased := r.src.left(); leased > 3*files {
		t.Errorf("%d are leased at one request in %v", leased, maxGap)
	}
	calls := func() int {
		r.src.mu.Lock()
		defer r.src.mu.Unlock()
		return len(r.src.asked)
	}
	before := calls()
	<-time.After(2 * time.Minute)
	if n := calls() - before; n > 24+10 { // a request in 5 s
		t.Errorf("%d leases in two minutes", n)
	}

	before = r.store.requests()
	r.src.put(upl("a", path))
	waitFor(t, time.Hour, func() bool { return r.store.count("put a") > 0 })
	if n := r.store.requests() - before; n > 3*files {
		t.Errorf("a change was the %dth to be sent", n)
	}
	slow.Store(false)
	r.src.drain(t, 10*time.Minute)
	if done := r.src.done(); done != n+1 {
		t.Errorf("%d of %d done", done, n+1)
	}
	r.src.each(func(id protocol.ObjectID, x protocol.Result) {
		if x.Err != nil && !x.Uncounted {
			t.Fatalf("%s was counted: %v", id, x.Err)
		}
	})
}

// TestLeaseSize bounds how many are leased.
func TestLeaseSize(t *testing.T) {
	var s leaseSize
	next := func(took, waited time.Duration) {
		s.learn(s.n, took, waited)
		s.of(16, 20)
	}
	if n := s.of(16, 20); n != leastLease*16 {
		t.Errorf("it begins with %d", n)
	}
	for range 10 {
		next(10*time.Millisecond, 0)
	}
	if n := s.of(16, 20); n != 320 {
		t.Errorf("%d where all wait", n)
	}
	for range 100 {
		next(10*time.Millisecond, time.Second)
	}
	if n := s.of(16, 20); n != leastLease*16 {
		t.Errorf("%d where leases wait", n)
	}
	s.learn(s.n-1, time.Second, 0)
	next(time.Second, 0)
	if n := s.of(16, 20); n != leastLease*16 {
		t.Errorf("%d behind a lease that was not full", n)
	}
	for range 20 {
		s.learn(s.n, time.Second, 0)
		s.of(256, 1000)
	}
	if n := s.of(256, 1000); n != mostLease {
		t.Errorf("%d at most", n)
	}
	if n := s.of(1, 1); n != 1 {
		t.Errorf("%d for one that takes one at a time", n)
	}
}
