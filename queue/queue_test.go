package queue_test

import (
	"flag"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

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
type memStore struct{ fs *vfs.MemFS }

func (s *memStore) Open(opt queue.Options) (queuetest.Queue, error) {
	return queue.Open("state/queue", queue.WithFS(opt, s.fs))
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
	queuetest.Run(t, func(testing.TB) queuetest.Store { return &memStore{vfs.NewCrashableMem()} })
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
			queuetest.Play(dice{rt}, &memStore{vfs.NewCrashableMem()}, loose)
		}))
	}
}
