package queue

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// WithFS lets tests open a queue on a file system of their own.
func WithFS(o Options, f vfs.FS) Options {
	o.fs = f
	return o
}

// WithMemTable lets tests turn over logs and tables with little data.
func WithMemTable(o Options, bytes uint64) Options {
	o.memTable = bytes
	return o
}

// WithHeal lets tests heal, without waiting for long.
func WithHeal(o Options) Options {
	o.Heal, o.healGap = true, time.Millisecond
	return o
}

// Break lets the store of q break as if the disk had answered err.
func Break(q *Queue, err error) { q.store.Load().guard.freeze(err) }

// Pause is how long Run of q has nothing to do.
func Pause(q *Queue) time.Duration { return q.pause() }

// WithFilter lets tests overfill the filter of the records with few.
func WithFilter(o Options, room int) Options {
	o.filter = room
	return o
}

// CheckFilter compares the filter of q with the records that there are.
func CheckFilter(q *Queue) error {
	if q.enter() != nil {
		return nil // it is broken or closed: nobody reads
	}
	defer q.exit()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.Err() != nil {
		return nil
	}
	it, err := q.db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceRecord}, UpperBound: []byte{spaceRecord + 1}})
	if err != nil {
		return err
	}
	n := 0
	for valid := it.First(); valid && err == nil; valid = it.Next() {
		n++
		if !q.filter.mayHold(it.Key()) {
			err = fmt.Errorf("the record %q is there and the filter denies it", it.Key())
		}
	}
	if err == nil && !q.filter.full && q.filter.n != n {
		err = fmt.Errorf("%d records, and the filter knows %d", n, q.filter.n)
	}
	if err == nil && n != int(q.total.records()) {
		err = fmt.Errorf("%d records, and %d were counted", n, q.total.records())
	}
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	return err
}

// SyncPause is how long the log would not be synced again now.
func SyncPause(q *Queue) time.Duration { return q.store.Load().syncPause() }

// Urgent is how many calls wait for a sync and not for others.
func Urgent(q *Queue) int32 { return q.store.Load().urgent.Load() }
