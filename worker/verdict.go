package worker

import (
	"time"

	"s3apu/protocol"
)

const (
	looks    = 3               // for a source that is not there, as in S3 APU
	lookGap  = 5 * time.Second // between two looks (the same)
	soonGap  = time.Second     // until a file that is being written is looked at again; doubles
	soonLast = 15 * time.Second
	slowGap  = 2 * time.Second        // a guess: the pace, not this, spares the target
	parkGap  = 500 * time.Millisecond // nobody leases meanwhile; a guess
)

// failed says what becomes of a delivery that met err in a request of class c.
func (p *Pool) failed(d protocol.Delivery, c class, err *protocol.Error) protocol.Result {
	r := protocol.Result{Delivery: d, Err: err}
	now := time.Now()
	switch err.Kind {
	case protocol.KindSlow:
		r.Uncounted, r.Delay = true, jitter(slowGap)

	case protocol.KindUnreachable:
		r.Uncounted, r.Delay = true, jitter(parkGap)

	case protocol.KindTarget:
		p.refused(&r, c, now)

	case protocol.KindItem, protocol.KindNotFound, protocol.KindUsage:
		p.strike(&r, now)

	case protocol.KindChanged, protocol.KindBusy:
		tr, _ := p.tally.note(d.ID(), now, func(tr *trouble) { tr.soon++ })
		r.Uncounted, r.Delay = true, doubled(soonGap, soonLast, tr.soon)

	case protocol.KindVanished:
		p.vanished(&r, now)

	default: // transient, unknown, and faults of our own machine: they pass, and the instruction waits for that
		r.Delay = doubled(firstBackoff, lastBackoff, d.Attempt)
	}
	return r
}

// refused deals with an answer that would be the whole target's fault. The gate has heard of it already; here it is
// decided whether it is the instruction's: only if the target has carried out a request of the same class since the
// instruction's last refusal. Without that proof nothing is counted, or a policy that forbids everything for a night
// would bury everything.
func (p *Pool) refused(r *protocol.Result, c class, now time.Time) {
	own := false
	tr, exact := p.tally.note(r.Delivery.ID(), now, func(tr *trouble) {
		own = !tr.denied.IsZero() && p.gate.provenSince(c, tr.denied)
		tr.denied = now
		tr.target++
	})
	if own && exact {
		p.strike(r, now)
		return
	}
	r.Uncounted, r.Delay = true, doubled(firstBackoff, lastBackoff, tr.target)
}

// refusedAlone reports that id was refused before as if the whole target were wrong, and that the target has worked
// since.
func (p *Pool) refusedAlone(c class, id protocol.ObjectID) bool {
	tr, ok := p.tally.look(id)
	return ok && !tr.denied.IsZero() && p.gate.provenSince(c, tr.denied)
}

// strike counts a failure that is the instruction's own; enough of them bury it.
func (p *Pool) strike(r *protocol.Result, now time.Time) {
	tr, exact := p.tally.note(r.Delivery.ID(), now, func(tr *trouble) { tr.item++ })
	n := tr.item
	if !exact {
		n = r.Delivery.Attempt
	}
	r.Delay = doubled(firstBackoff, lastBackoff, n)
	r.Dead = n >= p.cfg.MaxRetries
}

// vanished deals with a source that is not there. A hint was about a file that has gone meanwhile; that it went is the
// next hint. A person or client may have been early, so it is looked for three times.
func (p *Pool) vanished(r *protocol.Result, now time.Time) {
	if r.Delivery.Hint {
		r.Err, r.Keep = nil, true
		return
	}
	tr, exact := p.tally.note(r.Delivery.ID(), now, func(tr *trouble) { tr.gone++ })
	n := tr.gone
	if !exact {
		n = r.Delivery.Attempt
	}
	r.Delay = lookGap
	if n >= looks {
		r.Dead = true
		r.Err.Hint = "skipped; it is taken up again when the file is there and is fed again"
	}
}

// later gives a delivery back as it was, to be handed out again after delay.
func later(d protocol.Delivery, kind protocol.Kind, why string, delay time.Duration) protocol.Result {
	return protocol.Result{Delivery: d, Uncounted: true, Delay: delay,
		Err: &protocol.Error{Op: "wait to " + d.Verb.String(), Object: string(d.Key), Kind: kind, Err: reason(why)}}
}

// reason is an error that is a sentence.
type reason string

func (r reason) Error() string { return string(r) }
