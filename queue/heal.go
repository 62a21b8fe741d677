package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"s3apu/protocol"
)

// Healing, for the agent ([Options.Heal]): a disk that refuses does not end the process.
//
// The store that broke is let go as a power cut would leave it, never written again, and opened anew from what is on the
// disk once that takes writes. Nothing of what the old opening believed is trusted: after a failed fsync the kernel may
// call pages clean that never reached the disk (fsync(2), "EIO"), so no descriptor is used again, and what is found in
// the log is written to new tables and synced before anything else. Meanwhile every call fails with the reason
// ([Queue.Err]). Afterwards
//
//   - what was acknowledged is there, and what was not may be;
//   - leases of before that had no end of their own are void: settling them answers LeaseLost, and their instructions are
//     handed out again, marked Again ([Queue.Opening] tells who holds one); the others are as they were;
//   - backfill of the last second may be missing, so the folders should be compared once more ([Queue.Reopened]).
//
// A damaged store is moved aside and begun anew (aside.go).

const (
	firstHealGap = time.Second      // between two attempts to open the store again; doubles; a guess
	lastHealGap  = 30 * time.Second // the longest gap; a guess
	roomGap      = time.Second      // between two looks for room: a statfs(2) costs nothing; a guess
)

// openLater decides what becomes of a queue that could not be opened: a disk that refuses is waited for by Run, and
// everything else is the caller's error.
func (q *Queue) openLater(err error) error {
	if protocol.KindOf(err) == protocol.KindDamaged {
		if err = q.replace(err); err == nil {
			return nil
		}
	}
	if protocol.KindOf(err) != protocol.KindDamaged && !Refusal(err) {
		return err
	}
	st := q.store.Load()
	st.breakWith(storeError(opOpen, q.dir, err))
	return nil
}

// Reopened returns a channel that is closed when a store that is broken now, or breaks later, has been opened again.
func (q *Queue) Reopened() <-chan struct{} {
	q.gate.Lock()
	defer q.gate.Unlock()
	return q.reopened
}

// Opening returns a number that grows whenever the store is opened again. Leases that were asked for at a smaller one and have no end
// of their own are void: nothing of theirs should be begun.
func (q *Queue) Opening() uint64 { return q.openings.Load() }

// Up waits until the store takes changes: at once if it does. It fails with the error of ctx, or when the queue is closed.
func (q *Queue) Up(ctx context.Context) error {
	for {
		again := q.Reopened()
		if q.Err() == nil {
			return ctx.Err()
		}
		select {
		case <-again:
		case <-ctx.Done():
			return ctx.Err()
		case <-q.closing:
			return q.closedError("wait for the queue")
		}
	}
}

// heal lets the broken store go and opens it again, until that works or ctx ends or the queue is closed. It fails with
// what waiting does not cure.
func (q *Queue) heal(ctx context.Context) error {
	began, gap, was := time.Now(), q.opt.healGap, q.store.Load().failure()
	q.log.Error("the queue can take nothing until its disk is in order; everything waits, and goes on by itself then", "err", was)
	for {
		if !q.claimAll(ctx) {
			return nil
		}
		wait, err := q.reopen(was)
		q.exit()
		if err == nil {
			q.log.Info("the queue works again", "after", time.Since(began).Round(time.Millisecond).String(),
				"pending", q.Stats().Pending())
			return nil
		}
		kind := protocol.KindOf(err)
		if kind == protocol.KindUsage || kind == protocol.KindLocked {
			return err
		}
		if q.store.Load().failed.Swap(storeError(opOpen, q.dir, err)).Error() != err.Error() {
			q.log.Debug("the queue waits for its disk", "err", err)
		}
		if wait == 0 {
			wait, gap = gap, min(2*gap, lastHealGap)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-q.closing:
		}
		timer.Stop()
	}
}

// claimAll waits until nobody is inside any more and goes in alone; exit follows if it returns true. The store is broken,
// so nobody comes in meanwhile.
func (q *Queue) claimAll(ctx context.Context) bool {
	wake := context.AfterFunc(ctx, func() {
		q.gate.Lock()
		defer q.gate.Unlock()
		q.empty.Broadcast()
	})
	defer wake()
	q.gate.Lock()
	defer q.gate.Unlock()
	for q.inside > 0 && !q.closed && ctx.Err() == nil {
		q.empty.Wait()
	}
	if q.closed || ctx.Err() != nil {
		return false
	}
	q.inside++
	return true
}

// reopen makes one attempt to open a store that broke with was, and says how long to wait for the next one if it knows.
// Nobody else is inside.
func (q *Queue) reopen(was *protocol.Error) (wait time.Duration, err error) {
	q.openings.Add(1) // before anything can be leased from the new one
	_ = q.letGo()     // it is broken: what closing says, the first error said better
	at := q.dir
	if q.opt.fs == vfs.Default {
		at = existing(q.dir)
	}
	if err := enough(q.opt.fs, q.dir, at); err != nil {
		return roomGap, err
	}
	if q.lock != nil {
		if err := q.samePlace(); err != nil {
			return 0, err
		}
		if err := probe(q.opt.fs, q.opt.fs.PathJoin(q.dir, probeName)); err != nil {
			return 0, probeError(q.dir, err)
		}
	}
	switch {
	case q.lock != nil && q.vanished():
		err = storeError(opOpen, q.dir, fmt.Errorf("%w: it is gone", errEncoding))
	case q.lock != nil && was.Kind == protocol.KindDamaged:
		err = q.doubt(was)
	default:
		err = q.open()
	}
	if protocol.KindOf(err) == protocol.KindDamaged {
		err = q.replace(err)
	}
	if err != nil {
		return 0, err
	}
	q.gate.Lock()
	defer q.gate.Unlock()
	close(q.reopened)
	q.reopened = make(chan struct{})
	return 0, nil
}

// samePlace reports that another folder lies in the place of the queue, or none: its disk was taken away. A new store
// must not be begun there.
func (q *Queue) samePlace() error {
	if q.opt.fs != vfs.Default {
		return nil
	}
	now, err := os.Stat(filepath.Join(q.dir, lockName))
	if err == nil && (q.place == nil || os.SameFile(now, q.place)) {
		return nil
	}
	if err == nil {
		err = errors.New("another folder lies in its place")
	}
	e := probeError(q.dir, err).(*protocol.Error) //nolint:errorlint // made by probeError
	e.Hint = "mount the disk of state_dir again; if it is gone for good, restart the agent"
	return e
}
