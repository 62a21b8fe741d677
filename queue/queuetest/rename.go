package queuetest

import (
	"fmt"
	"time"

	"s3apu/protocol"
	"s3apu/queue"
)

// renamed is what a feeder puts when the file a is called b: the new name with the old one's object to begin with, then
// the delete of that.
func renamed() []queue.Item { return []queue.Item{moved("a", "b"), gone()} }

func moved(from, to string) queue.Item {
	it := hint(upl(to, to))
	it.From = "/" + bucket + "/" + from
	return it
}

func gone() queue.Item {
	it := hint(del("a"))
	it.Renamed = true
	return it
}

// made puts a row into the ledger that was made from a file.
func (w *world) made(key string, dev, ino uint64) {
	w.Helper()
	e := row(key)
	e.Dev, e.Ino = dev, ino
	w.ok(w.q.Adopt(w.ctx, e))
}

// madeFrom checks which row is found by a file; "" for none.
func (w *world) madeFrom(dev, ino uint64, want string) {
	w.Helper()
	e, err := w.q.MadeFrom(bucket, dev, ino)
	w.ok(err)
	got := ""
	if e != nil {
		got = string(e.Key)
	}
	check(w, fmt.Sprintf("the row of device %d, inode %d", dev, ino), got, want)
}

var renameTests = map[string]func(w *world){
	"rows are found by their file": func(w *world) {
		w.made("a", 1, 2)
		w.made("b", 1, 3)
		w.made("c", 0, 0)
		w.reopen()
		w.madeFrom(1, 2, "a")
		w.madeFrom(1, 3, "b")
		w.madeFrom(2, 2, "")
		w.madeFrom(0, 0, "")
		w.made("a", 1, 9) // another file under the same name
		w.madeFrom(1, 2, "")
		w.madeFrom(1, 9, "a")
		w.ok(w.q.Forget(w.ctx, id("a"), id("b")))
		w.madeFrom(1, 9, "")
		w.madeFrom(1, 3, "")
	},
	"of two names the row written last is found": func(w *world) {
		w.made("a", 1, 2)
		w.made("b", 1, 2)
		w.ok(w.q.Forget(w.ctx, id("a")))
		w.madeFrom(1, 2, "b")
	},
	"a settled upload and delete keep the index": func(w *world) {
		w.put(upl("a", "1"))
		d := w.one("a")
		e := row("a")
		e.Dev, e.Ino = 7, 8
		w.settle(protocol.Done, protocol.Result{Delivery: d, Entry: e})
		w.madeFrom(7, 8, "a")
		w.put(del("a"))
		w.done(w.one("a"))
		w.madeFrom(7, 8, "")
	},
	"the origin comes with its row": func(w *world) {
		w.made("a", 1, 2)
		w.put(moved("a", "b"))
		d := w.one("b")
		check(w, "from", d.From, "/bucket/a")
		if d.Origin == nil || d.Origin.Key != "a" || d.Origin.Ino != 2 {
			w.Fatalf("origin %+v", d.Origin)
		}
	},
	"the old name waits for the new one": func(w *world) {
		w.put(renamed()...)
		w.reopen()
		w.state("a", queue.Blocked)
		w.done(w.one("b"))
		w.done(w.one("a"))
	},
	"through failures": func(w *world) {
		w.put(renamed()...)
		for range 3 {
			w.settle(protocol.Requeued, failure(w.one("b"), time.Minute))
			w.reopen()
			w.nothingDue()
			w.clk.add(time.Minute)
		}
		w.done(w.one("b"))
		w.done(w.one("a"))
	},
	"through a newer wish for the new name": func(w *world) {
		w.put(renamed()...)
		w.put(hint(upl("b", "b")))
		w.state("a", queue.Blocked)
		d := w.one("b")
		check(w, "from", d.From, "/bucket/a")
		w.put(hint(upl("b", "b"))) // while it is in a hand, which then fails
		w.settle(protocol.Superseded, failure(d, 0))
		w.state("a", queue.Blocked)
		d = w.one("b")
		check(w, "from", d.From, "/bucket/a")
		w.done(d)
		w.done(w.one("a"))
	},
	"another file under the new name frees the old one": func(w *world) {
		w.put(renamed()...)
		w.put(upl("b", "other"))
		w.done(w.leases("a", "b")...)
	},
	"a new name that goes frees the old one": func(w *world) {
		w.put(renamed()...)
		w.put(hint(del("b")))
		w.done(w.leases("a", "b")...)
	},
	"a chain before anything was done": func(w *world) {
		w.put(renamed()...)
		w.put(moved("a", "c"), gone(), hint(del("b")))
		d := w.leases("b", "c")
		check(w, "from", d[1].From, "/bucket/a")
		w.state("a", queue.Blocked)
		w.done(d...)
		w.done(w.one("a"))
	},
	"a swap": func(w *world) {
		w.put(moved("a", "b"), moved("b", "a"))
		w.done(w.one("b"))
		w.done(w.one("a"))
	},
	"a new file under the old name waits for the copy": func(w *world) {
		w.put(renamed()...)
		w.put(hint(upl("a", "new")))
		d := w.one("b")
		w.nothingDue()
		w.done(d)
		check(w, "verb", w.one("a").Verb, protocol.Upl)
	},
	"what waits for a while is claimed": func(w *world) {
		w.put(at(hint(del("a")), w.clk.now().Add(2*time.Second)))
		w.put(renamed()...)
		w.done(w.one("b"))
		w.done(w.one("a"))
	},
	"a held delete goes when its file is found": func(w *world) {
		w.put(held(del("a")))
		w.put(renamed()...)
		w.done(w.one("b"))
		w.done(w.one("a"))
	},
	"a renamed one may be held too": func(w *world) {
		it := gone()
		it.Held = true
		w.put(moved("a", "b"), it)
		w.state("a", queue.Held)
		w.done(w.one("b"))
	},
	"a new name that is given up keeps the old object": func(w *world) {
		w.put(renamed()...)
		r := failure(w.one("b"), 0)
		r.Dead = true
		w.settle(protocol.Buried, r)
		w.state("a", queue.Held)
		w.reopen()
		w.nothingDue()
		w.put(renamed()...) // it is tried again, and this time it goes
		w.done(w.one("b"))
		w.done(w.one("a"))
	},
	"a new name that is listed as impossible keeps the old object": func(w *world) {
		w.put(renamed()...)
		w.ok(w.q.Fail(w.ctx, hint(upl("b", "b")), impossible))
		w.state("a", queue.Held)
		w.nothingDue()
	},
	"an explicit delete of the old name goes all the same": func(w *world) {
		w.put(moved("a", "b"), del("a"))
		r := failure(w.one("b"), 0)
		r.Dead = true
		w.settle(protocol.Buried, r)
		w.done(w.one("a"))
	},
	"the delete of a file that was another one is taken back": func(w *world) {
		w.made("a", 1, 2)
		w.put(renamed()...)
		w.settle(protocol.Done, protocol.Result{Delivery: w.one("b"), Entry: row("b"), Origin: protocol.OriginApart})
		w.nothingDue()
		w.madeFrom(1, 2, "a")
		w.put(hint(del("a"))) // it is judged anew
		w.done(w.one("a"))
	},
	"but not one that waits for a person": func(w *world) {
		w.put(held(del("a")), moved("a", "b"))
		w.settle(protocol.Done, protocol.Result{Delivery: w.one("b"), Entry: row("b"), Origin: protocol.OriginApart})
		w.state("a", queue.Held)
	},
	"nor one that a client wants, nor a newer upload": func(w *world) {
		w.put(moved("a", "b"), del("a"), moved("c", "d"), hint(del("c")), hint(upl("c", "c")))
		for _, d := range w.leases("b", "d") {
			w.settle(protocol.Done, protocol.Result{Delivery: d, Entry: row(string(d.Key)), Origin: protocol.OriginApart})
		}
		w.done(w.leases("a", "c")...)
	},
	"who needs the room goes on when it is taken back": func(w *world) {
		w.put(moved("a", "b"), gone(), hint(upl("a/x", "x")))
		w.state("a/x", queue.Blocked)
		w.settle(protocol.Done, protocol.Result{Delivery: w.one("b"), Entry: row("b"), Origin: protocol.OriginApart})
		w.done(w.one("a/x"))
	},
	"an old object that somebody else wrote is not ours": func(w *world) {
		w.made("a", 1, 2)
		w.made("c", 1, 3)
		w.put(moved("a", "b"), gone(), moved("c", "d"), held(del("c")))
		for _, d := range w.leases("b", "d") {
			w.settle(protocol.Done, protocol.Result{Delivery: d, Entry: row(string(d.Key)), Origin: protocol.OriginForeign})
		}
		w.nothingDue()
		w.gone("c")
		w.madeFrom(1, 2, "")
		w.madeFrom(1, 3, "")
	},
	"only an upload has an origin": func(w *world) {
		for _, it := range []queue.Item{mkd("b/"), del("b"), cpo("a", "b")} {
			it.From = "/bucket/a"
			w.refused(w.q.Put(w.ctx, it), protocol.KindItem)
		}
		it := upl("b", "1")
		it.From = "no object"
		w.refused(w.q.Put(w.ctx, it), protocol.KindItem)
	},
}
