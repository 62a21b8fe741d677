package queue_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"s3apu/protocol"
	"s3apu/queue"
)

// TestFakeTime: waiting, delays and the end of leases under testing/synctest, with a store in memory.
func TestFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, err := queue.Open("q", queue.WithFS(queue.Options{}, vfs.NewMem()))
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- q.Run(ctx) }()
		began := time.Now()
		lease := func(wait time.Duration, want int, at time.Duration, hold time.Duration) []protocol.Delivery {
			t.Helper()
			ds, err := q.Lease(ctx, bucket, 30, wait, hold)
			must(t, err)
			took := time.Since(began)
			if len(ds) != want || took < at || took > at+50*time.Millisecond {
				t.Fatalf("leased %d after %v, want %d after %v", len(ds), took, want, at)
			}
			return ds
		}
		lease(10*time.Second, 0, 10*time.Second, 0)
		must(t, q.Put(ctx, upl("a")))
		lease(time.Hour, 1, 10*time.Second, time.Minute)
		ds := lease(time.Hour, 1, 70*time.Second, 0) // the lease ended
		_, err = q.Settle(ctx, []protocol.Result{{Delivery: ds[0], Delay: 5 * time.Minute,
			Err: &protocol.Error{Op: "test", Kind: protocol.KindTransient}}})
		must(t, err)
		lease(time.Hour, 1, 370*time.Second, 0)
		cancel()
		must(t, <-ran)
		must(t, q.Close())
	})
}

// TestNothingToTakeBackIsNothingToDo: when the only lease has been settled and its time has come, Run looks once and then
// sleeps until there is another one.
func TestNothingToTakeBackIsNothingToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, err := queue.Open("q", queue.WithFS(queue.Options{}, vfs.NewMem()))
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- q.Run(ctx) }()
		must(t, q.Put(ctx, upl("a")))
		ds, err := q.Lease(ctx, bucket, 30, 0, time.Minute)
		must(t, err)
		_, err = q.Settle(ctx, []protocol.Result{{Delivery: ds[0]}})
		must(t, err)
		time.Sleep(2 * time.Minute) //nolint:forbidigo // the bubble's clock: Run has done what it does
		synctest.Wait()
		if d := queue.Pause(q); d < 24*time.Hour {
			t.Errorf("with no lease out, Run looks again after %v", d)
		}
		cancel()
		must(t, <-ran)
		must(t, q.Close())
	})
}
