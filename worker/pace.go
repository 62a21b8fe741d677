package worker

import (
	"context"
	"time"
)

// How many requests the gate lets through at once, and how fast.

// errTooMany says that a worker should not begin anything until await lets it.
const errTooMany = reason("fewer requests at once are allowed now")

// begin waits until worker number k may start a small request; end follows it. It fails if ctx ends, or if k is one of too many.
func (g *gate) begin(ctx context.Context, k int) error { return g.start(ctx, &g.small, k) }
func (g *gate) end() {
	used := g.small.release()
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.tick(now)
	if g.parked != nil || g.pace.slowed() {
		g.climb.restart()
	} else if g.climb.answered(now, used) {
		g.follow()
	}
}

// beginPart and endPart are the same for a part of a multipart upload.
func (g *gate) beginPart(ctx context.Context) error { return g.start(ctx, &g.parts, 0) }
func (g *gate) endPart() {
	g.parts.release()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tick(time.Now())
}

func (g *gate) start(ctx context.Context, s *slots, k int) error {
	if k >= g.limit() {
		return errTooMany
	}
	if err := s.acquire(ctx); err != nil {
		return err
	}
	g.mu.Lock()
	now := time.Now()
	g.tick(now)
	if k >= g.pace.limit { // since it stood in line
		g.mu.Unlock()
		s.release()
		return errTooMany
	}
	wait := max(0, min(g.lastStart.Add(g.pace.gap).Sub(now), g.pace.gap))
	g.lastStart = now.Add(wait)
	g.mu.Unlock()
	if wait == 0 {
		return nil
	}
	if err := sleep(ctx, wait); err != nil {
		s.release()
		return err
	}
	return nil
}

// follow makes what the climb has found the most that the pace allows. It needs the lock.
func (g *gate) follow() {
	g.pace.bound(g.climb.limit)
	usual := g.runLimit == g.leastRun
	g.leastRun = max(leastRun, 2*g.climb.limit)
	if usual || g.runLimit < g.leastRun {
		g.runLimit = g.leastRun
	}
	g.resize()
}

// tick and resize need the lock.
func (g *gate) tick(now time.Time) {
	if g.pace.grow(now) {
		g.resize()
	}
}

// growth ticks, and returns a channel that tells when to do so again; nil: after the next 503. Who sends may be busy for long.
func (g *gate) growth() <-chan time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tick(time.Now())
	if !g.pace.slowed() {
		return nil
	}
	return time.After(time.Until(g.pace.next))
}

func (g *gate) resize() {
	if g.small.resize(g.pace.limit) {
		close(g.changed)
		g.changed = make(chan struct{})
	}
	g.parts.resize(g.pace.share(g.maxParts))
}

// await waits until the gate is open and worker number k, counted from 0, is one of those that the pace allows.
func (g *gate) await(ctx context.Context, k int) error {
	for {
		g.mu.Lock()
		g.tick(time.Now())
		opened, may, changed := g.opened, k < g.pace.limit, g.changed
		g.mu.Unlock()
		select {
		case <-opened:
		case <-ctx.Done():
			return ctx.Err()
		}
		if may {
			return ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// limit returns how many requests may be under way.
func (g *gate) limit() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tick(time.Now())
	return g.pace.limit
}

// changes returns a channel that is closed when limit is another.
func (g *gate) changes() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}
