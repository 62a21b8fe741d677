package worker

import (
	"context"
	"crypto/md5"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"s3apu/protocol"
)

// parts of the smallest size that S3 allows; files of the tests have a few of them.
const mib5 = 5 << 20

func bigConfig() Config { return Config{MultipartAbove: 6 << 20, PartSize: mib5} }

func wantETag(content []byte, partSize int) string {
	var sums [][16]byte
	for len(content) > 0 {
		n := min(partSize, len(content))
		sums = append(sums, md5.Sum(content[:n]))
		content = content[n:]
	}
	return compositeETag(sums)
}

func TestPartSizes(t *testing.T) {
	for _, tc := range []struct{ size, want, part int64 }{
		{1, mib5, mib5}, {16 << 20, 16 << 20, 16 << 20}, {5 << 40, 16 << 20, 525 << 20}, {maxParts * mib5, mib5, mib5}, {maxParts*mib5 + 1, mib5, 6 << 20},
	} {
		got := partSizeFor(tc.size, tc.want)
		if got != tc.part || partCount(tc.size, got) > maxParts {
			t.Errorf("%d bytes in parts of %d, %d of them", tc.size, got, partCount(tc.size, got))
		}
		var total int64
		for i := range partCount(tc.size, got) {
			_, n := part(tc.size, got, i+1)
			total += n
		}
		if total != tc.size {
			t.Errorf("the parts of %d make %d", tc.size, total)
		}
	}
}

func TestMultipart(t *testing.T) {
	bySum(t, func(t *testing.T, r *rig) {
		const size = 23<<20 + 5
		r.src.put(upl("big", r.file("big", size, 1)))
		r.store.latency = 10 * time.Millisecond
		cfg := bigConfig()
		cfg.Parts = 2
		r.run(cfg)
		r.src.drain(t, time.Minute)
		row, o := r.src.row("big"), r.store.object("big")
		if want := wantETag(content(size, 1), mib5); o == nil || o.ETag != want || row.ETag != want || row.PartSize != mib5 || o.Size != size || o.Meta["mode"] != "0100644" {
			t.Fatalf("the object is %+v, its row %+v", o, row)
		}
		if r.src.uploadRows() != 0 || r.store.open() != 0 {
			t.Error("the upload is not forgotten")
		}
		if r.store.top != 2 {
			t.Errorf("%d parts at once, not 2", r.store.top)
		}
		if s := r.pool.Stats(); s.Bytes != size || s.Requests != 7 || s.Performance.Largest != size {
			t.Errorf("the figures are %+v", s)
		}
	})
}

func TestOneBudgetOfParts(t *testing.T) {
	bySum(t, func(t *testing.T, r *rig) {
		for _, k := range []string{"a", "b", "c"} {
			r.src.put(upl(k, r.file(k, 20<<20, k[0])))
		}
		r.store.latency = 10 * time.Millisecond
		cfg := bigConfig()
		cfg.Parts, cfg.BigFiles, cfg.MaxWorkers = 3, 3, 2
		now, top := 0, 0
		r.store.before = func(_ context.Context, op string, _ protocol.Key) error {
			if op == "part" {
				r.store.mu.Lock()
				now++
				top = max(top, now)
				r.store.mu.Unlock()
			}
			return nil
		}
		r.store.after = func(_ context.Context, op string, _ protocol.Key) error {
			if op == "part" {
				r.store.mu.Lock()
				now--
				r.store.mu.Unlock()
			}
			return nil
		}
		r.run(cfg)
		r.src.drain(t, time.Minute)
		if top > 3 || r.src.done() != 3 {
			t.Errorf("%d parts at once, %d files done", top, r.src.done())
		}
	})
}

