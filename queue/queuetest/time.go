package queuetest

import (
	"time"

	"s3apu/protocol"
)

// The wall's clock steps. Nothing may be stuck, nothing early.
var timeTests = map[string]func(w *world){
	"a step back strands no delay": func(w *world) {
		w.put(upl("a", "1"))
		w.settle(protocol.Requeued, failure(w.one("a"), time.Minute))
		w.clk.add(-48 * time.Hour)
		w.nothingDue()
		w.clk.add(59 * time.Second)
		w.nothingDue()
		w.clk.add(time.Second)
		w.one("a")
	},
	"a step back strands no lease": func(w *world) {
		w.put(upl("a", "1"))
		w.hold(1, time.Minute)
		w.clk.add(-48 * time.Hour)
		w.nothingDue()
		w.clk.add(time.Minute)
		w.one("a")
	},
	"a step back strands no new wish": func(w *world) {
		w.clk.add(-48 * time.Hour)
		w.put(upl("a", "1"))
		w.one("a")
		w.put(at(upl("b", "1"), w.clk.now().Add(time.Minute)))
		w.nothingDue()
		w.clk.add(time.Minute)
		w.one("b")
	},
	"a step back while the queue is closed strands nothing": func(w *world) {
		w.put(upl("a", "1"), upl("b", "1"))
		ds := w.leases("a", "b")
		w.settle(protocol.Requeued, failure(ds[0], time.Minute))
		w.settle(protocol.Requeued, failure(ds[1], 0))
		w.hold(1, time.Minute)
		w.ok(w.q.Close())
		w.clk.add(-48 * time.Hour)
		w.open()
		w.nothingDue()
		w.clk.add(time.Minute)
		w.leases("a", "b")
	},
	"a step to 1970 strands nothing": func(w *world) {
		w.put(upl("a", "1"))
		w.settle(protocol.Requeued, failure(w.one("a"), time.Second))
		w.ok(w.q.Close())
		w.clk.add(time.Unix(5, 0).Sub(w.clk.now()))
		w.open()
		w.clk.add(time.Second)
		w.one("a")
	},
	"times are shown by the wall's clock": func(w *world) {
		w.clk.add(-48 * time.Hour)
		w.put(at(upl("a", "1"), w.clk.now().Add(time.Minute)))
		r := w.pending("a")
		check(w, "since", r.Since, w.clk.now())
		check(w, "next", r.Next, w.clk.now().Add(time.Minute))
	},
	"very long times do not overflow": func(w *world) {
		w.put(at(upl("a", "1"), time.Unix(1<<40, 0)), upl("b", "1"))
		d := w.hold(1, 1<<63-1)[0]
		w.settle(protocol.Requeued, failure(d, 1<<63-1))
		w.nothingDue()
		w.clk.add(1000 * time.Hour)
		w.nothingDue()
	},
}
