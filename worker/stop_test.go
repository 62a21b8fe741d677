package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"s3apu/protocol"
)

func TestStopLosesNothing(t *testing.T) {
	for _, latency := range []time.Duration{0, 50 * time.Millisecond, 3 * time.Second, time.Hour} {
		t.Run(latency.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.store.latency = latency
				r.src.settleGap = 20 * time.Millisecond
				r.many("k", 300)
				r.src.put(upl("big", r.file("big", 20<<20, 1)))
				r.run(Config{MaxWorkers: 4, PartSize: 5 << 20})
				<-time.After(120 * time.Millisecond)
				began := time.Now()
				r.stop()
				if took := time.Since(began); took > defaultGrace+time.Second {
					t.Errorf("the stop took %v", took)
				}
				pending, leased := r.src.left()
				if leased != 0 {
					t.Errorf("%d deliveries are still in nobody's hand", leased)
				}
				if done := r.src.done(); done+pending != 301 {
					t.Errorf("%d done and %d pending, of 301", done, pending)
				}
				if latency == 3*time.Second && r.store.count("put") > r.src.done() {
					t.Errorf("%d of %d requests that could end were not awaited", r.store.count("put")-r.src.done(), r.store.count("put"))
				}
				r.src.each(func(id protocol.ObjectID, x protocol.Result) {
					if x.Err != nil && (!x.Uncounted || x.Delay != 0) {
						t.Fatalf("%s was given back with %v, delay %v", id, x.Err, x.Delay)
					}
				})
				r.store.latency = 0
				r.run(Config{MaxWorkers: 4, PartSize: 5 << 20})
				r.src.drain(t, time.Minute)
				if r.src.done() != 301 || r.store.open() != 0 {
					t.Errorf("%d rows, %d open uploads", r.src.done(), r.store.open())
				}
			})
		})
	}
}

func TestStopWhileParked(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.store.before = func(context.Context, string, protocol.Key) error { return s3Error(protocol.KindUnreachable, 0) }
		r.store.probe = func() error { return s3Error(protocol.KindUnreachable, 0) }
		r.many("k", 50)
		r.run(Config{MaxWorkers: 4})
		<-time.After(time.Minute)
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("the stop took %v", took)
		}
		if pending, leased := r.src.left(); pending != 50 || leased != 0 {
			t.Errorf("%d pending, %d leased", pending, leased)
		}
	})
}

// A queue that takes nothing any more must not keep the process.
func TestStopWhileTheQueueFails(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.src.settleErr = func() error { return errors.New("read-only") }
		r.many("k", 2000)
		r.run(Config{MaxWorkers: 4})
		<-time.After(time.Minute)
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > 2*defaultGrace+time.Second {
			t.Errorf("the stop took %v", took)
		}
		r.src.settleErr = nil
		r.src.crash()
		r.run(Config{MaxWorkers: 4})
		puts := r.store.count("put")
		r.src.drain(t, time.Minute)
		if n := r.store.count("put") - puts; r.src.done() != 2000 || n > 2000-puts {
			t.Errorf("%d rows, %d uploads before and %d after", r.src.done(), puts, n)
		}
	})
}

func TestRunTwice(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.run(Config{})
		synctest.Wait()
		if err := r.pool.Run(t.Context()); protocol.KindOf(err) != protocol.KindUsage {
			t.Errorf("a second Run returned %v", err)
		}
	})
}

func TestIdlePoolAsksNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.run(Config{MaxWorkers: 4})
		<-time.After(24 * time.Hour)
		if n := r.store.requests() + r.store.count("probe"); n != 0 {
			t.Errorf("%d requests in an idle day", n)
		}
	})
}
