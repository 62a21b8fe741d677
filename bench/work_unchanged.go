//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
)

// unchangedFiles is how many files are compared.
const unchangedFiles = 200_000

// listAlways has the agent compare with the bucket's listing at every start: the last time is always longer ago.
const listAlways = `list = "1ms"`

// workUnchanged compares 200,000 files with a bucket that holds them all: with its listing, and from the ledger alone.
func (h *harness) workUnchanged(ctx context.Context) error {
	d := many(h.files(unchangedFiles))
	root, err := h.data(ctx, d)
	if err != nil {
		return err
	}
	const theirs = "bench-peers"
	if err := h.null.makeBucket(ctx, theirs); err != nil {
		return err
	}
	h.say("filling the bucket of the peers")
	if _, err := h.floor(ctx, job{dir: root, endpoint: h.null.endpoint, bucket: theirs, connections: equalConnections}); err != nil {
		return err
	}
	var listing, ledger []contender
	for _, b := range h.opt.agents {
		k := &kept{h: h, b: b, d: d, job: job{dir: root, endpoint: h.null.endpoint, bucket: "bench-" + b.name}}
		if err := k.fill(ctx); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		defer k.forget(ctx)
		listing = append(listing, k.restart(true))
		ledger = append(ledger, k.restart(false))
	}
	for _, p := range h.having(true) {
		listing = append(listing, contender{name: p.name, role: other, run: func(ctx context.Context, _ int) (o outcome, err error) {
			return h.quiet(ctx, func() (cost, error) {
				return h.runPeer(ctx, p, job{dir: root, endpoint: h.null.endpoint, bucket: theirs})
			})
		}})
	}
	ledger = append(ledger, h.find(root, findName, "-type", "f", "-printf", ""),
		h.find(root, statName, "-type", "f", "-size", "+1000000k", "-printf", ""))

	r, err := h.measure(ctx, fmt.Sprintf("%s files, nothing changed, listing compared", group(d.files)), d.files, listing)
	if err != nil {
		return err
	}
	h.report.against("unchanged", "wall", r, (*line).wall, 0.5)
	if our := r.ours(); our != nil {
		h.report.atMost("unchanged", "peak memory", our.peak()/(1<<20), 64, "MiB")
		h.listed = our.wall()
	}
	r, err = h.measure(ctx, fmt.Sprintf("%s files, nothing changed, from the ledger (restart)", group(d.files)), d.files, ledger)
	if err != nil {
		return err
	}
	if our, find := r.ours(), r.named(findName); our != nil && find != nil {
		if stats := r.named(statName); stats != nil {
			h.report.atMost("restart", "wall to that of a find that stats each file", our.wall()/stats.wall(), 2.5, "×")
		}
		h.report.atMost("restart", "wall to that of a find that reads names only", our.wall()/find.wall(), 2.5, "×")
		h.listed -= our.wall()
		h.listedFiles = d.files
	}
	return h.null.dropBucket(ctx, theirs)
}

// How the report calls find where it looks at no file, and where it looks at each: the floors of walks.
const (
	findName = "find -type f"
	statName = "find -type f -size (stats each)"
)

// find walks the tree and prints nothing.
func (h *harness) find(root, name string, args ...string) contender {
	return contender{name: name, role: floor, run: func(ctx context.Context, _ int) (o outcome, err error) {
		path, err := exec.LookPath("find")
		if err != nil {
			return o, err
		}
		o.cost, err = h.runToEnd(ctx, h.command(ctx, name, path, append([]string{root}, args...), nil, job{dir: root}))
		return o, err
	}}
}

// quiet runs something that is to put nothing, and says what it asked the null server for.
func (h *harness) quiet(ctx context.Context, run func() (cost, error)) (o outcome, err error) {
	before, err := h.null.requests(ctx)
	if err != nil {
		return o, err
	}
	if o.cost, err = run(); err != nil {
		return o, err
	}
	after, err := h.null.requests(ctx)
	if err != nil {
		return o, err
	}
	o.note = fmt.Sprintf("%d listings, %d HEAD", after["ListObjects"]-before["ListObjects"], after["HeadObject"]-before["HeadObject"])
	if n := after["PutObject"] - before["PutObject"]; n != 0 {
		return o, fmt.Errorf("%d objects were put, though nothing has changed", n)
	}
	return o, nil
}

// kept is an agent's state, made once, of a bucket that is equal to a tree.
type kept struct {
	h     *harness
	b     build
	d     dataset
	job   job
	state string
}

// fill has the agent bring everything into the bucket.
func (k *kept) fill(ctx context.Context) (err error) {
	if err := k.h.null.makeBucket(ctx, k.job.bucket); err != nil {
		return err
	}
	if k.state, err = k.h.newState(); err != nil {
		return err
	}
	k.h.say("filling the bucket of %s", k.b.name)
	_, err = k.h.coldAgent(ctx, k.h.null, k.b, agentJob{job: k.job, state: k.state}, k.d.files)
	return err
}

func (k *kept) forget(ctx context.Context) {
	if err := errors.Join(dropState(k.state), k.h.null.dropBucket(ctx, k.job.bucket)); err != nil {
		k.h.say("%v", err)
	}
}

// restart starts the agent with a copy of the state and waits until it has compared everything.
func (k *kept) restart(list bool) contender {
	return contender{name: k.b.name, role: ours, run: func(ctx context.Context, _ int) (o outcome, err error) {
		state, err := k.h.newState()
		if err != nil {
			return o, err
		}
		defer func() { err = errors.Join(err, dropState(state)) }()
		if err := copyTree(k.state, state); err != nil {
			return o, fmt.Errorf("copy %s: %w", filepath.Base(k.state), err)
		}
		return k.h.quiet(ctx, func() (cost, error) { return k.h.restartAgent(ctx, k.b, agentJob{job: k.job, state: state}, list) })
	}}
}

// restartAgent starts an agent on a state that is there, and ends it when it has compared everything.
func (h *harness) restartAgent(ctx context.Context, b build, j agentJob, list bool) (cost, error) {
	if list {
		j.reconcile = listAlways
	}
	a, err := h.startAgent(ctx, b, j)
	if err != nil {
		return cost{}, err
	}
	took, err := a.untilReady(ctx)
	listed := a.listed // it is not written any more
	if end := a.end(); err == nil {
		err = end
	}
	if err == nil && listed != list {
		err = fmt.Errorf("compared with the listing: %v, and that was to be %v", listed, list)
	}
	return took, err
}
