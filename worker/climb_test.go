package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"s3apu/protocol"
)

// TestClimbFindsTheKnee runs the climb against servers that answer after a time, and so many in a second at most.
func TestClimbFindsTheKnee(t *testing.T) {
	for _, tc := range []struct {
		name        string
		latency     time.Duration
		capacity    float64 // answers in a second
		busy        bool    // there is always more to do
		least, most int     // of the limit, most of the time in the end
	}{
		{"near and endless", 20 * time.Millisecond, 1e9, true, 64, 64},
		{"far and endless", 200 * time.Millisecond, 1e9, true, 64, 64},
		{"our processors are the bound", time.Millisecond, 5000, true, 16, 24},
		{"a knee at 20", 20 * time.Millisecond, 1000, true, 18, 40},
		{"little to do", 20 * time.Millisecond, 1e9, false, 16, 16},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newClimb(64)
			chance := rand.New(rand.NewPCG(1, 2))
			now := time.Unix(1, 0)
			within, n := 0, 0
			for end := now.Add(2 * time.Minute); now.Before(end); {
				rate := min(float64(c.limit)/tc.latency.Seconds(), tc.capacity) * (0.95 + 0.1*chance.Float64())
				now = now.Add(time.Duration(float64(time.Second) / rate))
				if tc.busy {
					c.answered(now, c.limit)
				} else {
					c.answered(now, c.limit/2)
				}
				if c.limit < 1 || c.limit > 64 {
					t.Fatalf("the limit is %d", c.limit)
				}
				if end.Sub(now) < time.Minute {
					if n++; c.limit >= tc.least && c.limit <= tc.most {
						within++
					}
				}
			}
			if float64(within) < 0.9*float64(n) {
				t.Errorf("the limit is %d in the end, and was %d to %d for %d of %d answers", c.limit, tc.least, tc.most, within, n)
			}
		})
	}
}

// TestClimbIsQuick bounds the time until all of a far server is used.
func TestClimbIsQuick(t *testing.T) {
	c := newClimb(64)
	began := time.Unix(1, 0)
	now := began
	for c.limit < 64 && now.Sub(began) < time.Minute {
		now = now.Add(20 * time.Millisecond / time.Duration(c.limit))
		c.answered(now, c.limit)
	}
	if took := now.Sub(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestClimbDoubtsTheFirstRaise has a server, near and slow, that can carry out twice as much from one moment on: whenever that is, it is
// not taken for what a raise has brought.
func TestClimbDoubtsTheFirstRaise(t *testing.T) {
	for at := range 40 {
		c := newClimb(64)
		now := time.Unix(1, 0)
		better := now.Add(time.Duration(at) * climbWindow / 10)
		for end := now.Add(5 * time.Second); now.Before(end); {
			rate := 2000.0
			if now.After(better) {
				rate *= 3
			}
			now = now.Add(time.Duration(float64(time.Second) / rate))
			c.answered(now, c.limit)
		}
		if c.limit > 24 {
			t.Errorf("better after %v: %d requests at once", better.Sub(time.Unix(1, 0)), c.limit)
		}
	}
}

// TestClimbComesDown has chance make a raise look good where our own processors are the bound: it is taken back later.
func TestClimbComesDown(t *testing.T) {
	c := newClimb(64)
	c.limit, c.fine, c.twice = 64, true, true
	chance := rand.New(rand.NewPCG(3, 4))
	now := time.Unix(1, 0)
	high, n := 0, 0
	for end := now.Add(10 * time.Minute); now.Before(end); n++ {
		rate := 5000 * (0.7 + 0.6*chance.Float64())
		now = now.Add(time.Duration(float64(time.Second) / rate))
		c.answered(now, c.limit)
		if c.limit > 32 {
			high++
		}
	}
	if high > n/5 {
		t.Errorf("the limit is %d, and was above 32 for %d of %d answers", c.limit, high, n)
	}
}

// TestLatencyIsHidden carries out small files at a server that needs 20 ms for each: so many at once as bring more, and each of
// them once.
func TestLatencyIsHidden(t *testing.T) {
	for _, most := range []int{4, 64} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				var now, peak atomic.Int64
				r.store.before = func(context.Context, string, protocol.Key) error {
					n := now.Add(1)
					defer now.Add(-1)
					for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
					}
					<-time.After(20 * time.Millisecond) // of the bubble's clock
					return nil
				}
				r.many("k", 5000)
				r.run(Config{MaxWorkers: most, MaxFiles: 20})
				began := time.Now()
				r.src.drain(t, 10*time.Minute)
				took := time.Since(began)
				if n := peak.Load(); n != int64(most) {
					t.Errorf("%d at once, not %d", n, most)
				}
				if n := r.store.count("put"); n != 5000 {
					t.Errorf("%d PUTs", n)
				}
				// Of each file another 10 ms pass before it is sent, because it is younger than the bubble's clock; and the climb takes time.
				if ideal := 5000 * 30 * time.Millisecond / time.Duration(most); took > ideal*5/4+2*time.Second {
					t.Errorf("%d requests; it took %v, and with %d at once all the time %v", r.store.requests(), took, most, ideal)
				}
			})
		})
	}
}