func TestBigNeverBlocksSmall(t *testing.T) {
	bySum(t, func(t *testing.T, r *rig) {
		r.store.before = func(ctx context.Context, op string, _ protocol.Key) error {
			if op == "part" {
				return sleep(ctx, time.Hour) // a line that hardly moves
			}
			return nil
		}
		path := r.file("big", 12<<20, 1)
		for _, k := range []string{"a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9"} { // more than lane and waiting room hold
			r.src.put(upl(k, path))
		}
		r.many("k", 500)
		cfg := bigConfig()
		cfg.MaxWorkers, cfg.BigFiles, cfg.Parts = 2, 2, 2
		r.run(cfg)
		waitFor(t, 5*time.Second, func() bool { return r.src.done() == 500 })
		synctest.Wait()
		if s := r.pool.Stats(); s.Big != 2 || s.Parts != 2 {
			t.Errorf("%d big files and %d parts under way", s.Big, s.Parts)
		}
		if _, leased := r.src.left(); leased > 4 {
			t.Errorf("%d big files are in hand, more than lane and waiting room", leased)
		}
		r.many("late", 10) // while the lane is full
		waitFor(t, time.Second, func() bool { return r.src.done() == 510 })
		r.src.each(func(id protocol.ObjectID, x protocol.Result) {
			if x.Err != nil && (!x.Uncounted || x.Delay <= 0) {
				t.Fatalf("%s was given back with %v", id, x.Err)
			}
		})
		r.store.heal()
		r.src.drain(t, 10*time.Hour)
	})
}

func TestMultipartGoesOnAfterACrash(t *testing.T) {
	for _, changed := range []bool{false, true} {
		name := map[bool]string{false: "same file", true: "changed file"}[changed]
		t.Run(name, func(t *testing.T) {
			bySum(t, func(t *testing.T, r *rig) {
				const size = 40 << 20 // eight parts
				path := r.file("big", size, 1)
				seed := byte(1)
				r.src.put(upl("big", path))
				r.store.latency = 2 * time.Second // eight parts, one at once: some are left when progress is saved
				cfg := bigConfig()
				cfg.Parts = 1
				r.run(cfg)
				waitFor(t, time.Minute, func() bool { n, _ := r.src.progress(); return n >= 3 }) // begun, its id, parts
				// The process dies: what was saved is what the next one finds.
				kept, err := r.src.LoadUpload(t.Context(), protocol.ObjectID{Bucket: testBucket, Key: "big"})
				must(t, err)
				saved := len(kept.Parts)
				if saved == 0 || saved == 8 {
					t.Fatalf("%d parts were saved", saved)
				}
				r.stop()
				must(t, r.src.SaveUpload(t.Context(), kept))
				r.src.crash()
				if changed {
					seed = 2
					r.file("big", size, seed)
				}
				parts := r.store.count("part")
				r.store.latency = time.Millisecond
				r.run(cfg)
				r.src.drain(t, time.Minute)
				sent := r.store.count("part") - parts
				if want := map[bool]int{false: 8 - saved, true: 8}[changed]; sent != want {
					t.Errorf("%d parts were sent after the crash, not %d", sent, want)
				}
				if o := r.store.object("big"); o == nil || o.ETag != wantETag(content(size, seed), mib5) {
					t.Errorf("the object is %+v", o)
				}
				if r.store.open() != 0 || r.src.uploadRows() != 0 {
					t.Errorf("%d uploads are open, %d known", r.store.open(), r.src.uploadRows())
				}
			})
		})
	}
}

