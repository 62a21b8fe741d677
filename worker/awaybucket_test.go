package worker

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"s3apu/protocol"
)

// doom puts n hinted deletes of objects that the ledger knows.
func (r *rig) doom(n int) {
	for i := range n {
		key := protocol.Key(fmt.Sprintf("k%03d", i))
		r.store.objects[key] = &protocol.Object{Key: key, ETag: "e"}
		r.src.ledger[protocol.ObjectID{Bucket: testBucket, Key: key}] =
			&protocol.Entry{Bucket: testBucket, Key: key, Verb: protocol.Upl, ETag: "e", Source: filepath.Join(r.dir, "gone")}
		r.src.put(hint(order(protocol.Del, string(key), "")))
	}
}

// While the bucket is away each look finds nothing: nothing may be forgotten for that, and it all goes on when it is back.
func TestDeletesOutlastAnAbsentBucket(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var away atomic.Bool
		away.Store(true)
		r.store.before = func(_ context.Context, op string, _ protocol.Key) error {
			switch {
			case !away.Load():
				return nil
			case op == "head":
				return s3Error(protocol.KindNotFound, 404)
			}
			return s3Error(protocol.KindTarget, 404)
		}
		r.store.probe = func() error { return r.store.before(t.Context(), "", "") }
		r.doom(40)
		orphan := hint(order(protocol.Del, "orphan", ""))
		orphan.Again, orphan.First = true, 1
		r.src.put(orphan)
		r.run(Config{MaxWorkers: 4})
		<-time.After(time.Hour)
		if n, _ := r.src.left(); n != 41 || r.src.row("k000") == nil || r.src.row("k039") == nil {
			t.Errorf("%d of 41 deletes are left", n)
		}
		if !r.pool.Stats().Parked || r.log.count("level=WARN") != 1 {
			t.Errorf("not parked, or not said once:\n%s", r.log.b.String())
		}
		away.Store(false)
		r.src.drain(t, time.Minute)
		if len(r.store.objects) != 0 {
			t.Errorf("%d objects are left", len(r.store.objects))
		}
	})
}

// Keys that may list and delete and not read let no delete go on, and that is said.
func TestRefusedLooksAreSaid(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var bad atomic.Bool
		bad.Store(true)
		r.store.latency = time.Millisecond
		r.store.before = func(_ context.Context, op string, _ protocol.Key) error {
			if op == "head" && bad.Load() {
				return s3Error(protocol.KindTarget, 403)
			}
			return nil
		}
		r.doom(40)
		r.run(Config{MaxWorkers: 4})
		<-time.After(time.Hour)
		if n, _ := r.src.left(); n != 40 || len(r.store.objects) != 40 || r.src.buried() != 0 {
			t.Errorf("%d of 40 deletes and %d objects are left, %d buried", n, len(r.store.objects), r.src.buried())
		}
		if r.log.count("level=WARN") != 1 || r.log.count("level=INFO") != 0 {
			t.Errorf("it is not said once:\n%s", r.log.b.String())
		}
		bad.Store(false)
		r.src.drain(t, 10*time.Minute)
		if len(r.store.objects) != 0 || r.log.count("level=WARN") != 1 || r.log.count("level=INFO") != 1 {
			t.Errorf("%d objects are left, and the log is\n%s", len(r.store.objects), r.log.b.String())
		}
	})
}
