package queue_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"s3apu/protocol"
	"s3apu/queue"
)

// faultFS is a disk that refuses from some write on.
type faultFS struct {
	vfs.FS
	mu    sync.Mutex
	left  int  // writes that still work; negative: all
	syncs bool // only syncs are refused
	hits  int
	errno syscall.Errno // 0: ENOSPC
}

func (f *faultFS) try(isSync bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left < 0 || f.syncs && !isSync {
		return nil
	}
	if f.left > 0 {
		f.left--
		return nil
	}
	f.hits++
	return &fs.PathError{Op: "write", Path: "test", Err: cmp.Or(f.errno, syscall.ENOSPC)}
}

// refused reports whether a write was refused since arm.
func (f *faultFS) refused() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hits > 0
}

func (f *faultFS) arm(left int, syncs bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.syncs, f.hits = left, syncs, 0
}

func (f *faultFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.try(false); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, c)
	return &faultFile{file, f}, err
}

func (f *faultFS) ReuseForWrite(o, n string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.try(false); err != nil {
		return nil, err
	}
	file, err := f.FS.ReuseForWrite(o, n, c)
	return &faultFile{file, f}, err
}

func (f *faultFS) Rename(o, n string) error {
	if err := f.try(false); err != nil {
		return err
	}
	return f.FS.Rename(o, n)
}

type faultFile struct {
	vfs.File
	f *faultFS
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.f.try(false); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *faultFile) Sync() error {
	if err := f.f.try(true); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) SyncData() error {
	if err := f.f.try(true); err != nil {
		return err
	}
	return f.File.SyncData()
}

// TestDiskRefuses lets the disk refuse at every step of a history: nothing that was acknowledged is lost, whoever calls
// learns of it, nothing panics or hangs, and when there is room again the queue opens.
func TestDiskRefuses(t *testing.T) {
	steps := 400
	if testing.Short() {
		steps = 60
	}
	for _, syncs := range []bool{false, true} {
		for left := 0; left < steps; left += 1 + left/10 {
			mem := vfs.NewCrashableMem()
			disk := &faultFS{FS: mem, left: -1}
			opt := queue.WithMemTable(queue.WithFS(queue.Options{}, disk), 128<<10)
			q, err := queue.Open("state/q", opt)
			must(t, err)
			disk.arm(left, syncs)
			acked, failed := history(t, q)
			if failed != nil {
				wantKind(t, q.Err(), protocol.KindLocal)
				wantKind(t, failed, protocol.KindLocal)
				wantKind(t, q.Put(t.Context(), upl("later")), protocol.KindLocal)
				wantKind(t, q.Run(t.Context()), protocol.KindLocal)
			}
			if err := q.Close(); disk.refused() || failed != nil {
				wantKind(t, err, protocol.KindLocal)
			} else {
				must(t, err)
			}
			disk.arm(-1, false)
			for _, f := range []vfs.FS{mem, mem.CrashClone(vfs.CrashCloneCfg{})} {
				q, err := queue.Open("state/q", queue.WithFS(queue.Options{}, f))
				if err != nil {
					t.Fatalf("refusing after %d: %v", left, err)
				}
				for key := range acked {
					if _, ok, err := q.Pending(protocol.ObjectID{Bucket: bucket, Key: protocol.Key(key)}); !ok || err != nil {
						t.Fatalf("refusing after %d: %s was acknowledged and is lost: %v", left, key, err)
					}
				}
				must(t, q.Close())
			}
		}
	}
}

// history puts until the first error, with several hands, enough to turn over logs and tables.
func history(t *testing.T, q *queue.Queue) (acked map[string]bool, failed error) {
	t.Helper()
	acked = map[string]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	pad := strings.Repeat("x", 600)
	for hand := range 3 {
		wg.Go(func() {
			for i := range 30 {
				items := make([]queue.Item, 10)
				for k := range items {
					items[k] = upl(fmt.Sprintf("%d/%d/%d", hand, i, k))
					items[k].Source = "/" + pad + strings.Repeat("y", (i*k)%400)
				}
				err := q.Put(context.Background(), items...)
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					for _, it := range items {
						acked[string(it.Key)] = true
					}
				}
				stop := failed != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	wg.Wait()
	return acked, failed
}

// TestDiskRefusesOpen lets the disk refuse while the queue is opened.
func TestDiskRefusesOpen(t *testing.T) {
	for left := range 40 {
		mem := vfs.NewMem()
		disk := &faultFS{FS: mem, left: left}
		q, err := queue.Open("state/q", queue.WithFS(queue.Options{}, disk))
		if err == nil {
			err = q.Close()
		}
		if disk.refused() {
			wantKind(t, err, protocol.KindLocal)
		}
		q, err = queue.Open("state/q", queue.WithFS(queue.Options{}, mem))
		must(t, err)
		must(t, q.Close())
	}
}

// TestSoon: what Run promises of backfill.
func TestSoon(t *testing.T) {
	mem := vfs.NewCrashableMem()
	q := open(t, "q", queue.WithFS(queue.Options{}, mem))
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- q.Run(ctx) }()
	must(t, q.Put(ctx, queue.Item{Instruction: upl("a").Instruction, Class: protocol.Backfill}))
	deadline := time.After(20 * time.Second)
	for {
		c := open(t, "q", queue.WithFS(queue.Options{}, mem.CrashClone(vfs.CrashCloneCfg{})))
		_, ok, err := c.Pending(protocol.ObjectID{Bucket: bucket, Key: "a"})
		must(t, errors.Join(err, c.Close()))
		if ok {
			break
		}
		select {
		case <-deadline:
			t.Fatal("backfill does not reach the disk")
		case <-time.After(50 * time.Millisecond):
		}
	}
	cancel()
	must(t, <-ran)
}
