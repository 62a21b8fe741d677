package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"s3apu/protocol"
)

// many puts n uploads of one small file under prefix.
func (r *rig) many(prefix string, n int) {
	path := filepath.Join(r.dir, "f")
	if _, err := os.Stat(path); err != nil { // not written again under a reader's eyes
		r.file("f", 10, 1)
	}
	ds := make([]protocol.Delivery, n)
	for i := range ds {
		ds[i] = upl(fmt.Sprintf("%s%05d", prefix, i), path)
	}
	r.src.put(ds...)
}

func TestUnreachableParksAndHeals(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var down atomic.Bool
		down.Store(true)
		fault := s3Error(protocol.KindUnreachable, 0)
		r.store.before = func(context.Context, string, protocol.Key) error {
			if down.Load() {
				return fault
			}
			return nil
		}
		r.store.probe = func() error { return r.store.before(nil, "", "") }
		r.many("k", 500)
		r.run(Config{MaxWorkers: 8})

		<-time.After(10 * time.Minute)
		synctest.Wait()
		s := r.pool.Stats()
		if !s.Parked || s.Reason == "" || s.Since.IsZero() || !s.NextProbe.After(time.Now()) || s.Performance.Format() == "" || !s.Performance.Backoff {
			t.Errorf("the state is %+v", s)
		}
		if n := r.store.requests(); n > 8 {
			t.Errorf("%d requests were made to a target that is down", n)
		}
		if n := r.store.count("probe"); n < 15 || n > 60 {
			t.Errorf("%d probes in ten minutes", n)
		}
		if _, leased := r.src.left(); leased != 0 {
			t.Errorf("%d deliveries are kept while nothing can be done", leased)
		}
		if r.log.count("level=WARN") != 1 || r.log.count("level=INFO") != 0 {
			t.Errorf("the log is\n%s", r.log.b.String())
		}

		down.Store(false)
		began := time.Now()
		r.src.drain(t, 40*time.Second) // a gap of at most 30 s
		t.Logf("healed and drained after %v, %d probes", time.Since(began), r.store.count("probe"))
		if r.log.count("level=WARN") != 1 || r.log.count("level=INFO") != 1 || r.pool.Stats().Parked {
			t.Errorf("the log is\n%s", r.log.b.String())
		}
		r.src.each(func(k protocol.ObjectID, res protocol.Result) {
			if res.Err != nil && !res.Uncounted {
				t.Fatalf("%s was counted: %v", k, res.Err)
			}
		})
	})
}

func TestShortOutageHealsWithinASecond(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		up := time.Now().Add(300 * time.Millisecond)
		r.store.before = func(context.Context, string, protocol.Key) error {
			if time.Now().Before(up) {
				return s3Error(protocol.KindUnreachable, 0)
			}
			return nil
		}
		r.many("k", 10)
		r.run(Config{MaxWorkers: 2})
		r.src.drain(t, time.Second)
	})
}

func TestTargetFaultParks(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var bad atomic.Bool
		bad.Store(true)
		r.store.before = func(context.Context, string, protocol.Key) error {
			if bad.Load() {
				return s3Error(protocol.KindTarget, 403)
			}
			return nil
		}
		r.store.probe = func() error { return r.store.before(nil, "", "") }
		r.many("k", 200)
		r.run(Config{MaxWorkers: 4})
		<-time.After(time.Hour)
		if n := r.store.requests(); n > 8 {
			t.Errorf("%d requests with credentials that are refused", n)
		}
		if !r.pool.Stats().Parked || r.log.count("level=WARN") != 1 {
			t.Errorf("not parked, or not said once:\n%s", r.log.b.String())
		}
		bad.Store(false)
		r.src.drain(t, time.Minute)
		if r.src.buried() != 0 {
			t.Error("instructions were buried for a fault of the target")
		}
	})
}

