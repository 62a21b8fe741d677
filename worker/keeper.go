package worker

import (
	"context"
	"math/rand/v2"
	"time"

	"s3apu/protocol"
)

const (
	probeTime  = 30 * time.Second // the longest wait for the answer to a probe; a guess
	trialLease = 500              // instructions looked at in one trial, so that one bad folder does not hide the rest; a guess
	trialTries = 8                // of these, failures after which the trial is over; a guess
	trialDelay = time.Second      // for what a failed trial did not come to, so that the next sees others first; a guess
)

// keep watches over the target: it probes when an answer raised a suspicion and while the gate is parked, and opens the
// gate again. It lets the pace grow after a 503.
func (p *Pool) keep() {
	h := newHand(p, false)
	for {
		select {
		case <-p.stop.Done():
			return
		case <-p.gate.alarm:
			p.tend(h)
		case <-p.gate.growth():
		}
	}
}

// tend does what the gate needs, until the gate is open and nothing is suspected, or Run's context ends.
func (p *Pool) tend(h *hand) {
	for next := p.gate.todo(); next != toRest && p.stop.Err() == nil; {
		switch next {
		case toWait:
			limit := lastProbe
			if p.gate.trying() {
				limit = lastTrial
			}
			if sleep(p.stop, p.gate.pauseFor(limit)) != nil {
				return
			}
			next = toProbe
		case toProbe:
			began := time.Now()
			ctx, cancel := context.WithTimeout(p.stop, probeTime)
			err := p.store.Probe(ctx)
			cancel()
			if p.stop.Err() != nil {
				return
			}
			p.stats.probes.Add(1)
			next = p.gate.probed(began, err)
		case toTry:
			next = p.gate.tried(p.trial(h))
		case toOpen:
			p.gate.unpark()
			next = p.gate.todo()
		}
	}
}

// trial carries out a few instructions while everybody else waits, and reports whether the gate may be opened: the
// first success proves the target. If there is nothing to try with, everybody may go on, and the next failure parks
// again.
func (p *Pool) trial(h *hand) bool {
	opening := p.source.Opening()
	batch, err := p.source.Lease(p.stop, trialLease, 0)
	if err != nil {
		return true // the workers see to the queue's faults
	}
	// Not in order of keys: what is forbidden is mostly a folder.
	rand.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
	succeeded, failed := p.gate.counts()
	proven, tries := false, int64(0)
	for i, d := range batch {
		if proven || tries >= trialTries || p.stop.Err() != nil {
			delay := trialDelay
			if proven || p.stop.Err() != nil {
				delay = 0
			}
			p.giveBack(later(d, protocol.KindUnreachable, "the bucket cannot be worked with at the moment", delay))
			continue
		}
		if l := (lent{batch[i : i+1], opening}); p.void(l) {
			p.returnUnbegun(l)
			continue
		}
		done, lane := h.carry(p.work, d)
		if lane {
			p.giveBack(later(d, protocol.KindBusy, "other big files go first", laneGap))
			continue
		}
		p.results <- done
		s, f := p.gate.counts()
		proven, tries = s > succeeded, f-failed
	}
	return proven || tries == 0
}
