package worker

import "time"

// climb looks for the number of requests at once that is worth its while: as long as all of them are in use it tries more, and goes
// back if that carries out no more in the same time. From time to time it tries fewer as well, or each raise that chance has made look
// good would stay for ever. The right number depends on how far away the server is, how fast, and on our own
// processors, so it is measured and not configured. It is a pure struct like aimd, and bounds it: what the server asks for comes first.
type climb struct {
	max   int // the most, from 1
	limit int // now, 1 to max

	began  time.Time // of the window; zero: none has begun
	done   int       // requests carried out in it
	last   time.Time // of the last of them
	area   float64   // requests under way, summed over the seconds
	before int       // the limit before another was tried that is on trial; else 0
	rate   float64   // what it carried out in a second then
	rest   time.Time // no raise before that
	fine   bool      // doubling has brought nothing once: the steps are halves
	fewer  bool      // it is the turn of fewer to be tried
	trust  trust     // in what the first raise has brought
}

// trust says whether the first raise was measured twice. What it seems to bring may come from something that changed meanwhile: at the
// start it is often the end of a scan, which leaves the processors to the workers.
type trust uint8

const (
	untested  trust = iota // the first raise is still to be measured
	doubted                // it was good, and is taken back to be measured again
	confirmed              // it was good again
)

const (
	firstClimb  = 16                     // where it begins: what is best for a server nearby on 2 cores (docs/design/0012)
	climbWindow = 250 * time.Millisecond // the least time of a measurement; a guess: some round trips to another continent
	climbRounds = 4                      // and the least number of answers for each request at once; a guess
	climbRest   = 10 * time.Second       // between trials once it has found its number; a guess: one measurement in forty is a trial
	climbGain   = 3                      // a raise has to bring a third of its share, a doubling 33 %, or it was for nothing, and fewer may cost as much; a guess
	climbFull   = 0.8                    // share of the limit that must be in use on average; a guess
)

func newClimb(most int) climb { return climb{max: most, limit: min(most, firstClimb)} }

// answered takes in that one of so many requests was carried out at now. It reports whether the limit has changed.
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
	if !busy { // there is not more to do: it tells nothing
		return false
	}
	switch {
	case before > c.limit: // fewer are enough, or not
		c.rest = now.Add(climbRest)
		if rate < c.rate*(1-share(before-c.limit, before)) {
			c.limit = before
		}
		return true
	case before > 0 && rate < c.rate*(1+share(c.limit-before, before)):
		if c.limit = before; c.fine {
			c.rest = now.Add(climbRest)
		}
		c.fine, c.fewer = true, true
		return true
	case before > 0 && c.trust == untested:
		c.limit, c.trust = before, doubted
		return true
	case before > 0:
		c.trust = confirmed
		if c.limit == c.max {
			c.rest = now.Add(climbRest)
		}
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

// share is what part of the rate another limit has to bring, or may cost: a third of the step's part of the limit.
func share(step, limit int) float64 { return float64(step) / float64(climbGain*limit) }

// start begins a measurement.
func (c *climb) start(now time.Time) { c.began, c.last, c.done, c.area = now, now, 0, 0 }

// restart forgets a measurement that something else has spoilt, such as a wish of the server for fewer requests.
func (c *climb) restart() { c.began, c.before = time.Time{}, 0 }
