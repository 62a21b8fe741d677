package worker

import (
	"time"

	"s3apu/protocol"
)

// settle is the one goroutine that tells the Source what became of deliveries: as many in one commit as have come
// together during the last. It ends when the results do.
func (p *Pool) settle() {
	fault := p.newFault("settle")
	batch := make([]finished, 0, unsettled)
	for f := range p.results {
		batch = append(batch[:0], f)
		for more := true; more && len(batch) < unsettled; {
			select {
			case f, ok := <-p.results:
				if more = ok; ok {
					batch = append(batch, f)
				}
			default:
				more = false
			}
		}
		p.settleBatch(batch, fault)
		clear(batch)
	}
}

// settleBatch tries until it works. When Run's context has ended, that is until the second Grace is over; what is not
// recorded then is handed out again after the next start, with Again set.
func (p *Pool) settleBatch(batch []finished, fault *fault) {
	results := make([]protocol.Result, len(batch))
	for i, f := range batch {
		results[i] = f.Result
	}
	for {
		outcomes, err := p.source.Settle(p.record, results) // not Run's context: what was done is recorded also at the end
		if err == nil && len(outcomes) == len(results) {
			fault.over()
			p.settled(batch, outcomes)
			return
		}
		if err == nil {
			err = reason("the number of outcomes is not that of the results")
		}
		if p.record.Err() != nil {
			p.cfg.Log.Error("the queue took no results; they are looked at again after the next start", "results", len(results), "err", err)
			return
		}
		fault.pause(p.record, err)
	}
}

func (p *Pool) settled(batch []finished, outcomes []protocol.Outcome) {
	for i, f := range batch {
		if f.Err == nil || f.Dead || f.Passed && outcomes[i] != protocol.Requeued {
			p.tally.clear(f.Delivery.ID())
		}
		e := Event{Result: f.Result, Outcome: outcomes[i], Began: f.began, Took: f.took, Bytes: f.bytes, Requests: f.requests}
		p.stats.count(&e)
		if p.cfg.Observe != nil {
			p.cfg.Observe(e)
		}
	}
}

// sweepGap is the time between two looks for uploads that nobody will finish, and firstSweepGap that to the first look after
// one could not be ended; it doubles as long as that is so. Both are guesses.
const (
	sweepGap      = time.Hour
	firstSweepGap = time.Second
)

// sweep ends such uploads, which S3 would keep and charge for otherwise: at the start, every sweepGap, and soon after one
// could not be ended, for its file may have gone, and then nobody else comes back to it.
func (p *Pool) sweep() {
	again := firstSweepGap
	for {
		p.sweepOnce()
		timer := time.NewTimer(sweepGap)
		select {
		case <-p.unended:
		case <-timer.C:
			again = firstSweepGap
		case <-p.stop.Done():
		}
		timer.Stop()
		if sleep(p.stop, again) != nil {
			return
		}
		again = min(2*again, sweepGap)
	}
}

func (p *Pool) sweepOnce() {
	left, err := p.source.Leftovers(p.stop)
	if err != nil {
		if p.stop.Err() == nil {
			p.cfg.Log.Warn("unfinished uploads could not be listed; they are looked for again in an hour", "err", err)
		}
		return
	}
	for _, up := range left {
		if p.gate.await(p.stop, 0) != nil {
			return
		}
		_ = p.abort(p.stop, up) // else in an hour
	}
}