// A policy that forbids all writes but lets the probe pass must bury nothing, and must not be hammered.
func TestForbiddenWritesBuryNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var bad atomic.Bool
		bad.Store(true)
		r.store.latency = time.Millisecond
		r.store.before = func(context.Context, string, protocol.Key) error {
			if bad.Load() {
				return s3Error(protocol.KindTarget, 403)
			}
			return nil
		}
		r.many("k", 1200)
		r.run(Config{MaxWorkers: 4})
		<-time.After(time.Hour)
		if r.src.buried() != 0 {
			t.Fatalf("%d instructions were buried", r.src.buried())
		}
		if n := r.store.requests(); n > 3000 {
			t.Errorf("%d requests in an hour", n)
		}
		t.Logf("%d requests and %d probes in an hour", r.store.requests(), r.store.count("probe"))
		if !r.pool.Stats().Parked || r.log.count("level=WARN") != 1 {
			t.Errorf("not parked, or not said once:\n%s", r.log.b.String())
		}
		bad.Store(false)
		r.src.drain(t, 6*time.Minute)
	})
}

func TestForbiddenKeyStopsNobody(t *testing.T) {
	for _, prefix := range []string{"a/", "m/", "z/"} { // first, in the middle and last in the order of keys
		t.Run(prefix, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.store.latency = time.Millisecond
				r.store.before = forPrefix(prefix, "", s3Error(protocol.KindTarget, 403))
				r.many("k/", 400)
				r.many("r/", 400)
				r.many(prefix, 100)
				r.run(Config{MaxWorkers: 4, MaxFiles: 10})
				waitFor(t, time.Minute, func() bool { return r.src.done() == 800 })
				t.Logf("everything else was there after %v", time.Since(r.pool.stats.began))

				// Others succeed now and then, which proves that the refusals are the keys' own.
				for i := 0; r.src.buried() < 100; i++ {
					if i > 600 {
						t.Fatalf("%d of 100 buried", r.src.buried())
					}
					r.many(fmt.Sprintf("later%d/", i), 1)
					<-time.After(3 * time.Second)
				}
				if e := r.src.deadReason(protocol.Key(prefix + "00007")); e.Kind != protocol.KindTarget || e.Status != 403 {
					t.Errorf("the reason is %v", e)
				}
				if r.pool.Stats().Parked {
					t.Error("still parked")
				}
			})
		})
	}
}

func TestCopyFromAForbiddenBucket(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.store.before = func(_ context.Context, op string, _ protocol.Key) error {
			if op == "copy" {
				return s3Error(protocol.KindTarget, 403)
			}
			return nil
		}
		r.src.put(order(protocol.Cpo, "k", "/elsewhere/x"), order(protocol.Cpo, "own", "/b/none"))
		r.run(Config{})
		waitFor(t, time.Hour, func() bool { return r.src.deadReason("k") != nil })
		if r.log.count("level=WARN") != 0 || r.pool.Stats().Parked {
			t.Errorf("another bucket's fault parked ours:\n%s", r.log.b.String())
		}
	})
}

func TestCopyOfNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.src.put(order(protocol.Cpo, "k", "/b/none"))
		r.run(Config{})
		r.src.drain(t, time.Minute)
		if e := r.src.deadReason("k"); e == nil || e.Kind != protocol.KindNotFound || len(r.src.results("k")) != defaultRetries {
			t.Errorf("the end is %v after %d attempts", e, len(r.src.results("k")))
		}
	})
}

func TestTransientIsRetriedForEver(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var bad atomic.Bool
		bad.Store(true)
		r.store.before = func(_ context.Context, _ string, k protocol.Key) error {
			if bad.Load() && k == "k00000" {
				return s3Error(protocol.KindTransient, 500)
			}
			return nil
		}
		r.many("k", 1)
		r.run(Config{})
		for range 100 { // others go on
			r.many("other", 5)
			<-time.After(time.Minute)
		}
		res := r.src.results("k00000")
		if len(res) < 20 || r.src.buried() != 0 {
			t.Fatalf("%d attempts, %d buried", len(res), r.src.buried())
		}
		for i, x := range res {
			want := min(firstBackoff<<min(i, 20), lastBackoff)
			if x.Uncounted || x.Delay > want || x.Delay < want*3/4 {
				t.Fatalf("delay %d is %v, not about %v", i, x.Delay, want)
			}
		}
		bad.Store(false)
		r.src.drain(t, lastBackoff)
	})
}

