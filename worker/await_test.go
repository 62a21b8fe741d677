package worker

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"s3apu/protocol"
)

// TestAwaitedHints: a hint whose file is being written is passed where others wait for that to end. One that has more to it stays in the
// queue, as one does that nobody waits for.
func TestAwaitedHints(t *testing.T) {
	for _, c := range []struct {
		name    string
		set     func(r *rig, d *protocol.Delivery)
		awaited bool
		over    bool
	}{
		{"hint", func(_ *rig, d *protocol.Delivery) { d.Hint = true }, true, true},
		{"nobody waits", func(_ *rig, d *protocol.Delivery) { d.Hint = true }, false, false},
		{"named", func(*rig, *protocol.Delivery) {}, true, false},
		{"renamed", func(_ *rig, d *protocol.Delivery) { d.Hint, d.From = true, testBucket+"/old" }, true, false},
		{"earlier hand", func(_ *rig, d *protocol.Delivery) { d.Hint, d.Again = true, true }, true, false},
		{"another configuration", func(_ *rig, d *protocol.Delivery) { d.Hint, d.Key = true, "other/k" }, true, false},
		{"parts were sent", func(r *rig, d *protocol.Delivery) {
			d.Hint = true
			must(r.t, r.src.SaveUpload(r.t.Context(), &protocol.Upload{Bucket: testBucket, Key: "k", UploadID: "u", PartSize: 5 << 20}))
		}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				free := time.Now().Add(10 * time.Second)
				path := r.file("k", 10, 1)
				d := upl("k", path)
				c.set(r, &d)
				r.src.put(d)
				asked := 0
				r.run(Config{MaxWorkers: 1, Folders: []Folder{{Path: r.dir}}, Sources: []string{r.dir},
					AtRest: func(syscall.Conn) bool { return time.Now().After(free) },
					Await: func(source string) bool {
						if asked++; source != path {
							t.Errorf("asked for %q", source)
						}
						return c.awaited
					}})
				r.src.drain(t, time.Minute)
				r.stop()
				res := r.src.results(d.Key)
				puts := r.store.count("put")
				if first := res[0]; first.Err == nil || first.Err.Kind != protocol.KindBusy || first.Passed != c.over {
					t.Errorf("the first result is %+v", first)
				}
				if want := 1; c.over && (len(res) != 1 || puts != 0) || !c.over && puts != want {
					t.Errorf("%d results, %d PUTs", len(res), puts)
				}
				if (asked > 0) != (c.over || c.name == "nobody waits") {
					t.Errorf("asked %d times", asked)
				}
				if s := r.pool.Stats(); s.Done != int64(puts) || s.Performance.Upl != s.Done || s.Requeued != int64(len(res)-puts) {
					t.Errorf("counted as %+v", s)
				}
			})
		})
	}
}

// TestBusyHintAtTheLastByte: a hint whose PUT may have arrived is not over.
func TestBusyHintAtTheLastByte(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var busy, done atomic.Bool
		r.store.midway = func(string, protocol.Key) {
			if done.CompareAndSwap(false, true) {
				busy.Store(true)
				time.AfterFunc(10*time.Second, func() { busy.Store(false) })
			}
		}
		r.src.put(hint(upl("f", r.file("f", 4<<20, 1))))
		r.run(Config{Folders: []Folder{{Path: r.dir}}, AtRest: func(syscall.Conn) bool { return !busy.Load() }, Await: func(string) bool { return true }})
		r.src.drain(t, time.Minute)
		if res := r.src.results("f"); res[0].Err == nil || res[0].Err.Kind != protocol.KindBusy || res[0].Passed {
			t.Errorf("the first ended with %v", res[0].Err)
		}
	})
}
