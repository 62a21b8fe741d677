package worker

import (
	"time"

	"s3apu/protocol"
)

// settleGap is the least time from the beginning of one commit of results to that of the next. While many files come a commit for each
// few of them costs much and brings little: their files are in the bucket, and only a newer wish for the same key waits for it. A
// guess: as long as an fsync takes.
const settleGap = 5 * time.Millisecond

// settle is the one goroutine that tells the Source what became of deliveries: as many in one commit as have come
// together during the last one and within settleGap of its beginning. A result that comes alone does not wait. It ends when the
// results do.
func (p *Pool) settle() {
	fault := p.newFault("settle")
	batch := make([]finished, 0, unsettled)
	timer := time.NewTimer(settleGap)
	defer timer.Stop()
	var next time.Time
	for f := range p.results {
		batch = append(batch[:0], f)
		var until <-chan time.Time
		if wait := time.Until(next); wait > 0 {
			timer.Reset(wait)
			until = timer.C
		}
		batch = p.collect(batch, until)
		next = time.Now().Add(settleGap)
		p.settleBatch(batch, fault)
		clear(batch)
	}
}

// collect adds to batch the results that come until a value comes from until, and those that are there then; a nil until means now. It
// stops early when batch holds as many as go into one commit, or when no more results can come.
func (p *Pool) collect(batch []finished, until <-chan time.Time) []finished {
	for len(batch) < unsettled {
		if until != nil {
			select {
			case <-until:
				until = nil
			case f, ok := <-p.results:
				if !ok {
					return batch
				}
				batch = append(batch, f)
			}
			continue
		}
		select {
		case f, ok := <-p.results:
			if !ok {
				return batch
			}
			batch = append(batch, f)
		default:
			return batch
		}
	}
	return batch
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
		if f.Err == nil || f.Dead {
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
