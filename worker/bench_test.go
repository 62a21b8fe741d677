package worker

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"s3apu/protocol"
)

// nullStore takes single PUTs and reads their bodies.
type nullStore struct{ Store }

func (nullStore) Put(_ context.Context, _ protocol.Key, _ protocol.Headers, body io.ReadSeeker, _ int64, _ [16]byte) (protocol.Receipt, error) {
	_, err := io.Copy(io.Discard, body)
	return protocol.Receipt{ETag: "e"}, err
}

// BenchmarkUpload is one file from lstat to its ledger row, without queue and network.
func BenchmarkUpload(b *testing.B) {
	for _, size := range []int{0, 4 << 10, 64 << 10, 1 << 20, 8 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "f.jpg")
			if err := os.WriteFile(path, content(size, 1), 0o600); err != nil {
				b.Fatal(err)
			}
			p, err := New(Config{Bucket: "b"}, newSource(), nullStore{})
			if err != nil {
				b.Fatal(err)
			}
			p.stop, p.work = b.Context(), b.Context()
			h := newHand(p, false)
			d := hint(upl("in/f.jpg", path))
			d.Bucket = "b"
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if f, lane := h.carry(b.Context(), d); f.Err != nil || lane {
					b.Fatal(f.Err)
				}
			}
		})
	}
}

// BenchmarkUnchanged is a hint that the ledger answers.
func BenchmarkUnchanged(b *testing.B) {
	path := filepath.Join(b.TempDir(), "f.jpg")
	if err := os.WriteFile(path, content(100, 1), 0o600); err != nil {
		b.Fatal(err)
	}
	p, err := New(Config{Bucket: "b"}, newSource(), nullStore{})
	if err != nil {
		b.Fatal(err)
	}
	p.stop, p.work = b.Context(), b.Context()
	h := newHand(p, false)
	d := hint(upl("in/f.jpg", path))
	f, _ := h.carry(b.Context(), d)
	d.Known = f.Entry
	b.ReportAllocs()
	for b.Loop() {
		if f, _ := h.carry(b.Context(), d); f.requests != 0 {
			b.Fatal("sent")
		}
	}
}

// BenchmarkPool is the whole way through Run with a queue in memory that has no cost of its own.
func BenchmarkPool(b *testing.B) {
	path := filepath.Join(b.TempDir(), "f.jpg")
	if err := os.WriteFile(path, content(4096, 1), 0o600); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	src := &counter{left: b.N, path: path, done: make(chan struct{})}
	p, err := New(Config{Bucket: "b", MaxWorkers: 4, MaxFiles: 30}, src, nullStore{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	b.ResetTimer()
	go func() { ended <- p.Run(ctx) }()
	<-src.done
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// counter hands out so many deliveries of one file.
type counter struct {
	Source
	mu            sync.Mutex
	left, settled int
	total         int
	path          string
	done          chan struct{}
}

func (c *counter) Lease(ctx context.Context, n int, _ time.Duration) ([]protocol.Delivery, error) {
	c.mu.Lock()
	n = min(n, c.left)
	c.left -= n
	c.total += n
	first := c.total
	c.mu.Unlock()
	if n == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	out := make([]protocol.Delivery, n)
	for i := range out {
		out[i] = upl("in/f.jpg", c.path)
		out[i].Token = uint64(first - i)
	}
	return out, nil
}

func (c *counter) Settle(_ context.Context, rs []protocol.Result) ([]protocol.Outcome, error) {
	out := make([]protocol.Outcome, len(rs))
	for i := range out {
		out[i] = protocol.Done
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settled += len(rs); c.settled == c.total && c.left == 0 {
		close(c.done)
	}
	return out, nil
}

func (c *counter) Opening() uint64 { return 0 }

func (c *counter) Leftovers(context.Context) ([]*protocol.Upload, error) { return nil, nil }

func (c *counter) LoadUpload(context.Context, protocol.ObjectID) (*protocol.Upload, error) {
	return nil, nil
}
