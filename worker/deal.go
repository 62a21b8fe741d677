package worker

import (
	"cmp"
	"slices"
	"time"

	"s3apu/protocol"
)

// A lease is on disk before anybody hears of it, and a worker that waits for a disk does nothing else. So one goroutine leases for
// all workers, the next deliveries while the last are carried out (lease), and another deals them out (deal).

// lent is deliveries of one lease.
type lent struct {
	ds      []protocol.Delivery
	opening uint64 // of the Source, read before the lease was asked for: if it is another now, the lease is void
}

func (l lent) part(from, to int) lent { return lent{l.ds[from:to], l.opening} }

// void reports that others may have the deliveries by now, so that none of them may be begun.
func (p *Pool) void(l lent) bool { return l.opening != p.source.Opening() }

// lease gets deliveries, as many at a time as are carried out while the next ones come, until Run's context ends.
func (p *Pool) lease() {
	defer close(p.leased)
	fault := p.newFault("lease")
	var size leaseSize
	for p.gate.await(p.stop, 0) == nil {
		n := size.of(p.gate.limit(), p.cfg.MaxFiles)
		asked, opening := time.Now(), p.source.Opening()
		batch, err := p.source.Lease(p.stop, n, leaseWait)
		if err != nil {
			fault.pause(p.stop, err)
			continue
		}
		fault.over()
		if len(batch) == 0 {
			size.full = false
			continue
		}
		// Neighbours in a row are less likely to meet a 503, as S3 APU found. What is less urgent is last, as trim wants it.
		slices.SortFunc(batch, func(a, b protocol.Delivery) int {
			return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Key, b.Key))
		})
		got := time.Now()
		for l := (lent{batch, opening}); len(l.ds) > 0; {
			changed := p.gate.changes()
			if l = p.trim(l); len(l.ds) == 0 {
				break
			}
			select {
			case p.leased <- l: // deal takes whatever comes
				l.ds = nil
			case <-changed:
			}
		}
		size.learn(len(batch), got.Sub(asked), time.Since(got))
	}
}

// deal gives each lease to the workers in runs of neighbours, of a size by which all of them get some of it. What nobody has begun
// goes back to the queue while the target is away, when Run's context ends, and as far as the pace allows less than it did.
func (p *Pool) deal() {
	defer close(p.runs)
	for l := range p.leased {
		limit := p.gate.limit()
		size := min(p.cfg.MaxFiles, (len(l.ds)+limit-1)/limit)
		for len(l.ds) > 0 {
			changed := p.gate.changes()
			if l = p.trim(l); len(l.ds) == 0 {
				break
			}
			n := min(size, len(l.ds))
			select {
			case p.runs <- l.part(0, n):
				l = l.part(n, len(l.ds))
			case <-changed:
			case <-p.gate.shutting():
				p.returnUnbegun(l)
				l.ds = nil
			case <-p.stop.Done():
				p.returnUnbegun(l)
				l.ds = nil
			}
		}
	}
}

// trim gives back the end of l that is more than the pace allows by now, or all of it if it is void, and returns what remains.
func (p *Pool) trim(l lent) lent {
	n := min(len(l.ds), mostLeased(p.gate.limit(), p.cfg.MaxFiles))
	if p.void(l) {
		n = 0
	}
	p.returnUnbegun(l.part(n, len(l.ds)))
	return l.part(0, n)
}

// returnUnbegun gives back what cannot be begun: the pool is being stopped, the target is away or asks for less, or the lease is
// void, which is then the Source's answer.
func (p *Pool) returnUnbegun(l lent) {
	kind, why := protocol.KindSlow, string(errTooMany)
	switch {
	case p.stop.Err() != nil:
		kind, why = protocol.KindTransient, "the agent is stopping"
	case p.gate.isParked():
		kind, why = protocol.KindUnreachable, "the bucket cannot be worked with at the moment"
	}
	for _, d := range l.ds {
		p.giveBack(later(d, kind, why, 0))
	}
}

// leaseSize says how many deliveries to lease at a time: enough that no worker waits while the next come, and no more, for what is
// leased is in the way of what is more urgent. It is a pure struct for one caller at a time.
type leaseSize struct {
	n    int
	full bool // the last lease
}

const (
	leastLease = 2    // deliveries at a time for each worker, at least; a guess: with fewer the workers wait for each other's last file
	mostLease  = 1024 // deliveries at a time; a guess: at a thousand a second, what is more urgent comes after two seconds
)

// mostLeased returns how many may be leased at a time for so many workers that take so many files each at a time.
func mostLeased(workers, files int) int { return min(workers*files, mostLease) }

// of returns how many to lease for so many workers that take so many files each at a time at most.
func (s *leaseSize) of(workers, files int) int {
	s.n = min(max(s.n, leastLease*workers), mostLeased(workers, files))
	return s.n
}

// learn takes in how many came, how long that took, and how long they then waited to be dealt out. Only where the lease before was
// full too did it take as long as it takes: else it may have waited for something to do.
func (s *leaseSize) learn(leased int, took, waited time.Duration) {
	before := s.full
	s.full = leased == s.n
	switch {
	case !before || !s.full:
	case waited < took/4: // somebody waited for it, or nearly
		s.n *= 2
	case waited > took:
		s.n -= s.n / 8
	}
}
