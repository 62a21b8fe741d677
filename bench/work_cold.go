//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
)

const (
	coldFiles        = 10_000
	equalConnections = 16 // of every contender, where they are to be equal; a guess, and what the floor uses
)

// workCold brings 10,000 small files into an empty bucket.
func (h *harness) workCold(ctx context.Context) error {
	d := small(h.files(coldFiles))
	root, err := h.data(ctx, d)
	if err != nil {
		return err
	}
	c := cold{h: h, null: h.null, d: d, root: root}
	all := []contender{c.floor()}
	for _, b := range h.opt.agents {
		all = append(all, c.agent(b.name, b, 0))
	}
	for _, p := range h.having(false) {
		all = append(all, c.peer(p, 0))
	}
	r, err := h.measure(ctx, fmt.Sprintf("%s files of 0.5–16 KiB, cold, null server", group(d.files)), d.files, all)
	if err != nil {
		return err
	}
	const work = "cold"
	h.report.against(work, "wall", r, (*line).wall, 0.40)
	h.report.against(work, "CPU", r, (*line).cpu, 0.40)
	if our, low := r.ours(), r.named(floorName); our != nil && low != nil {
		h.report.atMost(work, "wall to the floor's", our.wall()/low.wall(), 1.5, "×")
		h.cold = float64(d.files) / our.wall()
	}
	return nil
}

// floorName is how the report calls what [runFloor] does.
const floorName = "floor: bare signed PUTs"

// cold is a dataset that is brought into an empty bucket of a null server, once by everybody.
type cold struct {
	h    *harness
	null *null
	d    dataset
	root string
}

// bucket makes an empty bucket.
func (c cold) bucket(ctx context.Context) (string, error) {
	const bucket = "bench-cold"
	return bucket, c.null.makeBucket(ctx, bucket)
}

// whole checks that every file has arrived, and forgets them.
func (c cold) whole(ctx context.Context, bucket string) error {
	s, err := c.null.state(ctx, bucket, 0, 0)
	if err != nil {
		return err
	}
	if s.Files != c.d.files {
		return fmt.Errorf("%d of %d files are in the bucket", s.Files, c.d.files)
	}
	return c.null.dropBucket(ctx, bucket)
}

func (c cold) agent(name string, b build, connections int) contender {
	return c.agentWith(name, b, agentJob{worker: workers(connections)})
}

// agentWith is agent with lines of the configuration.
func (c cold) agentWith(name string, b build, j agentJob) contender {
	return contender{name: name, role: ours, run: func(ctx context.Context, _ int) (o outcome, err error) {
		bucket, err := c.bucket(ctx)
		if err != nil {
			return o, err
		}
		state, err := c.h.newState()
		if err != nil {
			return o, err
		}
		j.job, j.state = job{dir: c.root, endpoint: c.null.endpoint, bucket: bucket}, state
		if o.cost, err = c.h.coldAgent(ctx, c.null, b, j, c.d.files); err != nil {
			return o, err
		}
		if err := dropState(state); err != nil {
			return o, err
		}
		return o, c.whole(ctx, bucket)
	}}
}

// coldAgent starts an agent, waits until everything is in the bucket and its queue is empty, and ends it.
func (h *harness) coldAgent(ctx context.Context, n *null, b build, j agentJob, files int) (cost, error) {
	a, err := h.startAgent(ctx, b, j)
	if err != nil {
		return cost{}, err
	}
	took, err := a.untilKept(ctx, n, j.bucket, files)
	if end := a.end(); err == nil {
		err = end
	}
	return took, err
}

func (c cold) peer(p peer, connections int) contender {
	return contender{name: p.name, role: other, run: func(ctx context.Context, _ int) (o outcome, err error) {
		bucket, err := c.bucket(ctx)
		if err != nil {
			return o, err
		}
		if o.cost, err = c.h.runPeer(ctx, p, job{dir: c.root, endpoint: c.null.endpoint, bucket: bucket, connections: connections}); err != nil {
			return o, err
		}
		return o, c.whole(ctx, bucket)
	}}
}

func (c cold) floor() contender {
	return contender{name: floorName, role: floor, run: func(ctx context.Context, _ int) (o outcome, err error) {
		bucket, err := c.bucket(ctx)
		if err != nil {
			return o, err
		}
		if o.cost, err = c.h.floor(ctx, job{dir: c.root, endpoint: c.null.endpoint, bucket: bucket, connections: equalConnections}); err != nil {
			return o, err
		}
		return o, c.whole(ctx, bucket)
	}}
}

// floor runs the bare PUTs as a process.
func (h *harness) floor(ctx context.Context, j job) (cost, error) {
	self, err := os.Executable()
	if err != nil {
		return cost{}, err
	}
	args := []string{"floor", "-endpoint", j.endpoint, "-bucket", j.bucket, "-prefix", keyPrefix + "/", "-dir", j.dir,
		"-connections", strconv.Itoa(j.connections)}
	return h.runToEnd(ctx, h.command(ctx, floorName, self, args, nil, j))
}

// group writes a number with commas between thousands.
func group(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
