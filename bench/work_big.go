//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"syscall"
)

// workBig brings 4 files of 256 MiB into an empty bucket of the null server and of real ones.
func (h *harness) workBig(ctx context.Context) error {
	d := big()
	if h.opt.scale < 1 {
		d.least = max(64<<20, int(float64(d.least)*h.opt.scale))
		d.most = d.least
		d.name = fmt.Sprintf("big%dM", d.least>>20)
	}
	root, err := h.data(ctx, d)
	if err != nil {
		return err
	}
	const bucket = "bench-big"
	if err := h.null.makeBucket(ctx, bucket); err != nil {
		return err
	}
	n := &server{name: "null server", endpoint: h.null.endpoint, client: &http.Client{}, sign: newSigner(accessKey, secretKey, region, h.report.began)}
	defer n.client.CloseIdleConnections()
	if err := h.bigOn(ctx, n, d, root, bucket); err != nil {
		return err
	}
	for _, t := range []tool{versitygwTool, minioTool} {
		s, err := h.startServer(ctx, t, bucket)
		if err != nil {
			h.report.failed("big, "+t.name, err)
			continue
		}
		err = h.bigOn(ctx, s, d, root, bucket)
		if err := errors.Join(err, s.close()); err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) bigOn(ctx context.Context, s *server, d dataset, root, bucket string) error {
	b := bigFiles{h: h, s: s, d: d, job: job{dir: root, endpoint: s.endpoint, bucket: bucket}}
	var all []contender
	for _, a := range h.opt.agents {
		all = append(all, contender{name: a.name, role: ours, run: func(ctx context.Context, _ int) (outcome, error) {
			return b.whole(ctx, func() (cost, error) { return b.agent(ctx, a) })
		}})
	}
	for _, p := range h.having(false) {
		all = append(all, contender{name: p.name, role: other, run: func(ctx context.Context, _ int) (outcome, error) {
			return b.whole(ctx, func() (cost, error) { return h.runPeer(ctx, p, b.job) })
		}})
	}
	r, err := h.measure(ctx, fmt.Sprintf("%d × %d MiB, %s", d.files, d.most>>20, s.name), d.files, all)
	if err != nil {
		return err
	}
	work := "big, " + s.name
	if s.process != nil {
		h.report.against(work, "wall", r, (*line).wall, 1)
	}
	if our := r.ours(); our != nil {
		h.report.atMost(work, "peak memory", our.peak()/(1<<20), 64, "MiB")
	}
	return nil
}

// bigFiles is what a contender is to bring to a server.
type bigFiles struct {
	h   *harness
	s   *server
	d   dataset
	job job
}

func (b bigFiles) agent(ctx context.Context, of build) (cost, error) {
	state, err := b.h.newState()
	if err != nil {
		return cost{}, err
	}
	a, err := b.h.startAgent(ctx, of, agentJob{job: b.job, state: state})
	if err != nil {
		return cost{}, err
	}
	took, err := a.untilReady(ctx) // everything is in the queue then
	if err == nil {
		err = a.untilEmpty(ctx)
		took = a.now()
	}
	return took, errors.Join(err, a.end(), dropState(state))
}

// whole runs a contender, checks that the objects are there and removes them. What was written before is on the disk when
// it starts, so that nobody pays for the one before him.
func (b bigFiles) whole(ctx context.Context, run func() (cost, error)) (o outcome, err error) {
	syscall.Sync()
	if o.cost, err = run(); err != nil {
		return o, err
	}
	for _, method := range []string{http.MethodHead, http.MethodDelete} {
		for i := range b.d.files {
			n, err := b.s.ask(ctx, method, path.Join(b.job.bucket, keyPrefix, b.d.rel(i)))
			if err == nil && method == http.MethodHead && n != int64(b.d.most) {
				err = fmt.Errorf("%s has %d bytes in the bucket, and %d on disk", b.d.rel(i), n, b.d.most)
			}
			if err != nil {
				return o, err
			}
		}
	}
	o.note = fmt.Sprintf("%.0f MiB/s", float64(b.d.files*b.d.most>>20)/o.wall.Seconds())
	return o, nil
}
