package queue

import (
	"context"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// commitMode says when a change is durable.
type commitMode int

const (
	synced commitMode = iota // when do returns
	lazily                   // within syncEvery, if Run runs
)

// do makes one change: f builds it, and do applies it under the mutex, so that later calls see it, and waits for the
// fsync outside. Pebble groups the fsyncs of concurrent callers. If f fails nothing is changed.
func (q *Queue) do(ctx context.Context, op string, mode commitMode, f func(t *tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := q.enter(); err != nil {
		return err
	}
	defer q.exit()
	q.mu.Lock()
	t := q.begin()
	err := f(t)
	if err == nil {
		err = t.finish()
	}
	if err != nil {
		t.abort()
		q.mu.Unlock()
		return q.opError(op, err)
	}
	wait := q.commit(t, mode)
	q.mu.Unlock()
	return wait(op)
}

// commit applies t and wakes who waits for what it brought. The caller holds mu, lets go of it and then calls the
// returned function, which waits until t is durable as mode says.
func (q *Queue) commit(t *tx, mode commitMode) (wait func(op string) error) {
	if t.b.Empty() {
		t.swept = false // what a sweep that changed nothing has found holds
		t.abort()
		return func(string) error { return nil }
	}
	var err error
	st, urgent := q.store.Load(), mode == synced && !t.patient
	if urgent {
		st.urgent.Add(1)
	}
	if mode == synced {
		err = q.db.ApplyNoSyncWait(t.b, pebble.Sync)
	} else {
		err = q.db.Apply(t.b, pebble.NoSync)
	}
	if err == nil && q.Err() == nil {
		q.applied(t, mode)
	}
	failpoint.Here("queue.applied")
	return func(op string) error {
		if mode == synced && err == nil {
			err = t.b.SyncWait()
		}
		if urgent {
			st.urgent.Add(-1)
		}
		err = errors.Join(err, t.b.Close())
		if broken := q.Err(); broken != nil {
			return broken
		}
		if err != nil {
			e := storeError(op, q.dir, err)
			q.store.Load().breakWith(e)
			return e
		}
		return nil
	}
}

// applied brings the numbers in memory up to a change that was applied.
func (q *Queue) applied(t *tx, mode commitMode) {
	before := q.total.backlog()
	q.total.sum(&t.delta)
	q.store.Load().ready.Store(q.total.n[Ready][protocol.Live] + q.total.n[Ready][protocol.Backfill])
	q.leased.keep(t.leased)
	for _, m := range t.went {
		q.filter.remove(m)
	}
	if q.total.records() == 0 {
		q.filter.reset()
	}
	q.limit = t.limit
	q.later = t.later
	if t.now-q.clockSaved >= clockStep {
		q.clockSaved = t.now
	}
	for _, l := range t.lines {
		l.counts.sum(&l.delta)
		l.move(l)
		l.tell(l)
	}
	if q.room != nil && before > q.opt.MaxBackfill && q.total.backlog() <= q.opt.MaxBackfill {
		close(q.room)
		q.room = nil
	}
	if mode == lazily && !q.unsynced {
		q.unsynced = true
		q.ring()
	} else if mode == synced {
		q.unsynced = false // the log is one file: what is behind it is on disk as well once wait returns
	}
}

// Where many instructions are ready, the workers' leases and settlements of some moments share one sync: each is for many of them anyway,
// and syncs were a tenth of what 10,000 small files cost (docs/design/0012). A pause begins only when nobody else waits for a sync; who
// comes during one waits for its rest.
const (
	syncGap   = 2 * time.Millisecond // a guess; 5 ms brought no more
	manyReady = 64                   // instructions; a guess: a few of what comes with one change of a folder are none
)

// syncPause returns how long the log is not synced again, as Pebble asks after each sync.
func (s *store) syncPause() time.Duration {
	if s.urgent.Load() > 0 || s.ready.Load() < manyReady {
		return 0
	}
	return syncGap
}
