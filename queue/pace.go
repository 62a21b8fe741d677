package queue

import (
	"encoding/binary"
	"time"
)

// pace is what tells, when the store is opened again, how long it was closed: the queue's time when it was last written
// down, and what the clocks of the machine showed then.
//
// The wall's clock may have been set meanwhile. As long as the machine was not started anew, its time since the start
// (CLOCK_BOOTTIME, clock_gettime(2): it counts on while the machine sleeps, and nobody can set it) tells how much really
// passed. After a new start only the wall is left: a step forward cannot be told from time that passed, and waits that
// were written down end early by it; a step back counts as no time.
type pace struct {
	clock int64  // the queue's time
	wall  int64  // nanoseconds since 1970
	since int64  // since the machine's start, in nanoseconds
	start string // names the start; "": not known
}

// booted tells which start of the machine this is and how long it is ago; "" where that is not known.
type booted func() (start string, since time.Duration)

func appendPace(b []byte, p pace) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(p.clock))
	b = binary.BigEndian.AppendUint64(b, uint64(p.wall))
	b = binary.BigEndian.AppendUint64(b, uint64(p.since))
	return append(b, p.start...)
}

// parsePace is the inverse of [appendPace]. What is too short is the zero pace, which fits no clock.
func parsePace(b []byte) (p pace) {
	if len(b) >= 24 {
		p.clock, p.wall = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
		p.since, p.start = int64(binary.BigEndian.Uint64(b[16:])), string(b[24:])
	}
	return p
}

// pace returns what is to be written down with the queue's time t.
func (q *Queue) pace(t int64) pace {
	p := pace{clock: t, wall: q.clock.last.UnixNano()}
	if q.opt.boot != nil {
		start, since := q.opt.boot()
		p.start, p.since = start, int64(since)
	}
	return p
}

// passed returns how long ago p was written down.
func (q *Queue) passed(p pace) time.Duration {
	now := q.pace(0)
	if p.start != "" && p.start == now.start && now.since >= p.since {
		return time.Duration(now.since - p.since)
	}
	return time.Duration(max(now.wall-p.wall, 0))
}

// resume sets the queue's time when the store is opened, clock being what was last written down of it. In a process that
// had the store open before time has gone on by itself.
func (q *Queue) resume(clock int64, p pace) {
	before := q.clock.read()
	if q.next == 0 && p.clock != 0 && p.clock == clock { // else an older version has written the clock
		q.clock.t = after(clock, q.passed(p))
	} else {
		q.clock.raise(clock)
	}
	q.opened += q.clock.t - before
}

// Time returns the queue's own time. It never goes back, and no step of the wall's clock changes it while the machine is up;
// of two of its values the difference counts.
func (q *Queue) Time() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return time.Duration(q.clock.read())
}
