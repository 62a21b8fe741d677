package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"s3apu/protocol"
)

// What happens to the file while its body is on the way, and what must be in the bucket in the end. Never may an
// object be made of two states.
func TestNoTornObject(t *testing.T) {
	const small, streamed = 500_000, 4 << 20
	overwrite := func(path string, at int64) { // without a change of size
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			panic(err)
		}
		_, _ = f.WriteAt([]byte("changed"), at)
		_ = f.Close()
	}
	for _, tc := range []struct {
		name   string
		size   int
		change func(path string)
	}{
		{"small, overwritten", small, func(p string) { overwrite(p, small-10) }},
		{"overwritten before the place", streamed, func(p string) { overwrite(p, 5) }},
		{"overwritten behind the place", streamed, func(p string) { overwrite(p, streamed-10) }},
		{"grown", streamed, func(p string) {
			f, _ := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0)
			_, _ = f.WriteString("more")
			_ = f.Close()
		}},
		{"shortened", streamed, func(p string) { _ = os.Truncate(p, streamed-1) }},
		{"emptied", streamed, func(p string) { _ = os.Truncate(p, 0) }},
		{"replaced", streamed, func(p string) {
			_ = os.WriteFile(p+".new", content(streamed, 8), 0o600)
			_ = os.Rename(p+".new", p)
		}},
		{"chmod", streamed, func(p string) { _ = os.Chmod(p, 0o600) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				path := r.file("f", tc.size, 1)
				first := md5Hex(content(tc.size, 1))
				var once sync.Once
				r.store.midway = func(string, protocol.Key) { once.Do(func() { tc.change(path) }) }
				r.src.put(upl("k", path))
				r.run(Config{})
				r.src.drain(t, time.Minute)
				now, err := os.ReadFile(path)
				must(t, err)
				o := r.store.object("k")
				switch {
				case tc.size <= smallFile && o.ETag == first: // sent from memory: the state before the change
				case tc.size > smallFile && o.ETag == md5Hex(now) && r.store.count("put") >= 2:
				default:
					t.Errorf("the object is %+v after %d PUTs", o, r.store.count("put"))
				}
				for _, x := range r.src.results("k") {
					if x.Err != nil && (x.Err.Kind != protocol.KindChanged || !x.Uncounted || x.Delay > soonLast) {
						t.Errorf("given back with %v, delay %v", x.Err, x.Delay)
					}
				}
			})
		})
	}
}

func TestVanishedWhileSent(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		path := r.file("f", 4<<20, 1)
		r.store.midway = func(string, protocol.Key) { _ = os.Remove(path) }
		r.src.put(hint(upl("k", path)))
		r.run(Config{})
		r.src.drain(t, time.Minute)
		if r.store.object("k") != nil {
			t.Error("a file that was gone before its last byte is in the bucket")
		}
	})
}

func TestBusyFileWaits(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		free := time.Now().Add(time.Minute)
		r.src.put(upl("k", r.file("f", 10, 1)))
		r.run(Config{AtRest: func(syscall.Conn) bool { return time.Now().After(free) }})
		r.src.drain(t, 2*time.Minute)
		res := r.src.results("k")
		for i, x := range res[:len(res)-1] {
			if x.Err.Kind != protocol.KindBusy || !x.Uncounted || x.Delay < soonGap*3/4 || x.Delay > soonLast || i > 3 && x.Delay < soonLast*3/4 {
				t.Errorf("attempt %d: %v, delay %v", i, x.Err, x.Delay)
			}
		}
		if late := time.Since(free); late > soonLast || r.store.count("put") != 1 {
			t.Errorf("sent %v after it was free, %d times", late, r.store.count("put"))
		}
	})
}

