package queue

import (
	"context"
	"slices"
	"time"
)

// line is what is kept in memory of one bucket: its counts, where its ready rows begin, and who waits for them. Guarded
// by Queue.mu.
type line struct {
	bucket string
	counts counts

	// cursor is the lower bound of every claim, by class: no ready row stands before it. Without it each claim would
	// walk over the tombstones of all that were claimed before (cockroachdb/pebble#3881).
	cursor [2]place

	run     int // live deliveries since the last backfill one
	waiters []*waiter
	next    int64 // the first due time that the first waiter's timer knows of; 0: none
}

// waiter is a Lease or Pop that waits for the first instruction.
type waiter struct {
	n    int
	told bool
	ch   chan struct{} // capacity 1
}

// line returns the line of a bucket.
func (q *Queue) line(bucket string) *line {
	l := q.lines[bucket]
	if l == nil {
		l = &line{bucket: bucket}
		q.lines[bucket] = l
	}
	return l
}

// move sets the cursors after a change.
func (l *line) move(d *lineDelta) {
	for c := range l.cursor {
		if d.raised[c] != (place{}) {
			l.cursor[c] = d.raised[c]
		}
		if low := d.lowest[c]; low != (place{}) && low.before(l.cursor[c]) {
			l.cursor[c] = low
		}
	}
}

// tell wakes as many waiters as there is work for, or the first one if its timer is set too late.
func (l *line) tell(d *lineDelta) {
	if d.due > 0 {
		l.rouse(d.due)
	} else if d.next != 0 && (l.next == 0 || d.next < l.next) {
		l.rouse(1)
	}
}

// rouse wakes waiters for n instructions.
func (l *line) rouse(n int) {
	for _, w := range l.waiters {
		if n <= 0 {
			return
		}
		if !w.told {
			w.told = true
			w.ch <- struct{}{}
			n -= w.n
		}
	}
}

// leave takes w out and hands on what it was told and what it saw: that there is more, or the time when something becomes
// due (0: nothing known). The first one that stays looks after the timer.
func (l *line) leave(w *waiter, more bool, due int64) {
	i := slices.Index(l.waiters, w)
	if i < 0 {
		return
	}
	l.waiters = slices.Delete(l.waiters, i, i+1)
	if more || w.told || i == 0 && (l.next != 0 || due != 0) {
		l.rouse(1)
	}
	if i == 0 {
		l.next = 0 // the new first one sets its own timer
	}
}

// wait sleeps until w is told, the time is over, or the queue ends. Only the first in line has a timer for what becomes
// due, so that a due time wakes one and not all.
func (q *Queue) wait(ctx context.Context, w *waiter, due, left time.Duration) error {
	timer := time.NewTimer(min(due, left))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-q.closing:
		return q.closedError("wait for work")
	case <-q.store.Load().broken: // stays this one until the caller has left
		return q.Err()
	case <-w.ch:
	case <-timer.C:
	}
	return nil
}
