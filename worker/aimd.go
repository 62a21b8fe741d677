package worker

import "time"

// aimd decides how many requests may be under way: half as many at once when the target asks for fewer, one more at a
// time when it has been quiet (additive increase, multiplicative decrease). At one request, halving goes on as a pause
// between requests. A target that has refused even one request at a time, and has carried out none meanwhile, was away: once it is back
// half as many as before are let through at once. It is a pure struct: the time is an argument, and one caller at a time uses it.
type aimd struct {
	max  int           // the most, from 1
	hold time.Duration // no growth for so long after the last complaint
	step time.Duration // between two growths after that

	limit int           // now, 1 to max
	gap   time.Duration // least time between two starts when limit is 1, else 0
	cut   time.Time     // of the last halving
	next  time.Time     // of the next growth

	refused time.Time // of the first refusal that no success has followed; zero: there is none
	was     int       // limit before it
}

const (
	firstGap = 100 * time.Millisecond // a guess: ten requests a second, where halving of numbers ends
	maxGap   = 5 * time.Second        // a guess: a target that is this slow is still tried 17,000 times a day
	steps    = 5                      // growths in one slowdown_time; a guess: back from 8 to 16 in 24 s with S3 APU's 15 s
)

func newAIMD(maxLimit int, hold time.Duration) aimd {
	return aimd{max: maxLimit, hold: hold, step: max(hold/steps, 1), limit: maxLimit}
}

// slow takes in that a request which began at began was answered with a wish for fewer. Requests that were under way
// when the limit was last halved do not halve it again: they tell the same story.
func (a *aimd) slow(now, began time.Time) {
	a.grow(now)
	a.next = now.Add(a.hold)
	if !a.cut.IsZero() && began.Before(a.cut) {
		return
	}
	a.cut = now
	if a.refused.IsZero() {
		a.refused, a.was = now, a.limit
	}
	if a.limit > 1 {
		a.limit /= 2
		return
	}
	a.gap = min(max(2*a.gap, firstGap), maxGap)
}

// served takes in that a write, delete or copy which began at began was carried out, and reports whether more are allowed now. Reads tell
// nothing: a target may answer them and refuse all else.
func (a *aimd) served(now, began time.Time) bool {
	if a.refused.IsZero() || began.Before(a.refused) {
		return false
	}
	a.refused = time.Time{}
	if a.gap == 0 || a.was < 2 || began.Before(a.cut) { // it bears some, or only one that was long under way
		return false
	}
	a.limit, a.gap = min(a.was/2, a.max), 0
	a.next = now.Add(a.hold)
	return true
}

// grow takes the steps that are due at now and reports whether there were any. A clock that stepped back delays a step
// by one hold at most.
func (a *aimd) grow(now time.Time) bool {
	if a.limit == a.max && a.gap == 0 {
		return false
	}
	if latest := now.Add(a.hold); a.next.After(latest) {
		a.next = latest
	}
	grown := false
	for !a.next.After(now) && a.slowed() {
		grown = true
		if a.gap > 0 {
			if a.gap /= 2; a.gap < firstGap {
				a.gap = 0
			}
		} else {
			a.limit++
		}
		a.next = a.next.Add(a.step)
	}
	return grown
}

// bound changes the most.
func (a *aimd) bound(most int) {
	if a.limit == a.max || a.limit > most {
		a.limit = most
	}
	a.max = most
}

// slowed reports whether less than the most is allowed.
func (a *aimd) slowed() bool { return a.limit < a.max || a.gap > 0 }

// share scales a number of things that is whole at the full limit: at least 1.
func (a *aimd) share(whole int) int { return max(1, whole*a.limit/a.max) }
