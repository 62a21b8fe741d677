//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	burstFiles   = 20_000
	burstFolders = 500
	burstParents = 25 // one in so many folders holds others; a guess
	// backlogShare says when the agent counts as behind: more than one file in so many has not arrived when the last was written. Fewer
	// than that are always under way. A guess.
	backlogShare = 50
	// silence is how long nothing may arrive until what is missing counts as lost. A guess: far above any gap that was seen.
	silence = 20 * time.Second
)

// workBurst writes 20,000 files into 500 new folders as fast as it can, below a folder that is watched.
func (h *harness) workBurst(ctx context.Context) error { return h.burstIn(ctx, "burst", "") }

// memory is where files are made faster than anybody can send them, so that an agent is behind when the last is written.
const memory = "/dev/shm"

// workBurstMemory does the same with data and states in memory. The cold rate there is measured there. What it made is removed in any case.
func (h *harness) workBurstMemory(ctx context.Context) (err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(memory, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
		return fmt.Errorf("%s is no tmpfs here: %w", memory, errors.Join(err, errors.ErrUnsupported))
	}
	in := *h
	if in.dir, err = os.MkdirTemp(memory, "s3apu-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(in.dir)) }()
	if err := os.Mkdir(in.states(), 0o755); err != nil {
		return err
	}
	d := small(h.files(coldFiles))
	root, err := in.data(ctx, d)
	if err != nil {
		return err
	}
	c := cold{h: &in, null: in.null, d: d, root: root}
	var all []contender
	for _, b := range h.opt.agents {
		all = append(all, c.agent(b.name, b, 0))
	}
	const where = ", data and states in memory (tmpfs)"
	r, err := h.measure(ctx, fmt.Sprintf("%s files of 0.5–16 KiB, cold, null server", group(d.files))+where, d.files, all)
	if err != nil {
		return err
	}
	in.cold = 0
	if our := r.ours(); our != nil {
		in.cold = float64(d.files) / our.wall()
	}
	return in.burstIn(ctx, "burst in memory", where)
}

func (h *harness) burstIn(ctx context.Context, work, where string) error {
	n, folders := h.files(burstFiles), h.files(burstFolders)
	var all []contender
	lost := map[string]int{}
	rates := map[string][]float64{}  // files a second from the first write to the last arrival
	drains := map[string][]float64{} // files a second after the last write; +Inf: the program was not behind then
	for _, c := range h.watchers() {
		c.run = func(ctx context.Context, _ int) (o outcome, err error) {
			alone, err := h.burstAlone(ctx, n, folders)
			if err != nil {
				return o, err
			}
			w, err := h.watch(ctx, c.name)
			if err != nil {
				return o, err
			}
			defer func() { err = errors.Join(err, w.close()) }()
			before, err := h.null.state(ctx, w.job.bucket, 0, 0)
			if err != nil {
				return o, err
			}
			was, began := w.proc.now(), time.Now()
			if err := burst(ctx, w.job.dir, n, folders); err != nil {
				return o, err
			}
			wrote := time.Since(began)
			then, err := h.null.state(ctx, w.job.bucket, 0, 0)
			if err != nil {
				return o, err
			}
			files, last, err := h.drained(ctx, w.job.bucket, before.Files+n)
			if err != nil {
				return o, err
			}
			files -= before.Files
			now := w.proc.now()
			o.wall, o.cpu, o.peak = last.Sub(began), now.cpu-was.cpu, now.peak
			rate := float64(files) / o.wall.Seconds()
			lost[c.name] += n - files
			rates[c.name] = append(rates[c.name], rate)
			left := files + before.Files - then.Files
			rest := last.Sub(began) - wrote
			drain := math.Inf(1)
			if left > n/backlogShare && rest > 0 {
				drain = float64(left) / rest.Seconds()
			}
			drains[c.name] = append(drains[c.name], drain)
			o.note = fmt.Sprintf("%d lost; %.0f files/s from the first write to the last arrival; %.2f s of it writing, which took %.2f s where nobody watched; then %d were left, for %.2f s",
				n-files, rate, wrote.Seconds(), alone.Seconds(), left, max(0, rest.Seconds()))
			return o, nil
		}
		all = append(all, c)
	}
	r, err := h.measure(ctx, fmt.Sprintf("burst of %s files into %d new folders, watched", group(n), folders)+where, n, all)
	if err != nil {
		return err
	}
	our := r.ours()
	if our == nil {
		return nil
	}
	h.report.atMost(work, fmt.Sprintf("files lost in %d bursts", len(our.runs)), float64(lost[our.name]), 0, "")
	rate := median(rates[our.name])
	h.burst = rate
	for _, part := range []struct {
		what string
		rate float64
	}{
		{"rate from the first write to the last arrival ≥ the cold rate", rate},
		{"rate after the last write ≥ the cold rate", median(drains[our.name])},
	} {
		is := fmt.Sprintf("%.0f/s", part.rate)
		if math.IsInf(part.rate, 1) {
			is = "not behind"
		}
		if h.cold > 0 {
			h.report.hold(work, part.what, fmt.Sprintf("%s, cold %.0f/s", is, h.cold), part.rate >= h.cold)
		} else {
			h.report.bars = append(h.report.bars, bar{work, part.what, is + "; cold was not measured", "unknown"})
		}
	}
	return nil
}

// burstAlone makes the same burst in a folder that nobody watches and returns how long that took: no watcher can be faster than the
// writer.
func (h *harness) burstAlone(ctx context.Context, n, folders int) (took time.Duration, err error) {
	dir, err := os.MkdirTemp(h.dir, "unwatched-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	began := time.Now()
	err = burst(ctx, dir, n, folders)
	return time.Since(began), err
}

// burst makes the folders and writes the files, one folder after the other.
func burst(ctx context.Context, dir string, n, folders int) error {
	d := dataset{least: 512, most: 4096}
	parents, made := max(1, folders/burstParents), 0
	for f := range folders {
		at := fmt.Sprintf("p%02d", f%parents)
		if f >= parents {
			at = filepath.Join(at, fmt.Sprintf("c%03d", f))
		}
		if err := os.Mkdir(filepath.Join(dir, at), 0o755); err != nil {
			return err
		}
		for ; made < n*(f+1)/folders; made++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := d.writeTo(filepath.Join(dir, at, fmt.Sprintf("file-%06d.dat", made)), made, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// drained waits until that many files are in the bucket, or nothing comes any more, and returns how many there are and
// when the last one came.
func (h *harness) drained(ctx context.Context, bucket string, files int) (int, time.Time, error) {
	for had := -1; ; {
		s, err := h.null.state(ctx, bucket, files, silence)
		if err != nil {
			return 0, time.Time{}, err
		}
		if s.Files >= files || s.Files == had {
			return s.Files, time.Unix(0, s.Last), nil
		}
		had = s.Files
	}
}