// A server that answers 500 to everything is not asked by thousands of instructions, each on its own clock.
func TestServerErrorsPark(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.store.latency = time.Millisecond
		bad := r.down(protocol.KindTransient, 500)
		r.store.probe = func() error { return r.store.before(nil, "", "") }
		r.many("k", 1500)
		r.run(Config{MaxWorkers: 8})
		<-time.After(time.Minute)
		if n := r.store.requests(); n > 50 {
			t.Errorf("%d requests in a minute of 500", n)
		}
		bad.Store(false)
		began := time.Now()
		r.src.drain(t, time.Minute)
		t.Logf("drained %v after the end of the outage", time.Since(began))
	})
}

func TestSlowDown(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.store.latency = 20 * time.Millisecond
		slow := r.down(protocol.KindSlow, 503)
		r.many("k", 2000)
		r.run(Config{MaxWorkers: 16, MaxFiles: 30})
		waitFor(t, time.Second, func() bool { return r.pool.Stats().Limit == firstClimb/2 })
		waitFor(t, time.Minute, func() bool { s := r.pool.Stats(); return s.Limit == 1 && s.Gap == maxGap })
		before := r.store.requests()
		<-time.After(time.Minute)
		if n := r.store.requests() - before; n < 10 || n > 20 {
			t.Errorf("%d requests in a minute at the slowest pace", n)
		}
		slow.Store(false)
		waitFor(t, 2*time.Minute, func() bool { s := r.pool.Stats(); return s.Limit >= firstClimb && s.Gap == 0 && !s.Slowed })
		r.src.drain(t, 2*time.Minute)
		if r.src.buried() > 0 || r.pool.Stats().Parked {
			t.Error("a slow target buried or parked something")
		}
		r.src.each(func(id protocol.ObjectID, x protocol.Result) {
			if x.Err != nil && !x.Uncounted {
				t.Fatalf("%s was counted: %v", id, x.Err)
			}
		})
	})
}

func TestQueueFaultsPass(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		healed := time.Now().Add(time.Minute)
		r.src.settleErr = func() error {
			if time.Now().Before(healed) {
				return errors.New("the disk is full")
			}
			return nil
		}
		r.many("k", 1000)
		r.run(Config{MaxWorkers: 4})
		<-time.After(30 * time.Second)
		if n := r.store.count("put"); n > 2*unsettled+4 {
			t.Errorf("%d uploads were made that nobody could record", n)
		}
		r.src.drain(t, 2*time.Minute)
		if n := r.store.count("put"); n != 1000 {
			t.Errorf("%d uploads of 1000 files", n)
		}
		if r.log.count("level=WARN") != 1 || r.log.count("level=INFO") != 1 {
			t.Errorf("the log is\n%s", r.log.b.String())
		}
	})
}

// TestPaceGrowsDuringLongRequests has all that may send be busy for minutes after a 503: the others are let in all the same.
func TestPaceGrowsDuringLongRequests(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var slow atomic.Int64
		slow.Store(1)
		r.store.before = func(ctx context.Context, _ string, _ protocol.Key) error {
			if slow.Add(-1) >= 0 {
				return s3Error(protocol.KindSlow, 503)
			}
			return sleep(ctx, 10*time.Minute)
		}
		r.many("k", 1)
		r.run(Config{MaxWorkers: 4, MaxFiles: 1})
		waitFor(t, time.Minute, func() bool { return r.store.requests() == 1 })
		r.many("m", 20)
		<-time.After(time.Minute)
		r.store.mu.Lock()
		n := r.store.now
		r.store.mu.Unlock()
		if n != 4 {
			t.Errorf("%d of 4 send", n)
		}
	})
}
