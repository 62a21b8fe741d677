package queue_test

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"s3apu/protocol"
	"s3apu/queue"
)

// TestSyncPause: the log pauses between syncs where much is ready, and only behind what a worker did.
func TestSyncPause(t *testing.T) {
	q, err := queue.Open(t.TempDir(), queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	item := func(i int) queue.Item {
		return queue.Item{Instruction: protocol.Instruction{Verb: protocol.Mkd, Bucket: "b", Key: protocol.Key(strconv.Itoa(i))}}
	}
	pause := func(want bool, when string) {
		t.Helper()
		if got := queue.SyncPause(q); got > 0 != want || got > 5*time.Millisecond {
			t.Errorf("%s: %v", when, got)
		}
	}
	pause(false, "an empty queue")
	for i := range 10 {
		must(t, q.Put(t.Context(), item(i)))
	}
	pause(false, "a few instructions")
	for i := range 100 {
		must(t, q.Put(t.Context(), item(i)))
	}
	pause(true, "many instructions")

	fine := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	var group sync.WaitGroup
	for hand := range 8 { // workers, clients with leases of their own, and clients who put
		group.Go(func() {
			for i := range 20 {
				switch {
				case hand < 3:
					fine(q.Put(t.Context(), item(1000*hand+i)))
				default:
					ds, err := q.Lease(t.Context(), "b", 3, 0, time.Duration(hand%2)*time.Minute)
					fine(err)
					var results []protocol.Result
					for _, d := range ds {
						results = append(results, protocol.Result{Delivery: d, Keep: true})
					}
					_, err = q.Settle(t.Context(), results)
					fine(err)
				}
			}
		})
	}
	group.Wait()
	if n := queue.Urgent(q); n != 0 {
		t.Errorf("%d calls are taken to wait, and none is under way", n)
	}
	for {
		ds, err := q.Lease(t.Context(), "b", 50, 0, 0)
		must(t, err)
		if len(ds) == 0 {
			break
		}
	}
	pause(false, "nothing is ready any more")
}
