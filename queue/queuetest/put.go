package queuetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"s3apu/protocol"
	"s3apu/queue"
)

var putTests = map[string]func(w *world){
	"is there after opening again": func(w *world) {
		w.put(upl("a", "1"), mkd("b/"), del("c"), cpo("x", "d"))
		w.reopen()
		got := w.leases("a", "b/", "c", "d")
		check(w, "instruction", got[0].Instruction, upl("a", "1").Instruction)
		check(w, "instruction", got[3].Instruction, cpo("x", "d").Instruction)
	},
	"the newest wish wins": func(w *world) {
		w.put(upl("a", "1"))
		first := w.pending("a").Gen
		w.put(upl("a", "2"), upl("a", "3"))
		d := w.one("a")
		check(w, "source", d.Source, "/src/3")
		check(w, "a newer gen", d.Gen > first, true)
		check(w, "one record", w.q.Stats().Pending(), 1)
	},
	"a newer wish keeps the place in line": func(w *world) {
		w.put(upl("a", "1"))
		since := w.pending("a").Since
		w.clk.add(time.Minute)
		w.put(upl("b", "1"))
		w.put(upl("a", "2"))
		check(w, "since", w.pending("a").Since, since)
		check(w, "first in line", w.lease(1)[0].Key, "a")
	},
	"another verb wins as well": func(w *world) {
		w.put(upl("a", "1"), del("a"))
		check(w, "verb", w.one("a").Verb, protocol.Del)
	},
	"on a leased key the hand is left alone": func(w *world) {
		w.put(upl("a", "1"))
		d := w.one("a")
		w.put(upl("a", "2"), upl("a", "3"))
		check(w, "gen", w.pending("a").Gen, d.Gen)
		check(w, "further", w.pending("a").Further, 1)
		w.nothingDue()
		w.settle(protocol.Superseded, protocol.Result{Delivery: d})
		again := w.one("a")
		check(w, "source", again.Source, "/src/3")
		check(w, "a newer gen", again.Gen > d.Gen, true)
		check(w, "attempt", again.Attempt, 1)
		w.done(again)
		w.gone("a")
	},
	"a live wish makes a backfill record live": func(w *world) {
		w.put(backfill(upl("a", "1")))
		w.put(hint(upl("a", "2")))
		check(w, "class", w.pending("a").Class, protocol.Live)
		w.put(backfill(upl("a", "3")))
		d := w.one("a")
		check(w, "class", d.Class, protocol.Live)
		check(w, "source", d.Source, "/src/3")
	},
	"an explicit wish stays explicit": func(w *world) {
		w.put(upl("a", "1"))
		w.put(hint(upl("a", "2")))
		check(w, "hint", w.pending("a").Hint, false)
		w.put(hint(upl("b", "1")))
		w.put(upl("b", "2"))
		check(w, "hint", w.pending("b").Hint, false)
		w.put(del("c"))
		w.put(hint(upl("c", "1")))
		check(w, "hint after another verb", w.pending("c").Hint, true)
	},
	"a guest stays with its wish": func(w *world) {
		w.put(guest(upl("a", "1")), upl("b", "1"))
		w.reopen()
		got := w.leases("a", "b")
		check(w, "guest", got[0].Guest, "1000:1000,4")
		check(w, "guest of another", got[1].Guest, "")
		w.settle(protocol.Requeued, failure(got[0], 0))
		check(w, "guest after a failure", w.one("a").Guest, "1000:1000,4")
	},
	"the newest wish says whose rights count": func(w *world) {
		w.put(guest(upl("a", "1")))
		w.put(hint(upl("a", "1")))
		check(w, "guest after our own wish", w.one("a").Guest, "")
		w.put(upl("b", "1"))
		w.put(guest(upl("b", "2")))
		check(w, "guest with another source", w.one("b").Guest, "1000:1000,4")
	},
	"a guest cannot stop what was wished for without it": func(w *world) {
		w.put(hint(upl("a", "1")))
		w.put(guest(upl("a", "1")))
		check(w, "guest", w.one("a").Guest, "")
	},
	"an explicit wish that was carried out does not mark the next": func(w *world) {
		w.put(upl("a", "1"))
		d := w.one("a")
		w.put(hint(upl("a", "2")))
		w.settle(protocol.Superseded, protocol.Result{Delivery: d})
		check(w, "hint", w.one("a").Hint, true)
	},
	"an explicit wish that failed marks the next": func(w *world) {
		w.put(upl("a", "1"))
		d := w.one("a")
		w.put(hint(upl("a", "2")))
		w.settle(protocol.Superseded, failure(d, 0))
		check(w, "hint", w.one("a").Hint, false)
	},
	"a new wish does not defeat the back-off": func(w *world) {
		w.put(upl("a", "1"))
		w.settle(protocol.Requeued, failure(w.one("a"), time.Minute))
		w.put(upl("a", "2"))
		w.nothingDue()
		w.clk.add(59 * time.Second)
		w.nothingDue()
		w.clk.add(time.Second)
		d := w.one("a")
		check(w, "source", d.Source, "/src/2")
		check(w, "attempt", d.Attempt, 2)
	},
	"a new wish revives a dead key": func(w *world) {
		w.put(upl("a", "1"))
		d := w.one("a")
		r := failure(d, time.Hour)
		r.Dead = true
		w.settle(protocol.Buried, r)
		w.put(upl("a", "2"))
		d = w.one("a")
		check(w, "attempt", d.Attempt, 1)
		check(w, "source", d.Source, "/src/2")
		w.done(d)
		check(w, "dead", w.q.Stats().Dead, 0)
	},
	"not before": func(w *world) {
		w.put(at(upl("a", "1"), w.clk.now().Add(10*time.Second)), upl("b", "1"))
		w.one("b")
		w.clk.add(9 * time.Second)
		w.nothingDue()
		w.clk.add(time.Second)
		w.one("a")
	},
	"a wish for now ends a waiting time that no failure caused": func(w *world) {
		w.put(at(upl("a", "1"), w.clk.now().Add(time.Hour)))
		w.put(upl("a", "2"))
		w.one("a")
	},
	"an instruction that cannot be is refused with the whole call": func(w *world) {
		for _, bad := range []queue.Item{
			upl("", "1"), upl("/a", "1"), upl("a/", "1"), upl("a\x00", "1"), upl("a\xff", "1"),
			upl(strings.Repeat("k", 1025), "1"), upl("a/../b", "1"), item(protocol.Upl, "a", "relative"),
			item(protocol.Cpo, "a", "nothing"), item(protocol.Del, "a/", "/x"), item(9, "a", ""),
		} {
			w.refused(w.q.Put(w.ctx, upl("good", "1"), bad), protocol.KindItem)
		}
		check(w, "taken", w.q.Stats().Pending(), 0)
	},
	"odd but legal keys": func(w *world) {
		keys := []string{" ", "é日本", "a b", "a|b;c%d#e?f+g&h\ni", strings.Repeat("k", 1024), "\x01", "a//b", "\U0010ffff"}
		for _, k := range keys {
			w.put(upl(k, "1"))
		}
		w.reopen()
		w.done(w.leases(keys...)...)
		check(w, "left", w.q.Stats().Pending(), 0)
	},
	"nothing is nothing": func(w *world) { w.put() },
	"backfill waits while there is much of it": func(w *world) {
		w.opt.MaxBackfill = 10
		w.reopen()
		for i := range 11 {
			w.put(backfill(upl(fmt.Sprint("a", i), "1")))
		}
		ctx, cancel := context.WithTimeout(w.ctx, 20*time.Millisecond)
		defer cancel()
		err := w.q.Put(ctx, backfill(upl("b", "1")))
		check(w, "waited until its context ended", errors.Is(err, context.DeadlineExceeded), true)
		w.put(upl("live", "1")) // does not wait
		arrived := make(chan error)
		go func() { arrived <- w.q.Put(w.ctx, backfill(upl("b", "1"))) }()
		for range 2 {
			ds := w.lease(1)
			w.done(ds...)
		}
		w.ok(<-arrived)
		w.state("b", queue.Ready)
	},
	"backfill is there after opening again": func(w *world) {
		for i := range 100 {
			w.put(backfill(upl(fmt.Sprint("a", i), "1"))) // none of them waits for an fsync
		}
		w.reopen()
		check(w, "backfill", w.q.Stats().Backfill, 100)
	},
	"a held delete does not hold back one that waits": func(w *world) {
		w.put(del("a"))
		w.put(held(del("a")))
		w.state("a", queue.Ready)
	},
	"a hint does not free a held delete, an explicit one does": func(w *world) {
		w.put(held(del("a")))
		w.put(hint(del("a")))
		w.state("a", queue.Held)
		w.put(del("a"))
		w.one("a")
	},
	"an upload replaces a held delete": func(w *world) {
		w.put(held(del("a")))
		w.put(hint(upl("a", "1")))
		check(w, "verb", w.one("a").Verb, protocol.Upl)
	},
	"a held delete replaces an upload": func(w *world) {
		w.put(upl("a", "1"))
		w.put(held(del("a")))
		w.state("a", queue.Held)
		w.nothingDue()
	},
	"a held delete behind a hand is held when the hand is done": func(w *world) {
		w.put(upl("a", "1"))
		d := w.one("a")
		w.put(held(del("a")))
		w.settle(protocol.Superseded, protocol.Result{Delivery: d})
		w.state("a", queue.Held)
	},
	"after close": func(w *world) {
		w.ok(w.q.Close())
		w.ok(w.q.Close())
		err := w.q.Put(w.ctx, upl("a", "1"))
		check(w, "closed", errors.Is(err, queue.ErrClosed), true)
		w.open()
	},
}
