package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"s3apu/protocol"
)

const (
	leaseWait  = 10 * time.Second       // for the first delivery (S3 APU's wait)
	sourceGap  = 100 * time.Millisecond // after a failed lease or settlement; doubles; a guess
	sourceLast = 5 * time.Second        // the longest of these gaps; a guess
	unsettled  = 256                    // results that may wait for the settler, and as many again in its hand; a guess
	laneGap    = 2 * time.Second        // until a big file that found no room is handed out again; doubles up to soonLast
)

// Pool is the workers of one bucket.
type Pool struct {
	cfg    Config
	source Source
	store  Store
	gate   *gate
	tally  tally
	stats  stats

	unended     chan struct{} // an upload in parts could not be ended; holds one
	hashBuffers sync.Pool     // of *[hashBuffer]byte

	// Of the current Run.
	running atomic.Bool
	stop    context.Context // Run's: when it ends, nothing more is begun
	work    context.Context // of what is under way: ends one Grace later
	record  context.Context // of settling: ends two Graces later
	leased  chan lent       // from lease to deal
	runs    chan lent       // from deal to the workers
	lane    chan lent       // of one each
	results chan finished
}

// New returns a Pool that does nothing until Run. Errors are KindUsage and name the setting.
func New(cfg Config, source Source, store Store) (*Pool, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	p := &Pool{cfg: cfg, source: source, store: store, gate: newGate(cfg), unended: make(chan struct{}, 1)}
	p.hashBuffers.New = func() any { return new([hashBuffer]byte) }
	p.stats.began = time.Now()
	return p, nil
}

// Run carries deliveries out until ctx ends. Then nothing more is begun; what is under way is given Config.Grace to
// end and is broken off after that; every delivery in hand is settled or given back uncounted; all goroutines are
// joined; and Run returns nil, two Graces after the end at the latest if Source and Store keep to their contexts. It
// fails only if it is already running.
func (p *Pool) Run(ctx context.Context) error {
	if !p.running.CompareAndSwap(false, true) {
		return &protocol.Error{Op: "run the workers", Object: p.cfg.Bucket, Kind: protocol.KindUsage, Err: reason("they are running already")}
	}
	defer p.running.Store(false)

	work, breakOff := context.WithCancel(context.WithoutCancel(ctx))
	defer breakOff()
	record, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	p.stop, p.work, p.record = ctx, work, record
	p.leased, p.runs = make(chan lent), make(chan lent)
	p.lane = make(chan lent, p.cfg.BigFiles) // as many wait as are under way
	p.results = make(chan finished, unsettled)

	var workers, big, settler, clock sync.WaitGroup
	ended := make(chan struct{})
	clock.Go(func() {
		<-ctx.Done()
		for _, next := range []func(){breakOff, giveUp} {
			select {
			case <-ended:
				return
			case <-time.After(p.cfg.Grace):
				next()
			}
		}
	})
	settler.Go(p.settle)
	for range p.cfg.BigFiles {
		big.Go(p.carryBig)
	}
	for k := range p.cfg.MaxWorkers {
		workers.Go(func() { p.workOn(k) })
	}
	workers.Go(p.lease)
	workers.Go(p.deal)
	workers.Go(p.keep)
	workers.Go(p.sweep)

	workers.Wait() // they send to the lane and to the settler
	close(p.lane)
	big.Wait() // they send to the settler
	close(p.results)
	settler.Wait()
	close(ended)
	clock.Wait()
	return nil
}

// workOn is worker number k: take a run of neighbours, carry it out in key order, again.
func (p *Pool) workOn(k int) {
	h := newHand(p, false)
	for p.gate.await(p.stop, k) == nil {
		run, ok := <-p.runs
		if !ok {
			return
		}
		for i := range run.ds {
			if !p.carryOne(h, k, run.part(i, i+1)) {
				p.returnUnbegun(run.part(i, len(run.ds)))
				break
			}
		}
	}
}

// carryOne carries the one of l out, or hands it to the lane. It reports false if worker number k may not begin anything of
// this lease now.
func (p *Pool) carryOne(h *hand, k int, l lent) bool {
	d := l.ds[0]
	if p.gate.begin(p.stop, k) != nil {
		return false
	}
	if p.gate.isParked() || p.void(l) {
		p.gate.end()
		return false
	}
	p.stats.active.Add(1)
	f, lane := h.carry(p.work, d)
	p.stats.active.Add(-1)
	p.gate.end()
	if !lane {
		p.results <- f
		return true
	}
	select {
	case p.lane <- l:
	default:
		tr, _ := p.tally.note(d.ID(), time.Now(), func(tr *trouble) { tr.soon++ })
		p.giveBack(later(d, protocol.KindBusy, "other big files go first", doubled(laneGap, soonLast, tr.soon)))
	}
	return true
}

// carryBig is one place in the lane for big files.
func (p *Pool) carryBig() {
	h := newHand(p, true)
	for l := range p.lane {
		if p.stop.Err() != nil || p.void(l) {
			p.returnUnbegun(l)
			continue
		}
		p.stats.big.Add(1)
		f, _ := h.carry(p.work, l.ds[0])
		p.stats.big.Add(-1)
		p.results <- f
	}
}

func (p *Pool) giveBack(r protocol.Result) { p.results <- finished{Result: r, began: time.Now()} }

// fault is a run of failures of the Source in one place: logged at its beginning and at its end.
type fault struct {
	p  *Pool
	op string
	n  int
}

func (p *Pool) newFault(op string) *fault { return &fault{p: p, op: op} }

// pause takes in err and waits, longer each time, until ctx ends at the latest.
func (f *fault) pause(ctx context.Context, err error) {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return // no fault
	}
	if f.n++; f.n == 1 {
		f.p.cfg.Log.Warn("the queue fails; it is tried again until it works", "op", f.op, "err", err)
	}
	_ = sleep(ctx, doubled(sourceGap, sourceLast, f.n)) // the caller sees the end of ctx by itself
}

func (f *fault) over() {
	if f.n > 0 {
		f.p.cfg.Log.Info("the queue works again", "op", f.op, "failures", f.n)
		f.n = 0
	}
}