// A small file that changes after it was found at rest and before it is read is not sent: its row would tell of
// another state.
func TestChangedBeforeItIsRead(t *testing.T) {
	for _, size := range []int{10, 3 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				path := r.file("f", size, 1)
				var once sync.Once
				r.src.put(upl("k", path))
				r.run(Config{AtRest: func(syscall.Conn) bool {
					once.Do(func() { r.file("f", size, 2) })
					return true
				}})
				r.src.drain(t, time.Minute)
				if res := r.src.results("k"); len(res) != 2 || res[0].Err.Kind != protocol.KindChanged || r.store.count("put") != 1 {
					t.Errorf("%d attempts, %d PUTs, first %v", len(res), r.store.count("put"), res[0].Err)
				}
				if st, e := lstat(path); e != nil || r.src.row("k").Stat != st {
					t.Errorf("the row is %+v, the file %+v", r.src.row("k"), st)
				}
			})
		})
	}
}

// A file that is opened for writing (or mapped) after it was hashed has not changed yet; it must not be completed.
func TestBusyAtTheLastByte(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var busy atomic.Bool
		var once sync.Once
		r.store.midway = func(string, protocol.Key) {
			once.Do(func() {
				busy.Store(true)
				time.AfterFunc(10*time.Second, func() { busy.Store(false) })
			})
		}
		r.src.put(upl("k", r.file("f", 4<<20, 1)))
		r.run(Config{AtRest: func(syscall.Conn) bool { return !busy.Load() }})
		waitFor(t, 5*time.Second, func() bool { return len(r.src.results("k")) > 1 })
		if r.store.object("k") != nil {
			t.Error("completed while the file was being written")
		}
		r.src.drain(t, time.Minute)
	})
}

// A writer that never stops, against readers of every size: each object that ever becomes visible is a state that the
// writer left at rest. Real time, no bubble: the point is the race.
func TestTornUnderAWriter(t *testing.T) {
	for _, size := range []int{700_000, 3 << 20, 11 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			for range 20 {
				torn, stall := underAWriter(t, size)
				switch {
				case torn == 0:
					return
				case stall < protocol.StampStep:
					t.Errorf("%d torn objects became visible", torn)
					return
				}
				t.Logf("once more: the writer was kept from its processor for %v, which nothing but a lease tells from rest", stall)
			}
			t.Error("the writer never had its processor for long enough")
		})
	}
}

// underAWriter uploads a file that is rewritten in place, without asking whether it is open for writing. It returns how many objects
// were torn, and the longest time between two pieces of one writing.
func underAWriter(t *testing.T, size int) (int64, time.Duration) {
	r := newRig(t)
	path := filepath.Join(r.dir, "f")
	cfg := Config{MaxWorkers: 4, MultipartAbove: 8 << 20, PartSize: mib5}
	states := map[string]bool{}
	for s := range byte(8) {
		states[md5Hex(content(size, s))] = true
		states[wantETag(content(size, s), mib5)] = true
	}
	must(t, os.WriteFile(path, content(size, 0), 0o600))

	var torn atomic.Int64
	seen := map[string]bool{}
	r.store.after = func(_ context.Context, op string, key protocol.Key) error {
		o := r.store.object(key)
		if (op == "put" || op == "finish") && o != nil {
			r.store.mu.Lock()
			seen[o.ETag] = true
			r.store.mu.Unlock()
			if !states[o.ETag] {
				torn.Add(1)
			}
		}
		return nil
	}
	var stall time.Duration // the writer's until it has ended
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() { // rewrites in place, in pieces, and rests a little
		defer close(ended)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		for s := byte(1); ; s = (s + 1) % 8 {
			b := content(size, s)
			before := time.Now()
			for off := 0; off < size; off += 64 << 10 {
				_, _ = f.WriteAt(b[off:min(off+64<<10, size)], int64(off))
				now := time.Now()
				stall, before = max(stall, now.Sub(before)), now
			}
			select {
			case <-stopped:
				return
			case <-time.After(60 * time.Millisecond):
			}
		}
	}()
	r.run(cfg)
	for i := range 6 {
		r.src.put(upl(fmt.Sprint("k", i), path))
		<-time.After(80 * time.Millisecond)
	}
	close(stopped)
	<-ended
	r.src.drain(t, 30*time.Second)
	r.stop()
	gaveUp := 0
	for id := range r.src.history {
		gaveUp += len(r.src.results(id.Key)) - 1
	}
	t.Logf("%d states were seen, %d attempts were given up", len(seen), gaveUp)
	return torn.Load(), stall
}
