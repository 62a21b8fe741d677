package queue

import (
	"time"

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