func TestMultipartTroubles(t *testing.T) {
	const size = 16 << 20
	type hook = func(context.Context, string, protocol.Key) error
	once := func(op string, err error) func() hook {
		return func() hook {
			var n atomic.Int64
			return func(_ context.Context, o string, _ protocol.Key) error {
				if o == op && n.Add(1) == 1 {
					return err
				}
				return nil
			}
		}
	}
	for _, tc := range []struct {
		name          string
		before, after func() hook
		midway        func(r *rig) func(string, protocol.Key)
		starts, parts int // 0: not looked at
		aborts        int
		serial        bool // one part at a time
		seed          byte // of what is in the bucket in the end; 0: what is in the file
	}{
		{name: "a part fails once", before: once("part", s3Error(protocol.KindTransient, 500)), starts: 1, parts: 5, seed: 1},
		{name: "a part is refused as too much", before: once("part", s3Error(protocol.KindSlow, 503)), starts: 1, parts: 5, seed: 1},
		{name: "the line breaks", before: once("part", s3Error(protocol.KindUnreachable, 0)), starts: 1, seed: 1},
		{name: "the upload is gone", before: once("part", s3Error(protocol.KindNotFound, 404)), starts: 2, seed: 1},
		{name: "the end fails once", before: once("finish", s3Error(protocol.KindTransient, 500)), starts: 1, parts: 4, seed: 1},
		{name: "the answer to the end is lost", after: once("finish", s3Error(protocol.KindTransient, 0)), starts: 1, parts: 4, seed: 1},
		{name: "a part is not allowed", before: once("part", s3Error(protocol.KindItem, 400)), starts: 2, aborts: 1, seed: 1},
		{name: "the abort fails too", before: func() hook {
			part, abort := once("part", s3Error(protocol.KindItem, 400))(), once("abort", s3Error(protocol.KindTransient, 500))()
			return func(ctx context.Context, op string, k protocol.Key) error {
				if err := part(ctx, op, k); err != nil {
					return err
				}
				return abort(ctx, op, k)
			}
		}, starts: 2, aborts: 1, seed: 1},
		{name: "the file changes under a part", midway: func(r *rig) func(string, protocol.Key) {
			n := 0
			return func(string, protocol.Key) {
				r.store.mu.Lock()
				n++
				first := n == 3
				r.store.mu.Unlock()
				if first {
					r.file("big", size, 9)
				}
			}
		}, starts: 2, aborts: 1, seed: 9},
		{name: "the file changes before a later part", midway: func(r *rig) func(string, protocol.Key) {
			var once sync.Once
			return func(string, protocol.Key) {
				once.Do(func() { // no part is sent twice, every one is as announced, and yet they are of two states
					f, err := os.OpenFile(r.dir+"/big", os.O_WRONLY, 0)
					must(r.t, err)
					_, err = f.WriteAt(content(size, 9)[12<<20:], 12<<20)
					must(r.t, errors.Join(err, f.Close()))
				})
			}
		}, serial: true, starts: 2, aborts: 1},
		{name: "the file becomes shorter", midway: func(r *rig) func(string, protocol.Key) {
			n := 0
			return func(string, protocol.Key) {
				r.store.mu.Lock()
				n++
				first := n == 2
				r.store.mu.Unlock()
				if first {
					_ = os.Truncate(r.dir+"/big", 7)
					r.file("big", size, 9)
				}
			}
		}, starts: 2, aborts: 1, seed: 9},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bySum(t, func(t *testing.T, r *rig) {
				r.src.put(upl("big", r.file("big", size, 1)))
				if tc.before != nil {
					r.store.before = tc.before()
				}
				if tc.after != nil {
					r.store.after = tc.after()
				}
				r.store.latency = time.Millisecond
				if tc.midway != nil {
					r.store.midway = tc.midway(r)
				}
				cfg := bigConfig()
				if tc.serial {
					cfg.Parts = 1
				}
				r.run(cfg)
				r.src.drain(t, 10*time.Minute)
				want := content(size, tc.seed)
				if tc.seed == 0 {
					var err error
					want, err = os.ReadFile(r.dir + "/big")
					must(t, err)
				}
				if o := r.store.object("big"); o == nil || o.ETag != wantETag(want, mib5) {
					t.Errorf("the object is %+v", o)
				}
				if tc.starts > 0 && r.store.count("start") != tc.starts || tc.parts > 0 && r.store.count("part") != tc.parts {
					t.Errorf("%d uploads were begun, %d parts sent", r.store.count("start"), r.store.count("part"))
				}
				if r.store.aborted != tc.aborts && tc.aborts > 0 {
					t.Errorf("%d uploads were aborted", r.store.aborted)
				}
				<-time.After(2 * time.Hour) // leftovers are swept
				if n := r.src.uploadRows(); n != 0 {
					t.Errorf("%d uploads are still known", n)
				}
				if n := r.store.open(); n != 0 && tc.name != "the upload is gone" {
					t.Errorf("%d uploads are still open", n)
				}
			})
		})
	}
}
