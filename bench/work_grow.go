//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

const (
	million  = 1_000_000
	tenth    = million / 10
	changing = 100 // every so many-th file changes: 1 %
)

// sized is what an agent took for a number of files.
type sized struct {
	files                  int
	cold, restart, changed *result
	stateBytes             int64 // behind the cold run, of the last build
}

// workMillion holds the memory of the agent with a million files against that with a tenth.
func (h *harness) workMillion(ctx context.Context) error {
	low, err := h.size(ctx, h.files(tenth))
	if err != nil {
		return err
	}
	high, err := h.size(ctx, h.files(million))
	if err != nil {
		return err
	}
	for _, part := range []struct {
		what      string
		low, high *result
	}{{"cold", low.cold, high.cold}, {"restart", low.restart, high.restart}, {"1 % changed", low.changed, high.changed}} {
		a, b := part.low.ours(), part.high.ours()
		if a == nil || b == nil {
			continue
		}
		h.report.atMost("million", fmt.Sprintf("%s: peak memory above that with %s files", part.what, group(low.files)),
			(b.peak()-a.peak())/(1<<20), 32, "MiB")
	}
	return nil
}

// workGrow shows how each cost grows with the number of files.
func (h *harness) workGrow(ctx context.Context) error {
	var all []*sized
	for n := 1000; n <= million; n *= 10 {
		s, err := h.size(ctx, h.files(n))
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	var w strings.Builder
	w.WriteString("**How the costs grow**\n\n| files | cold: wall | CPU a file | peak | restart: wall | CPU a file | peak | state, bytes a file |\n|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, s := range all {
		c, r := s.cold.ours(), s.restart.ours()
		if c == nil || r == nil {
			continue
		}
		fmt.Fprintf(&w, "| %s | %s | %s | %s | %s | %s | %s | %d |\n", group(s.files), seconds(c.wall()), perFile(c.cpu(), s.files), mib(int64(c.peak())),
			seconds(r.wall()), perFile(r.cpu(), s.files), mib(int64(r.peak())), s.stateBytes/int64(s.files))
	}
	h.report.note(w.String())
	return nil
}

// size measures every build with n files: cold, restarted, and restarted after 1 % of them have changed. It does so once
// for each n of a run. What takes very long is done once and not opt.repeats times.
func (h *harness) size(ctx context.Context, n int) (*sized, error) {
	if s := h.sizes[n]; s != nil {
		return s, nil
	}
	d := many(n)
	root, err := h.data(ctx, d)
	if err != nil {
		return nil, err
	}
	s := &sized{files: n}
	newResult := func(what string) *result {
		r := &result{title: group(n) + " files, " + what, files: n}
		for _, b := range h.opt.agents {
			r.lines = append(r.lines, &line{name: b.name, role: ours})
		}
		return r
	}
	s.cold, s.restart, s.changed = newResult("cold"), newResult("restart"), newResult("restart with 1 % changed")
	rounds := h.opt.repeats
	if n > tenth {
		rounds = 1
	}
	for round := range rounds {
		for i, b := range h.opt.agents {
			at := grown{h: h, b: b, d: d, root: root, version: round*len(h.opt.agents) + i + 1}
			runs, bytes, err := at.run(ctx)
			if ctx.Err() != nil {
				return nil, errors.Join(ctx.Err(), err)
			}
			for k, r := range []*result{s.cold, s.restart, s.changed} {
				if err != nil {
					r.lines[i].err = err
					continue
				}
				r.lines[i].runs = append(r.lines[i].runs, runs[k])
				h.say("%s: %s: %v, CPU %v, %s", r.title, b.name, runs[k].wall, runs[k].cpu, mib(runs[k].peak))
			}
			s.stateBytes = bytes
		}
	}
	h.report.results = append(h.report.results, s.cold, s.restart, s.changed)
	h.sizes[n] = s
	return s, nil
}

// grown is one agent with one tree.
type grown struct {
	h       *harness
	b       build
	d       dataset
	root    string
	version int // of the files that change
}

func (g grown) run(ctx context.Context) (runs [3]outcome, stateBytes int64, err error) {
	const bucket = "bench-grow"
	h := g.h
	if err := h.null.makeBucket(ctx, bucket); err != nil {
		return runs, 0, err
	}
	state, err := h.newState()
	if err != nil {
		return runs, 0, err
	}
	defer func() {
		err = errors.Join(err, dropState(state), h.null.dropBucket(context.WithoutCancel(ctx), bucket))
	}()
	j := agentJob{job: job{dir: g.root, endpoint: h.null.endpoint, bucket: bucket}, state: state}
	if runs[0].cost, err = h.coldAgent(ctx, h.null, g.b, j, g.d.files); err != nil {
		return runs, 0, err
	}
	if stateBytes, err = treeBytes(state); err != nil {
		return runs, 0, err
	}
	if runs[1], err = h.quiet(ctx, func() (cost, error) { return h.restartAgent(ctx, g.b, j, false) }); err != nil {
		return runs, 0, err
	}
	n := 0
	for i := 0; i < g.d.files; i += changing {
		if err := g.d.write(g.root, i, g.version); err != nil {
			return runs, 0, err
		}
		n++
	}
	runs[2], err = g.afterChange(ctx, j, n)
	return runs, stateBytes, err
}

// afterChange starts the agent behind n changes and waits until they are in the bucket.
func (g grown) afterChange(ctx context.Context, j agentJob, n int) (o outcome, err error) {
	before, err := g.h.null.requests(ctx)
	if err != nil {
		return o, err
	}
	if o.cost, err = g.h.coldAgent(ctx, g.h.null, g.b, j, g.d.files); err != nil {
		return o, err
	}
	after, err := g.h.null.requests(ctx)
	if err == nil && after["PutObject"]-before["PutObject"] < int64(n) {
		err = fmt.Errorf("%d objects were put, and %d files have changed", after["PutObject"]-before["PutObject"], n)
	}
	return o, err
}
