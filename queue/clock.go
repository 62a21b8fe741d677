package queue

import "time"

// clock is the queue's own time: nanoseconds that never go back, also not over a restart.
//
// Deadlines and waiting times are kept in it, not in the time of the wall. It starts at the wall's time, or at the last
// one written down and what has passed since then (pace.go), and then runs by what passes: with a time source that carries a
// monotonic reading (time.Now) a step of the wall's clock, in either direction, does not show at all; without one a step
// back is ignored and a step forward is taken for time that passed. So no waiting time is ever lengthened or lost by a
// step back, and the difference of two of its times is what counts, never a value alone. It is guarded by Queue.mu.
type clock struct {
	now  func() time.Time
	last time.Time // the wall at the last reading
	t    int64
}

// newClock starts a clock that is not behind floor.
func newClock(now func() time.Time, floor int64) clock {
	w := now()
	return clock{now: now, last: w, t: max(w.UnixNano(), floor, 0)}
}

// raise lets the clock not be behind floor.
func (c *clock) raise(floor int64) { c.t = max(c.t, floor) }

// read returns the queue's time.
func (c *clock) read() int64 {
	w := c.now()
	c.t += max(int64(w.Sub(c.last)), 0)
	c.last = w
	return c.t
}

// from gives the queue's time for a time of the wall, by its distance from now. The zero time is zero.
func (c *clock) from(wall time.Time) int64 {
	if wall.IsZero() {
		return 0
	}
	return after(c.t, wall.Sub(c.last))
}

// wall gives the wall's time for a time of the queue, for people to read.
func (c *clock) wall(t int64) time.Time { return c.last.Add(time.Duration(t - c.t)) }

// farAway bounds waiting times, so that sums do not overflow: 2^63 ns end in the year 2262.
const farAway = 100 * 365 * 24 * time.Hour

// after returns t+d, within bounds.
func after(t int64, d time.Duration) int64 { return max(t+int64(min(max(d, -farAway), farAway)), 0) }
