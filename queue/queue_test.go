package queue_test

import (
	"context"
	"errors"
	"flag"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"s3apu/protocol"
	"s3apu/queue"
	"s3apu/queue/queuetest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *childMode != "" {
		runChild(*childMode)
		return
	}
	goleak.VerifyTestMain(m)
}

// memStore is a store in memory that can lose its power.
type memStore struct {
	fs   *vfs.MemFS
	room int // of the filter; 0: as ever
}

func (s *memStore) Open(opt queue.Options) (queuetest.Queue, error) {
	q, err := queue.Open("state/queue", queue.WithFilter(queue.WithFS(opt, s.fs), s.room))
	return looked{q}, err
}

// looked is a queue whose filter is compared with its records after every change.
type looked struct{ *queue.Queue }

func (l looked) Put(ctx context.Context, items ...queue.Item) error {
	return errors.Join(l.Queue.Put(ctx, items...), queue.CheckFilter(l.Queue))
}

func (l looked) Lease(ctx context.Context, bucket string, n int, wait, hold time.Duration) ([]protocol.Delivery, error) {
	ds, err := l.Queue.Lease(ctx, bucket, n, wait, hold)
	return ds, errors.Join(err, queue.CheckFilter(l.Queue))
}

func (l looked) Settle(ctx context.Context, results []protocol.Result) ([]protocol.Outcome, error) {
	out, err := l.Queue.Settle(ctx, results)
	return out, errors.Join(err, queue.CheckFilter(l.Queue))
}

func (l looked) Pop(ctx context.Context, bucket string, n int, wait time.Duration) ([]protocol.Instruction, error) {
	ins, err := l.Queue.Pop(ctx, bucket, n, wait)
	return ins, errors.Join(err, queue.CheckFilter(l.Queue))
}

func (l looked) Drop(ctx context.Context, ids []protocol.ObjectID) (int, error) {
	n, err := l.Queue.Drop(ctx, ids)
	return n, errors.Join(err, queue.CheckFilter(l.Queue))
}

func (s *memStore) Crash() bool {
	s.fs = s.fs.CrashClone(vfs.CrashCloneCfg{})
	return true
}

// diskStore is a store on the disk.
type diskStore struct{ dir string }

func (s diskStore) Open(opt queue.Options) (queuetest.Queue, error) { return queue.Open(s.dir, opt) }
func (diskStore) Crash() bool                                       { return false }

func TestContractMem(t *testing.T) {
	queuetest.Run(t, func(testing.TB) queuetest.Store { return &memStore{fs: vfs.NewCrashableMem()} })
}

func TestContractDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for many fsyncs: run without -short")
	}
	queuetest.Run(t, func(t testing.TB) queuetest.Store { return diskStore{t.(*testing.T).TempDir() + "/q"} })
}

// dice are rapid's.
type dice struct{ *rapid.T }

func (d dice) Int(label string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(d.T, label) }

func TestModel(t *testing.T) {
	for _, loose := range []bool{false, true} {
		t.Run(map[bool]string{false: "Strict", true: "Loose"}[loose], rapid.MakeCheck(func(rt *rapid.T) {
			room := 0
			if rapid.Bool().Draw(rt, "filter that overflows") {
				room = 4
			}
			queuetest.Play(dice{rt}, &memStore{vfs.NewCrashableMem(), room}, loose)
		}))
	}
}
