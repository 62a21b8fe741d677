package queuetest

import (
	"strings"
	"time"
	"unicode/utf8"

	"s3apu/protocol"
	"s3apu/queue"
)

var settleTests = map[string]func(w *world){
	"done writes the ledger": func(w *world) {
		w.put(upl("a", "1"))
		e := &protocol.Entry{Bucket: bucket, Key: "a", Verb: protocol.Upl, Source: "/src/1", ETag: "e1", Put: 7}
		w.settle(protocol.Done, protocol.Result{Delivery: w.one("a"), Entry: e})
		w.gone("a")
		w.reopen()
		w.gone("a")
		got, err := w.q.Entry(id("a"))
		w.ok(err)
		check(w, "entry", *got, *e)
	},
	"done without an entry removes the row, keep leaves it": func(w *world) {
		for _, k := range []string{"a", "b"} {
			w.ok(w.q.Adopt(w.ctx, &protocol.Entry{Bucket: bucket, Key: protocol.Key(k), ETag: "x"}))
		}
		w.put(del("a"), upl("b", "1"))
		ds := w.leases("a", "b")
		w.settle(protocol.Done, protocol.Result{Delivery: ds[0]})
		w.settle(protocol.Done, protocol.Result{Delivery: ds[1], Keep: true})
		a, err := w.q.Entry(id("a"))
		w.ok(err)
		b, err := w.q.Entry(id("b"))
		w.ok(err)
		check(w, "rows", a == nil && b != nil, true)
	},
	"superseded still writes the ledger": func(w *world) {
		w.put(upl("a", "1"))
		d := w.one("a")
		w.put(upl("a", "2"))
		w.settle(protocol.Superseded, protocol.Result{Delivery: d,
			Entry: &protocol.Entry{Bucket: bucket, Key: "a", ETag: "e1"}})
		check(w, "known", w.one("a").Known.ETag, "e1")
	},
	"a failure comes again after its delay": func(w *world) {
		w.put(upl("a", "1"))
		w.settle(protocol.Requeued, failure(w.one("a"), time.Minute))
		r := w.state("a", queue.Ready)
		check(w, "attempts", r.Attempts, 1)
		check(w, "next", r.Next, w.clk.now().Add(time.Minute))
		check(w, "reason", r.Reason, "test: transient")
		w.nothingDue()
		w.reopen()
		w.nothingDue()
		w.clk.add(time.Minute)
		check(w, "attempt", w.one("a").Attempt, 2)
	},
	"uncounted is not counted": func(w *world) {
		w.put(upl("a", "1"))
		r := failure(w.one("a"), 0)
		r.Uncounted = true
		w.settle(protocol.Requeued, r)
		check(w, "attempt", w.one("a").Attempt, 1)
	},
	"a failure does not hold others up": func(w *world) {
		w.put(upl("a", "1"), upl("b", "1"))
		ds := w.leases("a", "b")
		w.settle(protocol.Requeued, failure(ds[0], time.Hour))
		w.done(ds[1])
		w.put(upl("c", "1"))
		w.one("c")
	},
	"what waited is not behind all that came later": func(w *world) {
		w.put(upl("a", "1"))
		w.settle(protocol.Requeued, failure(w.one("a"), time.Second))
		w.clk.add(2 * time.Second)
		w.put(upl("b", "1"))
		check(w, "first", w.lease(1)[0].Key, "a")
	},
	"a newer wish on a failure keeps the delay": func(w *world) {
		w.put(upl("a", "1"))
		d := w.one("a")
		w.put(upl("a", "2"))
		w.settle(protocol.Superseded, failure(d, time.Minute))
		w.nothingDue()
		w.clk.add(time.Minute)
		check(w, "source", w.one("a").Source, "/src/2")
	},
	"dead is listed and never handed out": func(w *world) {
		w.put(upl("a", "1"))
		r := failure(w.one("a"), 0)
		r.Dead = true
		w.settle(protocol.Buried, r)
		w.clk.add(1000 * time.Hour)
		w.nothingDue()
		w.state("a", queue.Dead)
		check(w, "dead", w.q.Stats().Dead, 1)
		check(w, "qsize", w.q.Info().QSize, 0)
	},
	"dead with a newer wish is superseded": func(w *world) {
		w.put(upl("a", "1"))
		d := w.one("a")
		w.put(upl("a", "2"))
		r := failure(d, 0)
		r.Dead = true
		w.settle(protocol.Superseded, r)
		check(w, "source", w.one("a").Source, "/src/2")
	},
	"an item's failures are final after max retries": func(w *world) {
		w.opt.MaxRetries = 3
		w.reopen()
		w.put(upl("a", "1"), upl("b", "1"))
		for i := range 5 {
			for _, d := range w.lease(2) {
				r, want := failure(d, 0), protocol.Requeued
				if d.Key == "a" {
					r.Err.Kind = protocol.KindItem
					if i == 2 {
						want = protocol.Buried
					}
				}
				w.settle(want, r)
			}
		}
		w.state("a", queue.Dead)
		check(w, "attempts of the other", w.state("b", queue.Ready).Attempts, 5)
	},
	"a wrong token changes nothing": func(w *world) {
		w.put(upl("a", "1"))
		d := w.one("a")
		wrong := d
		wrong.Token++
		w.settle(protocol.LeaseLost, protocol.Result{Delivery: wrong, Entry: &protocol.Entry{Bucket: bucket, Key: "a"}})
		e, err := w.q.Entry(id("a"))
		w.ok(err)
		check(w, "no row", e == nil, true)
		w.done(d)
		w.settle(protocol.LeaseLost, protocol.Result{Delivery: d})
	},
	"a token alone is enough": func(w *world) {
		w.put(upl("a", "1"))
		d := w.one("a")
		w.done(protocol.Delivery{Instruction: protocol.Instruction{Bucket: bucket, Key: "a"}, Token: d.Token, Gen: d.Gen})
	},
	"a slice is one commit with an outcome each": func(w *world) {
		w.put(upl("a", "1"), upl("b", "1"), upl("c", "1"))
		ds := w.leases("a", "b", "c")
		w.put(upl("c", "2"))
		got, err := w.q.Settle(w.ctx, []protocol.Result{
			{Delivery: ds[0]}, failure(ds[1], 0), {Delivery: ds[2]}, {Delivery: ds[0]},
		})
		w.ok(err)
		want := []protocol.Outcome{protocol.Done, protocol.Requeued, protocol.Superseded, protocol.LeaseLost}
		for i := range want {
			check(w, "outcome", got[i], want[i])
		}
	},
	"a long reason is cut, a bad one mended": func(w *world) {
		w.put(upl("a", "1"))
		r := failure(w.one("a"), 0)
		r.Err.Op = strings.Repeat("é\xff", 5000)
		w.settle(protocol.Requeued, r)
		got := w.pending("a").Reason
		check(w, "short", len(got) < 3000, true)
		check(w, "UTF-8", utf8.ValidString(got), true)
	},
}
