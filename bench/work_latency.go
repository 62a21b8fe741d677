//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

// farAway is the time that a distant S3 adds to each request. A guess: a region on the same continent.
const farAway = 20 * time.Millisecond

// sameRequests is the name of an agent that puts no folder objects, which nobody else puts.
func sameRequests(agent string) string { return agent + `, folder_objects = "none"` }

// workLatency brings the small files to an endpoint that is far away: with equal connections, and with as many as each
// program chooses.
func (h *harness) workLatency(ctx context.Context) error {
	d := small(h.files(coldFiles))
	root, err := h.data(ctx, d)
	if err != nil {
		return err
	}
	far, err := startNull(ctx, farAway)
	if err != nil {
		return err
	}
	defer far.close()
	c := cold{h: h, null: far, d: d, root: root}
	title := fmt.Sprintf("%s files of 0.5–16 KiB, cold, null server with %v of latency", group(d.files), farAway)

	equal := []contender{c.floor()}
	for _, b := range h.opt.agents {
		equal = append(equal, c.agent(b.name, b, equalConnections))
	}
	last := h.opt.agents[len(h.opt.agents)-1]
	same := c.agentWith(sameRequests(last.name), last, agentJob{worker: workers(equalConnections), s3: `folder_objects = "none"`})
	same.role = floor // to be held against, and not ours by default
	equal = append(equal, same)
	for _, p := range h.having(false) {
		if p.counted {
			equal = append(equal, c.peer(p, equalConnections))
		}
	}
	r, err := h.measure(ctx, fmt.Sprintf("%s, %d connections each", title, equalConnections), d.files, equal)
	if err != nil {
		return err
	}
	h.report.against("latency", "wall with equal connections", r, (*line).wall, 1)
	if our, best := r.named(sameRequests(last.name)), r.fastest((*line).wall); our != nil && best != nil {
		h.report.atMost("latency", "wall with equal requests, without folder objects, to that of "+best.name, our.wall()/best.wall(), 1, "×")
	}

	var own []contender
	for _, n := range []int{32, 64, 128} {
		fixed := c.agent(fmt.Sprintf("%s, max_workers = %d", last.name, n), last, n)
		fixed.role = floor // to be held against, and not ours by default
		own = append(own, fixed)
	}
	for _, b := range h.opt.agents {
		own = append(own, c.agent(b.name, b, 0))
	}
	for _, p := range h.having(false) {
		own = append(own, c.peer(p, 0))
	}
	r, err = h.measure(ctx, title+", as many connections as each chooses", d.files, own)
	if err != nil {
		return err
	}
	if our := r.ours(); our != nil {
		best := our.wall()
		for _, l := range r.lines {
			if l.role == floor && l.err == nil {
				best = min(best, l.wall())
			}
		}
		h.report.atMost("latency", "wall with its own number to that with the best fixed one", our.wall()/best, 1.25, "×")
	}
	return nil
}
