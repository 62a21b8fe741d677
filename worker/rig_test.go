package worker

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"s3apu/protocol"
)

// rig is a Pool over a queue and a bucket in memory.
type rig struct {
	t      *testing.T
	src    *memorySource
	store  *memoryStore
	pool   *Pool
	dir    string
	events []Event
	log    lockedBuffer
	stop   func() // ends Run and waits for it; may be called more than once
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

func newRig(t *testing.T) *rig {
	return &rig{t: t, src: newSource(), store: newStore(), dir: t.TempDir()}
}

// run starts a Pool with cfg; the test's end stops it.
func (r *rig) run(cfg Config) {
	r.t.Helper()
	cfg.Bucket = testBucket
	cfg.Log = slog.New(slog.NewTextHandler(&r.log, nil))
	cfg.Observe = func(e Event) { r.events = append(r.events, e) } // read after stop only
	pool, err := New(cfg, r.src, r.store)
	if err != nil {
		r.t.Fatal(err)
	}
	r.pool = pool
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				r.t.Errorf("Run returned %v", err)
			}
		})
	}
	r.t.Cleanup(r.stop)
}

// down has the bucket refuse every request so, until what it returns is set to false.
func (r *rig) down(kind protocol.Kind, status int) *atomic.Bool {
	down := new(atomic.Bool)
	down.Store(true)
	r.store.before = func(context.Context, string, protocol.Key) error {
		if down.Load() {
			return s3Error(kind, status)
		}
		return nil
	}
	return down
}

// file writes a file of so many bytes that depend on seed, and returns its path.
func (r *rig) file(name string, size int, seed byte) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, content(size, seed), 0o644); err != nil {
		r.t.Fatal(err)
	}
	return path
}

func content(size int, seed byte) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

func md5Hex(b []byte) string {
	s := md5.Sum(b)
	return hex.EncodeToString(s[:])
}

func upl(key, source string) protocol.Delivery {
	return protocol.Delivery{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: protocol.Key(key), Source: source}}
}

func order(verb protocol.Verb, key, source string) protocol.Delivery {
	return protocol.Delivery{Instruction: protocol.Instruction{Verb: verb, Key: protocol.Key(key), Source: source}}
}

func hint(d protocol.Delivery) protocol.Delivery { d.Hint = true; return d }

// bubble runs f with a clock of its own.
func bubble(t *testing.T, f func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		f(t, r)
		if r.stop != nil {
			r.stop()
		}
	})
}

// bySum is bubble with a server that checks parts by CRC-64, and with one that knows MD5 only.
func bySum(t *testing.T, f func(t *testing.T, r *rig)) {
	for name, onlyMD5 := range map[string]bool{"CRC64": false, "MD5": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.store.onlyMD5 = onlyMD5
				f(t, r)
			})
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
