package worker

import (
	"context"
	"sync"
	"testing"
	"time"

	"s3apu/protocol"
)

// A target that answers 503 because it is away is soon asked by many again: it was not our number that was too large.
func TestAwayWith503(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.store.latency = 20 * time.Millisecond
		away := r.down(protocol.KindSlow, 503)
		r.many("k", 2000)
		r.run(Config{MaxWorkers: 16})
		<-time.After(30 * time.Second)
		away.Store(false)
		began := time.Now()
		r.src.drain(t, 2*time.Minute)
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("2,000 files took %v after the end of the outage", took)
		}
	})
}

// A target that carries out a few requests a second, and answers 503 to all others, is asked for little more than that.
func TestNarrowTarget(t *testing.T) {
	for _, rate := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 3 * time.Second} { // between two that are carried out
		t.Run(rate.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				const during = 3 * time.Minute
				var next time.Time
				var carried, refused int
				var mu sync.Mutex
				r.store.latency = 20 * time.Millisecond
				r.store.before = func(context.Context, string, protocol.Key) error {
					mu.Lock()
					defer mu.Unlock()
					now := time.Now()
					if now.Before(next) {
						refused++
						return s3Error(protocol.KindSlow, 503)
					}
					next = now.Add(rate)
					carried++
					return nil
				}
				r.many("k", int(during/rate)+100)
				r.run(Config{MaxWorkers: 16})
				<-time.After(during)
				mu.Lock()
				defer mu.Unlock()
				t.Logf("%d carried out, %d could have been; %d refused", carried, during/rate, refused)
				if carried < int(during/rate)/2 || refused > 100 { // three returns in vain cost some thirty more
					t.Errorf("%d carried out of %d, %d refused", carried, during/rate, refused)
				}
			})
		})
	}
}
