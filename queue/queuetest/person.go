package queuetest

import (
	"errors"
	"fmt"
	"time"

	"s3apu/protocol"
	"s3apu/queue"
)

// bury makes a key dead.
func (w *world) bury(key string) {
	w.Helper()
	w.put(upl(key, "1"))
	r := failure(w.one(key), 0)
	r.Dead = true
	w.settle(protocol.Buried, r)
}

var impossible = &protocol.Error{Op: "read", Object: `bad\xff`, Kind: protocol.KindItem, Err: errors.New("not UTF-8")}

var personTests = map[string]func(w *world){
	"failed lists the dead and the waiting, in order, in pages": func(w *world) {
		w.bury("c")
		w.bury("a")
		w.put(upl("b", "1"))
		w.settle(protocol.Requeued, failure(w.one("b"), time.Hour))
		w.put(upl("fine", "1"))
		w.reopen()
		var after protocol.ObjectID
		var got []string
		for {
			fs, err := w.q.Failed(w.ctx, after, 2)
			w.ok(err)
			if len(fs) == 0 {
				break
			}
			for _, f := range fs {
				got = append(got, fmt.Sprint(f.Key, " ", f.Dead, " ", f.Attempts, " ", f.Reason))
				check(w, "next", f.Next.IsZero(), f.Dead)
				after = f.ID()
			}
		}
		check(w, "failed", fmt.Sprint(got),
			"[a true 1 test: transient b false 1 test: transient c true 1 test: transient]")
	},
	"failed lists until it is solved": func(w *world) {
		w.put(upl("a", "1"))
		w.settle(protocol.Requeued, failure(w.one("a"), 0))
		d := w.one("a")
		fs, err := w.q.Failed(w.ctx, protocol.ObjectID{}, 10)
		w.ok(err)
		check(w, "listed", len(fs), 1)
		w.done(d)
		fs, err = w.q.Failed(w.ctx, protocol.ObjectID{}, 10)
		w.ok(err)
		check(w, "listed", len(fs), 0)
		check(w, "failing", w.q.Stats().Failing, 0)
	},
	"fail lists the impossible": func(w *world) {
		bad := upl(`bad\xff`, "1")
		bad.Key = "bad\xff/../x" // not even a key
		w.ok(w.q.Fail(w.ctx, hint(bad), impossible))
		w.reopen()
		fs, err := w.q.Failed(w.ctx, protocol.ObjectID{}, 10)
		w.ok(err)
		check(w, "listed", len(fs), 1)
		check(w, "dead", fs[0].Dead, true)
		check(w, "reason", fs[0].Reason, impossible.Error())
		n, err := w.q.Retry(w.ctx, nil)
		w.ok(err)
		check(w, "retried", n, 0)
		w.nothingDue()
		n, err = w.q.Drop(w.ctx, []protocol.ObjectID{bad.ID()})
		w.ok(err)
		check(w, "dropped", n, 1)
	},
	"fail replaces what waits and gives way to what comes": func(w *world) {
		w.put(upl("a", "1"))
		w.ok(w.q.Fail(w.ctx, upl("a", "1"), impossible))
		w.nothingDue()
		w.state("a", queue.Dead)
		w.put(upl("a", "2"))
		w.done(w.one("a"))
	},
	"fail waits for the hand": func(w *world) {
		w.put(upl("a", "1"))
		d := w.one("a")
		w.ok(w.q.Fail(w.ctx, upl("a", "1"), impossible))
		w.settle(protocol.Superseded, protocol.Result{Delivery: d})
		r := w.state("a", queue.Dead)
		check(w, "reason", r.Reason, impossible.Error())
		n, err := w.q.Retry(w.ctx, []protocol.ObjectID{id("a")})
		w.ok(err)
		check(w, "retried", n, 1)
		w.done(w.one("a"))
	},
	"fail frees what waited": func(w *world) {
		w.put(del("a"), upl("a/b", "1"))
		w.ok(w.q.Fail(w.ctx, upl("a", "1"), impossible))
		w.done(w.one("a/b"))
	},
	"fail needs a reason and a key": func(w *world) {
		w.refused(w.q.Fail(w.ctx, upl("a", "1"), nil), protocol.KindItem)
		w.refused(w.q.Fail(w.ctx, upl("", "1"), impossible), protocol.KindItem)
	},
	"retry makes due, by name or all": func(w *world) {
		w.bury("a")
		w.bury("b")
		w.put(upl("c", "1"))
		w.settle(protocol.Requeued, failure(w.one("c"), time.Hour))
		n, err := w.q.Retry(w.ctx, []protocol.ObjectID{id("a"), id("nothing")})
		w.ok(err)
		check(w, "retried", n, 1)
		check(w, "attempt", w.one("a").Attempt, 1)
		n, err = w.q.Retry(w.ctx, nil)
		w.ok(err)
		check(w, "retried", n, 2)
		w.done(w.leases("b", "c")...)
	},
	"retry of very many": func(w *world) {
		const many = 2500
		items := make([]queue.Item, many)
		for i := range items {
			items[i] = upl(fmt.Sprintf("a%04d", i), "1")
		}
		w.put(items...)
		ds := w.lease(many)
		rs := make([]protocol.Result, many)
		for i := range rs {
			rs[i] = failure(ds[i], 0)
			rs[i].Dead = true
		}
		_, err := w.q.Settle(w.ctx, rs)
		w.ok(err)
		check(w, "dead", w.q.Stats().Dead, many)
		n, err := w.q.Retry(w.ctx, nil)
		w.ok(err)
		check(w, "retried", n, many)
		check(w, "ready", w.q.Stats().Ready, many)
	},
	"held waits for a person": func(w *world) {
		w.put(held(del("b")), held(del("a")), held(del("c")), upl("d", "1"))
		w.reopen()
		w.one("d")
		w.clk.add(1000 * time.Hour)
		w.nothingDue()
		check(w, "held", w.q.Stats().Held, 3)
		rs, err := w.q.Held(w.ctx, protocol.ObjectID{}, 2)
		w.ok(err)
		check(w, "page", fmt.Sprintln(len(rs), rs[0].Key, rs[1].Key), "2 a b\n")
		rs, err = w.q.Held(w.ctx, id("b"), 2)
		w.ok(err)
		check(w, "page", fmt.Sprintln(len(rs), rs[0].Key), "1 c\n")
		n, err := w.q.Release(w.ctx, []protocol.ObjectID{id("b"), id("d"), id("x")})
		w.ok(err)
		check(w, "released", n, 1)
		w.done(w.one("b"))
		n, err = w.q.Drop(w.ctx, []protocol.ObjectID{id("a"), id("d")})
		w.ok(err)
		check(w, "dropped", n, 1)
		w.gone("a")
		n, err = w.q.Release(w.ctx, nil)
		w.ok(err)
		check(w, "released", n, 1)
		w.done(w.one("c"))
	},
	"drop of all leaves the dead": func(w *world) {
		w.bury("a")
		w.put(held(del("b")))
		n, err := w.q.Drop(w.ctx, nil)
		w.ok(err)
		check(w, "dropped", n, 1)
		w.state("a", queue.Dead)
	},
	"released comes after all that is pending": func(w *world) {
		w.put(held(del("a")))
		w.put(cpo("a", "b"))
		_, err := w.q.Release(w.ctx, nil)
		w.ok(err)
		w.done(w.one("b"))
		w.done(w.one("a"))
	},
	"records of a prefix": func(w *world) {
		w.put(upl("a", "1"), upl("a/b", "1"), upl("a/c", "1"), upl("a0", "1"))
		var got []string
		for r, err := range w.q.Records(w.ctx, bucket, "a/", "a/b") {
			w.ok(err)
			got = append(got, string(r.Key))
		}
		check(w, "records", fmt.Sprint(got), "[a/c]")
		for range w.q.Records(w.ctx, bucket, "", "") {
			break
		}
	},
	"stats and info": func(w *world) {
		w.put(upl("a", "1"), mkd("b/"), del("c"), cpo("x", "d"), backfill(upl("e", "1")), held(del("f")))
		w.put(upl("a", "2"))
		w.one2("a")
		w.clk.add(3 * time.Second)
		s := w.q.Stats()
		check(w, "count", s.Count, queue.Count{Ready: 4, Leased: 1, Held: 1, Live: 4, Backfill: 1})
		check(w, "bucket", s.Buckets[bucket], s.Count)
		check(w, "waits", s.Waits, 3*time.Second)
		check(w, "put", fmt.Sprint(s.Put), "map[mkd:1 upl:3 cpo:1 del:2]")
		i := w.q.Info()
		check(w, "info", i, protocol.Info{
			QSize: 6, TotalCmd: 7, MkdCmd: 1, UplCmd: 3, CpoCmd: 1, DelCmd: 2, Uptime: 3 * time.Second,
		})
		check(w, "err", w.q.Err(), nil)
		w.reopen()
		s = w.q.Stats()
		check(w, "count", s.Count, queue.Count{Ready: 5, Held: 1, Live: 4, Backfill: 1})
	},
}

// one2 leases the first in line, which is a key.
func (w *world) one2(key string) protocol.Delivery {
	w.Helper()
	d := w.lease(1)[0]
	check(w, "first", string(d.Key), key)
	return d
}
