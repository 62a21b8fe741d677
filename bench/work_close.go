//go:build linux

package main

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"s3apu/bench/nulls3"
)

// watched is a fresh folder and a fresh bucket that a program keeps equal.
type watched struct {
	h    *harness
	job  job
	stop func() error
	proc *process
}

// watchers are the programs that watch: each build of the agent, and mc.
func (h *harness) watchers() []contender {
	var all []contender
	for _, b := range h.opt.agents {
		all = append(all, contender{name: b.name, role: ours})
	}
	for _, p := range h.having(true) {
		if p.name == "mc" {
			all = append(all, contender{name: mcWatch, role: other})
		}
	}
	return all
}

// mcWatch is the name of the only peer that watches, as the report shows it.
const mcWatch = "mc mirror --watch"

// watch starts a watching program on a fresh folder, and waits until it watches.
func (h *harness) watch(ctx context.Context, name string, tops ...string) (_ *watched, err error) {
	const bucket = "bench-watch"
	if err := h.null.makeBucket(ctx, bucket); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(h.dir, "watched-")
	if err != nil {
		return nil, err
	}
	for _, top := range tops {
		if err := os.Mkdir(filepath.Join(dir, top), 0o755); err != nil {
			return nil, err
		}
	}
	w := &watched{h: h, job: job{dir: dir, endpoint: h.null.endpoint, bucket: bucket}}
	if name == mcWatch {
		return w, w.startMC(ctx)
	}
	i := slices.IndexFunc(h.opt.agents, func(b build) bool { return b.name == name })
	state, err := h.newState()
	if err != nil {
		return nil, err
	}
	a, err := h.startAgent(ctx, h.opt.agents[i], agentJob{job: w.job, state: state})
	if err != nil {
		return nil, err
	}
	w.proc = a.process
	w.stop = func() error { return errors.Join(a.end(), dropState(state)) }
	if _, err := a.untilReady(ctx); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// startMC starts mc and writes files until one arrives: it does not say when it watches.
func (w *watched) startMC(ctx context.Context) error {
	h := w.h
	log, err := os.CreateTemp(h.logs, "mc-watch-*.log")
	if err != nil {
		return err
	}
	defer log.Close()
	p := peerNamed("mc")
	cmd := h.command(ctx, mcWatch, h.tools["mc"], mcArgs(w.job, "--watch"), p.env(w.job, h.home), w.job)
	cmd.Stdout, cmd.Stderr = log, log
	if w.proc, err = begin(cmd); err != nil {
		return err
	}
	w.stop = w.proc.stop
	for i := range 60 {
		probe := fmt.Sprintf("probe-%d", i)
		if err := os.WriteFile(filepath.Join(w.job.dir, probe), nil, 0o644); err != nil {
			return err
		}
		a, err := h.null.arrival(ctx, w.job.bucket, keyPrefix+"/"+probe, time.Unix(0, 0), time.Second)
		if err != nil || a.At != 0 {
			return err
		}
		if w.proc.gone() {
			break
		}
	}
	return errors.Join(fmt.Errorf("mc does not watch: %s", tail(log.Name())), w.close())
}

func (w *watched) close() error { return errors.Join(w.stop(), os.RemoveAll(w.job.dir)) }

// closeFiles is how many files are written one after another. A guess: the slowest three of them are the p99.
const closeFiles = 300

// workClose writes one file after another and measures how long it takes from close() until the endpoint has it.
func (h *harness) workClose(ctx context.Context) error {
	n := closeFiles
	if h.opt.quick {
		n /= 3
	}
	var all []contender
	took := map[string][]float64{} // milliseconds, of all rounds
	wrong := map[string]int{}
	for _, c := range h.watchers() {
		c.run = func(ctx context.Context, _ int) (o outcome, err error) {
			w, err := h.watch(ctx, c.name, "camera")
			if err != nil {
				return o, err
			}
			defer func() { err = errors.Join(err, w.close()) }()
			before := w.proc.now()
			for i := range n {
				t, whole, err := w.one(ctx, i)
				if err != nil {
					return o, err
				}
				if !whole {
					wrong[c.name]++
				}
				took[c.name] = append(took[c.name], t.Seconds()*1000)
			}
			o.cost = w.proc.now()
			o.wall, o.cpu = o.wall-before.wall, o.cpu-before.cpu
			return o, nil
		}
		all = append(all, c)
	}
	r, err := h.measure(ctx, fmt.Sprintf("%d files one after another, each from close() to the bucket", n), n, all)
	if err != nil {
		return err
	}
	var w strings.Builder
	w.WriteString("**One file, close → in the bucket**\n\n| who | files | p50 | p90 | p99 | longest | torn or not what was written |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, c := range all {
		t := took[c.name]
		fmt.Fprintf(&w, "| %s | %d | %.1f ms | %.1f ms | %.1f ms | %.1f ms | %d |\n", c.name, len(t), share(t, 0.5), share(t, 0.9), share(t, 0.99), share(t, 1), wrong[c.name])
	}
	h.report.note(w.String())
	if our := r.ours(); our != nil {
		h.report.atMost("close", "p50", share(took[our.name], 0.5), 10, "ms")
		h.report.atMost("close", "p99", share(took[our.name], 0.99), 50, "ms")
		h.report.atMost("close", "files that are not whole", float64(wrong[our.name]), 0, "")
	}
	return nil
}

// arriveIn is how long a single file may take before it counts as lost. A guess: far above any time that was seen.
const arriveIn = 30 * time.Second

// one writes a file and waits for it.
func (w *watched) one(ctx context.Context, i int) (took time.Duration, whole bool, err error) {
	rel := fmt.Sprintf("camera/image-%04d.jpg", i)
	body := make([]byte, 4096)
	fill(rand.New(rand.NewPCG(uint64(i), 4096)), body) //nolint:gosec // contents need no secret
	f, err := os.Create(filepath.Join(w.job.dir, rel))
	if err != nil {
		return 0, false, err
	}
	if _, err := f.Write(body); err != nil {
		return 0, false, errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return 0, false, err
	}
	closed := time.Now()
	// Whatever of it arrived before it was closed counts too, as the time 0, and shows as not whole if it is not.
	a, err := w.h.null.arrival(ctx, w.job.bucket, keyPrefix+"/"+rel, time.Unix(0, 0), arriveIn)
	if err != nil {
		return 0, false, err
	}
	if a == (nulls3.Arrival{}) {
		return arriveIn, false, nil
	}
	return max(0, time.Unix(0, a.At).Sub(closed)), a.ETag == fmt.Sprintf("%x", md5.Sum(body)), nil
}

// share is the value below which that share of all lies; 0 without any.
func share(all []float64, p float64) float64 {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return all[min(len(all)-1, int(float64(len(all))*p))]
}
