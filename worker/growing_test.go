package worker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"s3apu/protocol"
)

// A file that is written without a rest is sent as it was in one moment: a prefix of what is appended, and of what is
// rewritten in place nothing that was never there. Real time, no bubble: the point is the race.
func TestGrowingFiles(t *testing.T) {
	const above = 8 << 20
	for _, c := range []struct {
		name  string
		start int // bytes at the beginning
		piece int // that are written at once
		least int // objects that must have been made
		md5   bool
	}{
		{"from memory", 20_000, 700, 4, true}, {"in one piece", 2 << 20, 9_000, 3, true},
		{"in parts by MD5", 9 << 20, 50_000, 2, true}, {"in parts by CRC-64", 9 << 20, 50_000, 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.store.onlyMD5 = c.md5
			all := content(c.start+40<<20, 9)
			path := filepath.Join(r.dir, "f")
			must(t, os.WriteFile(path, all[:c.start], 0o600))
			seen := map[int64]bool{}
			var torn atomic.Int64
			r.store.after = func(_ context.Context, op string, key protocol.Key) error {
				o := r.store.object(key)
				if op != "put" && op != "finish" || o == nil {
					return nil
				}
				want := md5Hex(all[:o.Size])
				if op == "finish" {
					want = wantETag(all[:o.Size], mib5)
				}
				if o.ETag != want {
					torn.Add(1)
				}
				r.store.mu.Lock()
				defer r.store.mu.Unlock()
				seen[o.Size] = true
				return nil
			}
			write, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			must(t, err)
			stop := make(chan struct{})
			var writer sync.WaitGroup
			writer.Go(func() {
				defer write.Close()
				for at := c.start; at+c.piece <= len(all); at += c.piece {
					_, _ = write.Write(all[at : at+c.piece])
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
					}
				}
			})
			still := sync.OnceFunc(func() { close(stop); writer.Wait() })
			defer still()
			r.run(Config{MultipartAbove: above, PartSize: mib5, AtRest: func(syscall.Conn) bool { return false },
				Folders: []Folder{{Path: r.dir, Unresting: func(rel string) bool { return rel == "f" }}}})
			for began := time.Now(); len(r.src.results("f")) < 40; {
				if time.Since(began) > time.Minute {
					t.Fatalf("%d attempts in a minute", len(r.src.results("f")))
				}
				n := len(r.src.results("f"))
				r.src.put(hint(upl("f", path)))
				waitFor(t, time.Minute, func() bool { return len(r.src.results("f")) > n })
				r.store.mu.Lock()
				enough := len(seen) >= c.least
				r.store.mu.Unlock()
				if enough {
					break
				}
			}
			still()
			r.stop()
			if row := r.src.row("f"); torn.Load() > 0 || len(seen) < c.least || row == nil || !seen[row.Size] {
				t.Errorf("%d torn of %d objects, the row is %+v", torn.Load(), len(seen), row)
			}
		})
	}
}

// A file that is rewritten in place without a rest goes as it was in one moment, or not at all.
func TestRewrittenWithoutARest(t *testing.T) {
	const size, piece = 256 << 10, 4 << 10
	r := newRig(t)
	path := filepath.Join(r.dir, "f")
	var states sync.Map // MD5s of every state that the file has had
	was := content(size, 0)
	must(t, os.WriteFile(path, was, 0o600))
	states.Store(md5Hex(was), true)
	var torn, made atomic.Int64
	r.store.after = func(_ context.Context, op string, key protocol.Key) error {
		if o := r.store.object(key); op == "put" && o != nil {
			made.Add(1)
			if _, ok := states.Load(o.ETag); !ok {
				torn.Add(1)
			}
		}
		return nil
	}
	write, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		defer write.Close()
		for s := byte(1); ; s++ {
			next := content(size, s)
			for off := 0; off < size; off += piece {
				copy(was[off:], next[off:off+piece])
				states.Store(md5Hex(was), true) // before it is: a page is written at once
				_, _ = write.WriteAt(was[off:off+piece], int64(off))
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
		}
	})
	r.run(Config{AtRest: func(syscall.Conn) bool { return false },
		Folders: []Folder{{Path: r.dir, Unresting: func(string) bool { return true }}}})
	for range 30 {
		n := len(r.src.results("f"))
		r.src.put(hint(upl("f", path)))
		waitFor(t, time.Minute, func() bool { return len(r.src.results("f")) > n })
	}
	close(stop)
	writer.Wait()
	r.stop()
	t.Logf("%d objects in 30 attempts", made.Load())
	if torn.Load() > 0 {
		t.Errorf("%d of %d objects were never a state of the file", torn.Load(), made.Load())
	}
}

// Parts of a file that grows go with the sums of the first reading: what is rewritten behind it is refused.
func TestPartsHaveTheFirstReadingsSums(t *testing.T) {
	bySum(t, func(t *testing.T, r *rig) {
		const size = 16 << 20
		path := r.file("f", size, 1)
		var once sync.Once
		r.store.before = func(_ context.Context, op string, _ protocol.Key) error {
			if op == "part" { // the first of several, one at a time: the last was read once and is not sent yet
				once.Do(func() {
					f, err := os.OpenFile(path, os.O_WRONLY, 0)
					must(t, err)
					_, err = f.WriteAt([]byte("other"), size-5)
					must(t, errors.Join(err, f.Close()))
				})
			}
			return nil
		}
		r.src.put(hint(upl("f", path)))
		r.run(Config{MultipartAbove: 8 << 20, PartSize: mib5, Parts: 1, AtRest: func(syscall.Conn) bool { return false },
			Folders: []Folder{{Path: r.dir, Unresting: func(string) bool { return true }}}})
		waitFor(t, time.Minute, func() bool { return r.store.object("f") != nil })
		if r.store.count("start") != 2 || r.store.aborted != 1 {
			t.Errorf("%d uploads were begun, %d aborted", r.store.count("start"), r.store.aborted)
		}
	})
}

// A busy file that nobody has given permission for waits as ever.
func TestBusyWithoutPermissionWaits(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		path := r.file("f", 10, 1)
		r.src.put(hint(upl("f", path)))
		r.run(Config{AtRest: func(syscall.Conn) bool { return false },
			Folders: []Folder{{Path: r.dir, Unresting: func(string) bool { return false }}}})
		waitFor(t, time.Minute, func() bool { return len(r.src.results("f")) >= 3 })
		if r.store.count("put") != 0 {
			t.Error("it was sent")
		}
	})
}
