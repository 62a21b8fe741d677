package queuetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"s3apu/protocol"
	"s3apu/queue"
)

// soon is far more than anything here takes; a test that waits for it has failed.
const soon = 10 * time.Second

var leaseTests = map[string]func(w *world){
	"up to n, in line": func(w *world) {
		for i := range 5 {
			w.put(upl(fmt.Sprint("a", 9-i), "1"))
		}
		got := append(w.lease(3), w.lease(3)...)
		check(w, "order", fmt.Sprint(names(got)), "[upl a9 upl a8 upl a7 upl a6 upl a5]")
	},
	"none asked, none given": func(w *world) {
		w.put(upl("a", "1"))
		check(w, "leased", len(w.lease(0))+len(w.lease(-1)), 0)
	},
	"one key in one hand": func(w *world) {
		w.put(upl("a", "1"))
		d := w.one("a")
		w.put(upl("a", "2"))
		w.nothingDue()
		check(w, "token", d.Token != 0, true)
	},
	"no token is given out twice": func(w *world) {
		seen := map[uint64]bool{}
		for i := range 20 {
			w.put(upl("a", fmt.Sprint(i)))
			d := w.one("a")
			if seen[d.Token] || seen[d.Gen] {
				w.Fatalf("token %d or gen %d came twice", d.Token, d.Gen)
			}
			seen[d.Token], seen[d.Gen] = true, true
			if i%3 == 0 {
				w.reopen()
				w.settle(protocol.LeaseLost, protocol.Result{Delivery: d})
			} else {
				w.done(d)
			}
		}
	},
	"the first hand is remembered until one ends well": func(w *world) {
		w.put(upl("a", "1"))
		first := w.one("a")
		check(w, "first of the first", first.First, first.Token)
		w.settle(protocol.Requeued, failure(first, 0))
		w.reopen()
		w.put(del("a"))
		w.reopen()
		second := w.one("a")
		check(w, "first of the second", second.First, first.Token)
		check(w, "a name that lasts", second.Queue != "" && second.Queue == first.Queue, true)
		w.put(upl("a", "2"))
		w.settle(protocol.Superseded, protocol.Result{Delivery: second})
		third := w.one("a")
		check(w, "first of the third", third.First, third.Token)
	},
	"waits for the first only": func(w *world) {
		w.real()
		go func() { _ = w.q.Put(w.ctx, upl("a", "1")) }()
		got, err := w.q.Lease(w.ctx, bucket, 30, soon, 0)
		w.ok(err)
		check(w, "leased", fmt.Sprint(names(got)), "[upl a]")
	},
	"nothing in time is no error": func(w *world) {
		w.real()
		got, err := w.q.Lease(w.ctx, bucket, 1, 5*time.Millisecond, 0)
		w.ok(err)
		check(w, "leased", len(got), 0)
	},
	"its context ends the wait": func(w *world) {
		ctx, cancel := context.WithCancel(w.ctx)
		go cancel()
		_, err := w.q.Lease(ctx, bucket, 1, soon, 0)
		check(w, "error", errors.Is(err, context.Canceled), true)
	},
	"close ends the wait": func(w *world) {
		res := make(chan error)
		go func() {
			_, err := w.q.Lease(w.ctx, bucket, 1, soon, 0)
			res <- err
		}()
		w.ok(w.q.Close())
		check(w, "error", errors.Is(<-res, queue.ErrClosed), true)
		w.open()
	},
	"wakes when something becomes due": func(w *world) {
		w.real()
		due := time.Now().Add(30 * time.Millisecond)
		w.put(at(upl("a", "1"), due), at(upl("b", "1"), time.Now().Add(time.Hour)))
		got, err := w.q.Lease(w.ctx, bucket, 2, soon, 0)
		w.ok(err)
		check(w, "leased", fmt.Sprint(names(got)), "[upl a]")
		check(w, "not early", !time.Now().Before(due), true)
	},
	"wakes for what comes with an earlier time": func(w *world) {
		w.real()
		w.put(at(upl("a", "1"), time.Now().Add(time.Hour)))
		go func() { _ = w.q.Put(w.ctx, at(upl("b", "1"), time.Now().Add(20*time.Millisecond))) }()
		got, err := w.q.Lease(w.ctx, bucket, 2, soon, 0)
		w.ok(err)
		check(w, "leased", fmt.Sprint(names(got)), "[upl b]")
	},
	"many waiters get one each": func(w *world) {
		w.real()
		const many = 150
		var wg sync.WaitGroup
		var got atomic.Int64
		for range many {
			wg.Go(func() {
				ds, err := w.q.Lease(w.ctx, bucket, 1, soon, 0)
				if err != nil || len(ds) != 1 {
					w.Errorf("leased %v, %v", names(ds), err)
				}
				got.Add(int64(len(ds)))
			})
		}
		for i := range many {
			it := upl(fmt.Sprint("a", i), "1")
			if i%3 == 0 {
				it.NotBefore = time.Now().Add(time.Duration(i%20) * time.Millisecond)
			}
			w.put(it)
		}
		wg.Wait()
		check(w, "leased", got.Load(), many)
	},
	"a waiter that leaves passes its turn on": func(w *world) {
		w.real()
		for range 15 {
			ctx, cancel := context.WithCancel(w.ctx)
			var wg sync.WaitGroup
			wg.Go(func() {
				ds, _ := w.q.Lease(ctx, bucket, 1, soon, 0)
				w.done(ds...)
			})
			wg.Go(cancel)
			w.put(upl("a", "1"))
			wg.Wait()
			ds, err := w.q.Lease(w.ctx, bucket, 1, soon/100, 0)
			w.ok(err)
			w.done(ds...)
			w.gone("a")
		}
	},
	"who takes what is due leaves what becomes due to another": func(w *world) {
		w.real()
		for range 30 {
			var wg sync.WaitGroup
			var got atomic.Int64
			ctx, all := context.WithCancel(w.ctx)
			began := time.Now()
			for range 3 {
				wg.Go(func() {
					ds, err := w.q.Lease(ctx, bucket, 2, soon, 0) // on a busy machine two may be due at once
					if err != nil && got.Load() < 3 {
						w.Errorf("leased %v, %v", names(ds), err)
					}
					w.done(ds...)
					if got.Add(int64(len(ds))) == 3 {
						all()
					}
				})
			}
			<-time.After(2 * time.Millisecond) // so that mostly all three wait already; the test holds if they do not
			w.put(upl("a", "1"), at(upl("b", "1"), time.Now().Add(5*time.Millisecond)), at(upl("c", "1"), time.Now().Add(50*time.Millisecond)))
			wg.Wait()
			all()
			if took := time.Since(began); took > soon/2 {
				w.Fatalf("what became due after some milliseconds was handed out after %v", took)
			}
		}
	},
	"live before backfill, eight to one": func(w *world) {
		for i := range 30 {
			w.put(backfill(upl(fmt.Sprintf("b%02d", i), "1")), upl(fmt.Sprintf("l%02d", i), "1"))
		}
		live, got := 0, append(w.lease(7), w.lease(11)...)
		for _, d := range got {
			if d.Class == protocol.Live {
				live++
			}
		}
		check(w, "live of 18", live, 16)
		check(w, "the rest", len(w.lease(100)), 42)
	},
	"buckets do not wait for one another": func(w *world) {
		for i := range 100 {
			w.put(upl(fmt.Sprint("a", i), "1"))
		}
		other := upl("z", "1")
		other.Bucket = "other"
		w.put(other)
		got, err := w.q.Lease(w.ctx, "other", 10, 0, 0)
		w.ok(err)
		check(w, "leased", len(got), 1)
		check(w, "bucket", got[0].Bucket, "other")
		check(w, "left", w.q.Stats().Buckets[bucket].Ready, 100)
	},
	"over opening again the hand is lost and said so": func(w *world) {
		w.put(upl("a", "1"), upl("b", "1"))
		ds := w.leases("a", "b")
		check(w, "again", ds[0].Again, false)
		w.put(upl("b", "2"))
		w.reopen()
		got := w.leases("a", "b")
		check(w, "again", got[0].Again && got[1].Again, true)
		check(w, "the newest wish", got[1].Source, "/src/2")
		w.settle(protocol.LeaseLost, protocol.Result{Delivery: ds[0]})
		w.done(got...)
	},
	"again lasts until it is done": func(w *world) {
		w.put(upl("a", "1"))
		w.one("a")
		w.reopen()
		d := w.one("a")
		w.settle(protocol.Requeued, failure(d, 0))
		check(w, "again", w.one("a").Again, true)
	},
	"a lease with an end lives over opening again": func(w *world) {
		w.put(upl("a", "1"))
		d := w.hold(1, time.Minute)[0]
		w.reopen()
		w.nothingDue()
		w.done(d)
	},
	"a lease ends": func(w *world) {
		w.put(upl("a", "1"))
		d := w.hold(1, time.Minute)[0]
		w.clk.add(59 * time.Second)
		w.nothingDue()
		w.clk.add(time.Second)
		again := w.one("a")
		check(w, "again", again.Again, true)
		check(w, "attempt", again.Attempt, 1)
		w.settle(protocol.LeaseLost, protocol.Result{Delivery: d})
		w.done(again)
	},
	"a lease that ended but was not taken back counts": func(w *world) {
		w.put(upl("a", "1"))
		d := w.hold(1, time.Minute)[0]
		w.clk.add(time.Hour)
		w.done(d)
	},
	"a lease that ends gives way to a newer wish": func(w *world) {
		w.put(upl("a", "1"))
		w.hold(1, time.Minute)
		w.put(del("a"))
		w.clk.add(time.Minute)
		d := w.one("a")
		check(w, "verb", d.Verb, protocol.Del)
		check(w, "again", d.Again, true)
	},
	"run takes leases back": func(w *world) {
		w.real()
		ctx, cancel := context.WithCancel(w.ctx)
		ran := make(chan error)
		go func() { ran <- w.q.Run(ctx) }()
		w.put(upl("a", "1"))
		w.hold(1, 10*time.Millisecond)
		got, err := w.q.Lease(w.ctx, bucket, 1, soon, 0)
		w.ok(err)
		check(w, "leased", fmt.Sprint(names(got)), "[upl a]")
		cancel()
		w.ok(<-ran)
	},
	"what the ledger knows": func(w *world) {
		e := &protocol.Entry{Bucket: bucket, Key: "a", Verb: protocol.Upl, ETag: "old"}
		w.ok(w.q.Adopt(w.ctx, e))
		w.put(upl("a", "1"), upl("b", "1"))
		ds := w.leases("a", "b")
		check(w, "known", *ds[0].Known, *e)
		check(w, "unknown", ds[1].Known == nil, true)
	},
	"pop is for good": func(w *world) {
		w.put(upl("a", "1"), del("b"))
		got, err := w.q.Pop(w.ctx, bucket, 30, 0)
		w.ok(err)
		check(w, "popped", len(got), 2)
		check(w, "instruction", got[0], upl("a", "1").Instruction)
		w.reopen()
		w.nothingDue()
		w.gone("a")
	},
	"pop waits for the first only": func(w *world) {
		w.real()
		got, err := w.q.Pop(w.ctx, bucket, 30, time.Millisecond)
		w.ok(err)
		check(w, "popped", len(got), 0)
		go func() { _ = w.q.Put(w.ctx, upl("a", "1")) }()
		got, err = w.q.Pop(w.ctx, bucket, 30, soon)
		w.ok(err)
		check(w, "popped", len(got), 1)
	},
	"pop wakes what waited": func(w *world) {
		w.put(upl("a", "1"), cpo("a", "b"))
		for _, want := range []string{"a", "b"} {
			got, err := w.q.Pop(w.ctx, bucket, 30, 0)
			w.ok(err)
			check(w, "popped", len(got), 1)
			check(w, "key", string(got[0].Key), want)
		}
	},
}
