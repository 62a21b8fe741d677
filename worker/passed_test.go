package worker

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"s3apu/protocol"
)

// TestPassedHints: a hint whose file is being written is over where others wait for that to end. One that has more to it stays in the
// queue, as one does that nobody waits for.
func TestPassedHints(t *testing.T) {
	for _, c := range []struct {
		name    string
		d       func(d *protocol.Delivery)
		watched bool
		passed  bool
	}{
		{"hint", func(d *protocol.Delivery) { d.Hint = true }, true, true},
		{"nobody waits", func(d *protocol.Delivery) { d.Hint = true }, false, false},
		{"named", func(*protocol.Delivery) {}, true, false},
		{"renamed", func(d *protocol.Delivery) { d.Hint, d.From = true, testBucket+"/old" }, true, false},
		{"earlier hand", func(d *protocol.Delivery) { d.Hint, d.Again = true, true }, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				free := time.Now().Add(10 * time.Second)
				path := r.file("f", 10, 1)
				d := upl("k", path)
				c.d(&d)
				r.src.put(d)
				asked := 0
				r.run(Config{MaxWorkers: 1, AtRest: func(syscall.Conn) bool { return time.Now().After(free) }, Passed: func(source string) bool {
					if asked++; source != path {
						t.Errorf("asked for %q", source)
					}
					return c.watched
				}})
				r.src.drain(t, time.Minute)
				res := r.src.results("k")
				puts := r.store.count("put")
				if first := res[0]; c.passed != (first.Err == nil && first.Keep && len(res) == 1 && puts == 0) {
					t.Errorf("%d results, the first %+v; %d PUTs", len(res), first, puts)
				}
				if !c.passed && (res[0].Err == nil || res[0].Err.Kind != protocol.KindBusy || puts != 1) {
					t.Errorf("the first ended with %v; %d PUTs", res[0].Err, puts)
				}
				if want := c.name == "hint" || c.name == "nobody waits"; (asked > 0) != want {
					t.Errorf("asked %d times", asked)
				}
			})
		})
	}
}

// TestPassedAtTheLastByte: a hint whose PUT may have arrived is not over.
func TestPassedAtTheLastByte(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var busy, done atomic.Bool
		r.store.midway = func(string, protocol.Key) {
			if done.CompareAndSwap(false, true) {
				busy.Store(true)
				time.AfterFunc(10*time.Second, func() { busy.Store(false) })
			}
		}
		r.src.put(hint(upl("k", r.file("f", 4<<20, 1))))
		r.run(Config{AtRest: func(syscall.Conn) bool { return !busy.Load() }, Passed: func(string) bool { return true }})
		r.src.drain(t, time.Minute)
		if res := r.src.results("k"); res[0].Err == nil || res[0].Err.Kind != protocol.KindBusy {
			t.Errorf("the first ended with %v", res[0].Err)
		}
	})
}
