package agent

import (
	"testing"
	"time"
)

// TestGather: files that come one after another are taken at once, many are taken less often, and when they end that ends.
func TestGather(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		name  string
		files int           // taken at a time
		every time.Duration // between two times
		times int
		waits bool // in the end
	}{
		{"one file a second", 1, time.Second, 10, false},
		{"one behind the other", 1, 3 * time.Millisecond, 1000, false},
		{"a thousand a second", 10, gatherGap, 100, true},
		{"a batch alone", gatherMany, time.Hour, 1, true},
		{"a batch a second", gatherMany - 1, time.Second, 10, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var g gatherer
			var next time.Time
			now := at
			for i := range c.times {
				if i > 0 {
					now = now.Add(c.every)
				}
				if next = g.took(c.files, now); next.After(now.Add(gatherGap)) || next.Before(now) {
					t.Fatalf("at %v the next is at %v", now, next)
				}
			}
			if waits := next.After(now); waits != c.waits {
				t.Errorf("it waits: %v", waits)
			}
			now = now.Add(2 * gatherSpan)
			if next = g.took(1, now); next != now {
				t.Errorf("a file that comes later waits %v", next.Sub(now))
			}
		})
	}
}
