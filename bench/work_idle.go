//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	idleFolders = 10_000
	idleShare   = 0.1 // the bar, in percent of one processor
)

// workIdle has an agent watch 10,000 folders in which nothing happens.
func (h *harness) workIdle(ctx context.Context) error {
	d := dataset{name: "folders", files: h.files(idleFolders), perFolder: 1, least: 64, most: 512}
	root, err := h.data(ctx, d)
	if err != nil {
		return err
	}
	const bucket = "bench-idle"
	var all []contender
	shares, asked := map[string][]float64{}, map[string]int64{}
	for _, b := range h.opt.agents {
		all = append(all, contender{name: b.name, role: ours, run: func(ctx context.Context, _ int) (o outcome, err error) {
			if err := h.null.makeBucket(ctx, bucket); err != nil {
				return o, err
			}
			state, err := h.newState()
			if err != nil {
				return o, err
			}
			a, err := h.startAgent(ctx, b, agentJob{job: job{dir: root, endpoint: h.null.endpoint, bucket: bucket}, state: state})
			if err != nil {
				return o, err
			}
			defer func() { err = errors.Join(err, a.end(), dropState(state)) }()
			if _, err := a.untilKept(ctx, h.null, bucket, d.files); err != nil {
				return o, err
			}
			if err := rest(ctx, afterWork); err != nil {
				return o, err
			}
			before, err := h.null.requests(ctx)
			if err != nil {
				return o, err
			}
			was := a.now()
			if err := rest(ctx, h.opt.idle); err != nil {
				return o, err
			}
			now := a.now()
			after, err := h.null.requests(ctx)
			if err != nil {
				return o, err
			}
			o.wall, o.cpu, o.peak = now.wall-was.wall, now.cpu-was.cpu, now.peak
			share, n := 100*o.cpu.Seconds()/o.wall.Seconds(), total(after)-total(before)
			shares[b.name], asked[b.name] = append(shares[b.name], share), asked[b.name]+n
			o.note = fmt.Sprintf("%.3f %% of a processor, %d requests", share, n)
			return o, nil
		}})
	}
	repeats := h.opt.repeats
	h.opt.repeats = 1 // it is long, and nothing in it varies
	r, err := h.measure(ctx, fmt.Sprintf("%s watched folders, idle for %v", group(d.files), h.opt.idle), 0, all)
	h.opt.repeats = repeats
	if err != nil {
		return err
	}
	if our := r.ours(); our != nil {
		h.report.atMost("idle", "CPU", median(shares[our.name]), idleShare, "% of a processor")
		h.report.atMost("idle", "requests", float64(asked[our.name]), 0, "")
	}
	return nil
}

// afterWork is how long the agent may tidy up behind its first upload before it counts as idle: Pebble compacts. A guess.
const afterWork = 10 * time.Second

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func total(requests map[string]int64) (n int64) {
	for _, k := range requests {
		n += k
	}
	return n
}
