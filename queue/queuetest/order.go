package queuetest

import (
	"fmt"
	"time"

	"s3apu/protocol"
	"s3apu/queue"
)

var orderTests = map[string]func(w *world){
	"upl a, cpo a→b, del a": func(w *world) {
		w.put(upl("a", "1"))
		w.put(cpo("a", "b"))
		w.put(del("a"))
		d := w.one("a")
		check(w, "verb", d.Verb, protocol.Upl)
		w.settle(protocol.Superseded, protocol.Result{Delivery: d})
		w.done(w.one("b"))
		d = w.one("a")
		check(w, "verb", d.Verb, protocol.Del)
		w.done(d)
	},
	"upl a, cpo a→b, upl a, cpo a→c, del a": func(w *world) {
		w.put(upl("a", "1"), cpo("a", "b"), upl("a", "2"), cpo("a", "c"), del("a"))
		w.reopen()
		for _, want := range []struct{ key, source string }{
			{"a", "/src/1"}, {"b", "/bucket/a"}, {"a", "/src/2"}, {"c", "/bucket/a"}, {"a", ""},
		} {
			d := w.one(want.key)
			check(w, "source", d.Source, want.source)
			if _, err := w.q.Settle(w.ctx, []protocol.Result{{Delivery: d}}); err != nil {
				w.Fatal(err)
			}
		}
		w.gone("a")
	},
	"wishes between which no copy stands are one": func(w *world) {
		w.put(upl("a", "1"), cpo("a", "b"), upl("a", "2"), upl("a", "3"), del("a"), upl("a", "4"))
		check(w, "further", w.pending("a").Further, 1)
		w.settle(protocol.Superseded, protocol.Result{Delivery: w.one("a")})
		w.done(w.one("b"))
		check(w, "source", w.one("a").Source, "/src/4")
	},
	"a write waits for all earlier copies": func(w *world) {
		w.put(cpo("a", "b"), cpo("a", "c"), cpo("a", "d"))
		w.put(upl("a", "1"))
		ds := w.leases("b", "c", "d")
		for _, d := range ds {
			w.state("a", queue.Blocked)
			w.done(d)
		}
		w.one("a")
	},
	"every kind of write waits for a copy": func(w *world) {
		for i, it := range []queue.Item{upl("a", "1"), mkd("a"), del("a"), cpo("x", "a")} {
			to := fmt.Sprint("b", i)
			w.put(cpo("a", to))
			w.put(it)
			w.done(w.one(to))
			w.done(w.one("a"))
		}
	},
	"a copy that was asked for later does not hold up a write": func(w *world) {
		w.put(upl("a", "1"))
		w.put(cpo("a", "b"))
		w.done(w.one("a"))
		w.done(w.one("b"))
	},
	"a copy waits for every kind of earlier write of its source": func(w *world) {
		for i, it := range []queue.Item{upl("a", "1"), mkd("a"), del("a"), cpo("x", "a")} {
			to := fmt.Sprint("b", i)
			w.put(it)
			w.put(cpo("a", to))
			w.state(to, queue.Blocked)
			check(w, "blocker", w.pending(to).Blocker, id("a"))
			w.done(w.one("a"))
			w.done(w.one(to))
		}
	},
	"a chain of copies": func(w *world) {
		w.put(upl("a", "1"), cpo("a", "b"), cpo("b", "c"), cpo("c", "d"))
		for _, k := range []string{"a", "b", "c", "d"} {
			w.done(w.one(k))
		}
	},
	"copies in a circle": func(w *world) {
		w.put(cpo("a", "b"), cpo("b", "c"), cpo("c", "a"))
		for _, k := range []string{"b", "c", "a"} {
			w.done(w.one(k))
		}
	},
	"a copy onto itself waits for what it reads": func(w *world) {
		w.put(upl("a", "1"), cpo("a", "a"), upl("b", "1"))
		ds := w.leases("a", "b")
		check(w, "verb", ds[0].Verb, protocol.Upl)
		w.settle(protocol.Superseded, protocol.Result{Delivery: ds[0]})
		d := w.one("a")
		check(w, "verb", d.Verb, protocol.Cpo)
		w.done(d)
	},
	"a copy from another bucket of ours": func(w *world) {
		up := upl("a", "1")
		up.Bucket = "other"
		w.put(up, item(protocol.Cpo, "b", "/other/a"))
		w.nothingDue()
		ds, err := w.q.Lease(w.ctx, "other", 1, 0, 0)
		w.ok(err)
		w.done(ds...)
		w.done(w.one("b"))
	},
	"a copy waits for a write in a hand": func(w *world) {
		w.put(upl("a", "1"))
		d := w.one("a")
		w.put(cpo("a", "b"))
		w.nothingDue()
		w.done(d)
		w.done(w.one("b"))
	},
	"a write waits for a copy in a hand": func(w *world) {
		w.put(cpo("a", "b"))
		d := w.one("b")
		w.put(del("a"))
		w.nothingDue()
		w.done(d)
		w.done(w.one("a"))
	},
	"a copy that fails is still waited for": func(w *world) {
		w.put(cpo("a", "b"), del("a"))
		w.settle(protocol.Requeued, failure(w.one("b"), time.Minute))
		w.nothingDue()
		w.clk.add(time.Minute)
		w.done(w.one("b"))
		w.done(w.one("a"))
	},
	"a wish that a copy needs is not given up for a newer one": func(w *world) {
		w.put(upl("a", "1"), cpo("a", "b"), del("a"))
		w.settle(protocol.Requeued, failure(w.one("a"), 0))
		d := w.one("a")
		check(w, "verb", d.Verb, protocol.Upl)
		w.settle(protocol.Superseded, protocol.Result{Delivery: d})
		w.done(w.one("b"))
		w.done(w.one("a"))
	},
	"a lost hand on a wish that a copy needs": func(w *world) {
		w.put(upl("a", "1"), cpo("a", "b"), del("a"))
		w.one("a")
		w.reopen()
		d := w.one("a")
		check(w, "verb", d.Verb, protocol.Upl)
		check(w, "again", d.Again, true)
	},
	"dead copies block nobody": func(w *world) {
		w.put(cpo("a", "b"), del("a"))
		r := failure(w.one("b"), 0)
		r.Dead = true
		w.settle(protocol.Buried, r)
		w.done(w.one("a"))
	},
	"dead writes block nobody": func(w *world) {
		w.put(upl("a", "1"), cpo("a", "b"))
		r := failure(w.one("a"), 0)
		r.Dead = true
		w.settle(protocol.Buried, r)
		w.done(w.one("b"))
	},
	"held deletes block nobody": func(w *world) {
		w.put(held(del("a")), cpo("a", "b"), upl("a/x", "1"))
		w.done(w.leases("b", "a/x")...)
	},
	"a copy that is replaced frees what waited": func(w *world) {
		w.put(cpo("a", "b"), del("a"))
		w.put(upl("b", "1"))
		w.done(w.leases("a", "b")...)
	},
	"a copy that is dropped frees what waited": func(w *world) {
		w.put(cpo("a", "b"), del("a"))
		w.state("a", queue.Blocked)
		w.put(held(del("b")))
		w.done(w.one("a"))
		n, err := w.q.Drop(w.ctx, []protocol.ObjectID{id("b")})
		w.ok(err)
		check(w, "dropped", n, 1)
	},
	"what is passed is forgotten, but for a copy that needs it": func(w *world) {
		passed := func(key string) protocol.Result {
			r := failure(w.one(key), time.Minute)
			r.Passed = true
			return r
		}
		w.put(upl("a", "1"))
		w.settle(protocol.Done, passed("a"))
		w.gone("a")
		w.put(upl("a", "1"), cpo("a", "b"))
		w.settle(protocol.Requeued, passed("a"))
		w.nothingDue()
		w.clk.add(time.Minute)
		w.done(w.one("a"))
		w.done(w.one("b"))
		w.put(cpo("a", "b"), upl("a", "2"))
		w.done(w.one("b"))
		r := passed("a")
		w.put(upl("a", "3"))
		w.settle(protocol.Superseded, r)
		d := w.one("a")
		check(w, "source", d.Source, "/src/3")
		w.done(d)
		w.reopen()
		w.gone("a")
	},
	"retried comes after all that is pending": func(w *world) {
		w.put(upl("a", "1"))
		r := failure(w.one("a"), 0)
		r.Dead = true
		w.settle(protocol.Buried, r)
		w.put(cpo("a", "b"))
		n, err := w.q.Retry(w.ctx, []protocol.ObjectID{id("a")})
		w.ok(err)
		check(w, "retried", n, 1)
		w.done(w.one("b"))
		w.done(w.one("a"))
	},
	"a file becomes a folder": func(w *world) {
		w.put(del("a"), mkd("a/"), upl("a/b", "1"), upl("a/b/c", "1"), cpo("x", "a/d"))
		w.done(w.one("a"))
		w.done(w.leases("a/", "a/b", "a/b/c", "a/d")...)
	},
	"a folder becomes a file": func(w *world) {
		w.put(del("a/b/c"), del("a/b/"), del("a/b"), del("a/"), del("a0"), del("a.b"))
		w.put(upl("a", "1"))
		for _, d := range w.leases("a/b/c", "a/b/", "a/b", "a/", "a0", "a.b") {
			if d.Key != "a0" && d.Key != "a.b" {
				w.state("a", queue.Blocked)
			}
			w.done(d)
		}
		w.done(w.one("a"))
	},
	"room that a copied object needs is made although its key is written again": func(w *world) {
		w.put(del("x"), upl("x/f", "1"), cpo("x/f", "b"), del("x/f"), upl("x", "2"))
		for _, key := range []string{"x", "x/f", "b", "x/f", "x"} {
			d := w.one(key)
			_, err := w.q.Settle(w.ctx, []protocol.Result{{Delivery: d}})
			w.ok(err)
		}
		w.gone("x")
	},
	"deletes that come and go do not pile up": func(w *world) {
		w.put(del("x"), upl("x/f", "1"), cpo("x/f", "b"), del("x/f"))
		for i := range 100 {
			w.put(upl("x", fmt.Sprint(i)), del("x"))
		}
		check(w, "further", w.pending("x").Further, 0)
	},
	"a delete waits for no name": func(w *world) {
		w.put(upl("a/b", "1"), del("a"), del("a/b/c"))
		check(w, "due", len(w.lease(10)), 3)
	},
	"a later delete holds up nothing": func(w *world) {
		w.put(upl("a", "1"), upl("b/c", "1"))
		w.put(del("a/x"), del("b"))
		check(w, "due", len(w.lease(10)), 4)
	},
	"a delete asked for again is still waited for": func(w *world) {
		w.put(del("a"), upl("a/b", "1"))
		w.put(del("a"))
		w.state("a/b", queue.Blocked)
		w.done(w.one("a"))
		w.done(w.one("a/b"))
	},
	"a delete that is replaced frees what waited": func(w *world) {
		w.put(del("a"), upl("a/b", "1"))
		w.put(mkd("a"))
		check(w, "due", len(w.lease(10)), 2)
	},
	"room below is made by many": func(w *world) {
		const many = 500
		items := make([]queue.Item, many)
		for i := range items {
			items[i] = del(fmt.Sprintf("a/%04d", (i*271)%many))
		}
		w.put(items...)
		w.put(upl("a", "1"))
		for left := many; left > 0; {
			ds := w.lease(37)
			for _, d := range ds {
				if d.Key == "a" {
					w.Fatalf("a came with %d deletes to go", left)
				}
			}
			left -= len(ds)
			w.done(ds...)
		}
		w.done(w.one("a"))
	},
	"many copies wait for one": func(w *world) {
		const many = 2500
		w.put(upl("a", "1"))
		items := make([]queue.Item, many)
		for i := range items {
			items[i] = cpo("a", fmt.Sprintf("b%04d", i))
		}
		w.put(items...)
		w.put(del("a"))
		w.settle(protocol.Superseded, protocol.Result{Delivery: w.one("a")})
		w.reopen()
		for got := 0; got < many; {
			ds := w.lease(many)
			if len(ds) == 0 {
				w.Fatalf("stuck after %d", got)
			}
			got += len(ds)
			results := make([]protocol.Result, len(ds))
			for i, d := range ds {
				if d.Key == "a" {
					w.Fatalf("a came after %d copies", got)
				}
				results[i].Delivery = d
			}
			_, err := w.q.Settle(w.ctx, results)
			w.ok(err)
		}
		w.done(w.one("a"))
	},
	"too many wishes behind one another are refused": func(w *world) {
		w.put(upl("a", "0"))
		for i := range 64 {
			w.put(cpo("a", fmt.Sprint("b", i)))
			w.put(upl("a", fmt.Sprint(i+1)))
		}
		w.put(cpo("a", "c"))
		w.refused(w.q.Put(w.ctx, upl("x", "1"), del("a")), protocol.KindTransient)
		w.gone("x")
		n := 0
		for ds := w.lease(10); len(ds) > 0; ds = w.lease(10) {
			for _, d := range ds {
				_, err := w.q.Settle(w.ctx, []protocol.Result{{Delivery: d}})
				w.ok(err)
				n++
			}
		}
		check(w, "carried out", n, 65+64+1)
		w.put(del("a"))
		w.done(w.one("a"))
	},
	"a record that waits keeps its place": func(w *world) {
		w.put(upl("a", "1"), cpo("a", "b"))
		w.clk.add(time.Second)
		w.put(upl("c", "1"))
		d := w.lease(1)[0]
		w.done(d)
		check(w, "next", w.lease(1)[0].Key, "b")
	},
	"a blocked record waits over opening again": func(w *world) {
		w.put(upl("a", "1"), cpo("a", "b"))
		w.reopen()
		w.done(w.one("a"))
		w.reopen()
		w.done(w.one("b"))
	},
}
