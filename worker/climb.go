package worker

import "time"

// climb finds the number of requests at once that is worth its while: as long as all of them are in use it tries more, and goes back if
// that does not carry out more in the same time. From time to time it tries fewer as well, for else a raise that only looked good by
// chance would stay for ever. The right number depends on the server's distance and speed and on our own processors, so it is measured
// and not configured. It is a pure struct like aimd; the smaller of the two numbers counts, so what the server asks for comes first.
type climb struct {
	max   int // the most, from 1
	limit int // now, 1 to max

	began  time.Time // of the window; zero: none has begun
	done   int       // requests carried out in it
	last   time.Time // of the last of them
	area   float64   // requests under way, summed over the seconds
	before int       // while limit is on trial: the limit before the trial; else 0
	rate   float64   // requests carried out in a second before the trial
	rest   time.Time // no trial before that
	fine   bool      // doubling has brought too little once: a raise is by a half from then on
	fewer  bool      // the next trial is of fewer
	twice  bool      // the first raise was good, and was taken back to be measured a second time: what it seems to bring is often the end of a scan
}

const (
	firstClimb  = 16                     // the limit that it begins with, and the fewest that it tries; from 8 the climb took too long (docs/design/0012)
	climbWindow = 250 * time.Millisecond // the least time of a measurement; a guess: some round trips to another continent
	climbRounds = 4                      // the least number of answers in a measurement, times the limit; a guess
	climbRest   = 10 * time.Second       // between trials once it has found its number; a guess: one measurement in forty is a trial
	climbGain   = 3                      // one in so many of the requests that a raise adds has to pay off: see share; a guess
	climbFull   = 0.8                    // share of the limit that must be in use on average, or a measurement tells nothing; a guess
)

func newClimb(most int) climb { return climb{max: most, limit: min(most, firstClimb)} }

// answered is told that a request was carried out at now, while used of them were under way. It reports whether the limit has changed.
func (c *climb) answered(now time.Time, used int) bool {
	if c.began.IsZero() || now.Before(c.began) {
		c.start(now)
	}
	c.done++
	c.area += float64(used) * now.Sub(c.last).Seconds()
	c.last = now
	took := now.Sub(c.began)
	if took < climbWindow || c.done < climbRounds*c.limit {
		return false
	}
	rate, busy, before := float64(c.done)/took.Seconds(), c.area >= climbFull*float64(c.limit)*took.Seconds(), c.before
	c.start(now)
	c.before = 0
	if !busy { // there was too little to do: the rate says nothing about the limit
		return false
	}
	switch {
	case before > c.limit: // fewer were tried
		c.rest = now.Add(climbRest)
		if rate < c.rate*(1-share(before-c.limit, before)) {
			c.limit = before
		}
		return true
	case before > 0 && rate < c.rate*(1+share(c.limit-before, before)): // more were tried, and brought too little
		if c.limit = before; c.fine {
			c.rest = now.Add(climbRest)
		}
		c.fine, c.fewer = true, true
		return true
	case before > 0 && !c.twice: // they were worth it: measured once more
		c.limit, c.twice = before, true
		return true
	case before > 0 && c.limit == c.max: // they were worth it, and there is nothing above
		c.rest = now.Add(climbRest)
	}
	if now.Before(c.rest) {
		return false
	}
	c.before, c.rate = c.limit, rate
	switch least := min(c.max, firstClimb); {
	case (c.fewer || c.limit == c.max) && c.limit > least:
		c.limit = max(least, c.limit-c.limit/3)
	case c.limit == c.max:
		c.before = 0
	case c.fine:
		c.limit = min(c.max, c.limit+max(1, c.limit/2))
	default:
		c.limit = min(c.max, 2*c.limit)
	}
	c.fewer = false
	return c.before > 0
}

// share returns what part of the rate a step away from limit has to bring, or may cost: a third of the step's part of the limit. So a
// doubling has to bring 33 %.
func share(step, limit int) float64 { return float64(step) / float64(climbGain*limit) }

// start begins a measurement.
func (c *climb) start(now time.Time) { c.began, c.last, c.done, c.area = now, now, 0, 0 }

// restart forgets a measurement that something else has spoilt, such as a wish of the server for fewer requests.
func (c *climb) restart() { c.began, c.before = time.Time{}, 0 }
