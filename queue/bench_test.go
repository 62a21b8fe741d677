package queue_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"s3apu/protocol"
	"s3apu/queue"
)

func benchItem(i int64, class protocol.Class) queue.Item {
	key := fmt.Sprintf("some/folder/%02d/%08d.jpg", i%97, i*7919%100_000_000)
	return queue.Item{Class: class, Instruction: protocol.Instruction{
		Verb: protocol.Upl, Bucket: bucket, Key: protocol.Key(key), Source: "/srv/data/" + key,
	}}
}

// BenchmarkPut64 is 64 producers with one instruction a commit.
func BenchmarkPut64(b *testing.B) {
	q := open(b, b.TempDir()+"/q", queue.Options{})
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range 64 {
		wg.Go(func() {
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				if err := q.Put(context.Background(), benchItem(i, protocol.Live)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
}

// BenchmarkPut1000 is one producer with batches of 1,000, synced; an operation is one instruction.
func BenchmarkPut1000(b *testing.B) {
	q := open(b, b.TempDir()+"/q", queue.Options{})
	b.ResetTimer()
	fill(b, q, b.N, protocol.Live)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
}

func fill(b testing.TB, q *queue.Queue, n int, class protocol.Class) {
	b.Helper()
	for i := 0; i < n; i += 1000 {
		items := make([]queue.Item, min(1000, n-i))
		for k := range items {
			items[k] = benchItem(int64(i+k), class)
		}
		must(b, q.Put(context.Background(), items...))
	}
}

// BenchmarkCycle30 leases and settles 30 at a time, with rows of the ledger, by eight hands; an operation is one
// instruction.
func BenchmarkCycle30(b *testing.B) {
	q := open(b, b.TempDir()+"/q", queue.Options{})
	fill(b, q, b.N, protocol.Live)
	var wg sync.WaitGroup
	b.ResetTimer()
	for range 8 {
		wg.Go(func() {
			for {
				ds, err := q.Lease(context.Background(), bucket, 30, 0, 0)
				if err != nil || len(ds) == 0 {
					return
				}
				rs := make([]protocol.Result, len(ds))
				for i, d := range ds {
					rs[i] = protocol.Result{Delivery: d, Entry: benchEntry(d.Key)}
				}
				if _, err := q.Settle(context.Background(), rs); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := q.Stats().Pending(); n != 0 {
		b.Errorf("%d are left", n)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cycles/s")
}

func benchEntry(key protocol.Key) *protocol.Entry {
	return &protocol.Entry{
		Bucket: bucket, Key: key, Verb: protocol.Upl, Source: "/srv/data/" + string(key),
		Stat: protocol.Stat{Size: 12345, MTime: 1_800_000_000_123456789, CTime: 1_800_000_000_123456789, Dev: 64769,
			Ino: 1234567, Mode: 0o100644, UID: 1000, GID: 1000},
		ETag: "d41d8cd98f00b204e9800998ecf8427e", MD5: "d41d8cd98f00b204e9800998ecf8427e", Put: 1_800_000_000_123456789,
	}
}

// BenchmarkLedger scans; an operation is one row.
func BenchmarkLedger(b *testing.B) {
	q := open(b, b.TempDir()+"/q", queue.Options{})
	for i := 0; i < b.N; i += 1000 {
		es := make([]*protocol.Entry, min(1000, b.N-i))
		for k := range es {
			es[k] = benchEntry(benchItem(int64(i+k), 0).Key)
		}
		must(b, q.Adopt(context.Background(), es...))
	}
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for _, err := range q.Ledger(context.Background(), bucket, "", "") {
		must(b, err)
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
}

var manyPending = flag.Int("queue.pending", 0, "for TestMemory: how many pending instructions; 0 skips it")

// TestMemory shows the memory of a process with very many pending instructions: -queue.pending 1500000.
func TestMemory(t *testing.T) {
	if *manyPending == 0 {
		t.Skip("takes minutes: run with -queue.pending 1500000")
	}
	dir := t.TempDir() + "/q"
	q := open(t, dir, queue.Options{MaxBackfill: 1 << 40})
	report := func(what string, began time.Time) {
		s, err := os.ReadFile("/proc/self/status")
		must(t, err)
		for line := range strings.Lines(string(s)) {
			if strings.HasPrefix(line, "VmHWM") || strings.HasPrefix(line, "VmRSS") {
				t.Logf("%s after %v: %s", what, time.Since(began).Round(time.Millisecond), strings.TrimSpace(line))
			}
		}
	}
	report("empty", time.Now())
	began := time.Now()
	fill(t, q, *manyPending, protocol.Backfill)
	report("filled", began)
	must(t, q.Close())
	began = time.Now()
	q = open(t, dir, queue.Options{})
	report("opened again", began)
	began = time.Now()
	for i := range 2000 {
		ds, err := q.Lease(t.Context(), bucket, 30, 0, 0)
		must(t, err)
		rs := make([]protocol.Result, len(ds))
		for k, d := range ds {
			rs[k] = protocol.Result{Delivery: d, Entry: benchEntry(d.Key)}
		}
		_, err = q.Settle(t.Context(), rs)
		must(t, err)
		if i == 1999 {
			report("60,000 leased and settled", began)
		}
	}
	t.Logf("%+v", q.Stats())
}
