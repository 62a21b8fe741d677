//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// harness is one run.
type harness struct {
	opt    options
	err    io.Writer         // progress, for people
	dir    string            // data and states
	own    bool              // dir is temporary
	logs   string            // what the programs print
	home   string            // HOME of the programs
	tools  map[string]string // the paths of those that could be had
	null   *null
	report *report
	sizes  map[int]*sized // of the works that grow, each measured once

	// What works leave for others; 0: not measured.
	cold        float64 // files a second into an empty bucket
	burst       float64 // files a second of a burst
	listed      float64 // seconds that the listing of listedFiles costs beside the comparison with the ledger
	listedFiles int
	accepted    float64 // instructions a second that the socket takes
}

// work is one row of the table.
type work struct {
	name string
	run  func(*harness, context.Context) error
}

func allWorks() []work {
	return []work{
		{"cold", (*harness).workCold},
		{"latency", (*harness).workLatency},
		{"unchanged", (*harness).workUnchanged},
		{"million", (*harness).workMillion},
		{"big", (*harness).workBig},
		{"close", (*harness).workClose},
		{"burst", (*harness).workBurst},
		{"burst-memory", (*harness).workBurstMemory},
		{"socket", (*harness).workSocket},
		{"idle", (*harness).workIdle},
		{"grow", (*harness).workGrow},
		{"forecast", (*harness).workForecast},
	}
}

func workNames() []string {
	var names []string
	for _, w := range allWorks() {
		names = append(names, w.name)
	}
	return names
}

func workNamed(name string) *work {
	for _, w := range allWorks() {
		if w.name == name {
			return &w
		}
	}
	return nil
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }

// open prepares a run: folders, programs, the null server.
func open(ctx context.Context, opt options, progress io.Writer) (_ *harness, err error) {
	h := &harness{opt: opt, err: progress, dir: opt.dir, tools: map[string]string{}, sizes: map[int]*sized{}}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if h.dir == "" {
		h.own = true
		h.dir, err = os.MkdirTemp("", "s3apu-bench-")
	} else {
		err = os.MkdirAll(h.dir, 0o755)
	}
	if err != nil {
		return nil, err
	}
	if h.dir, err = filepath.Abs(h.dir); err != nil {
		return nil, err
	}
	if h.opt.cache == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		h.opt.cache = filepath.Join(cache, "s3apu-bench")
	}
	h.logs, h.home = filepath.Join(h.dir, "logs"), filepath.Join(h.dir, "home")
	if err := os.RemoveAll(h.states()); err != nil { // of a run that was cut off
		return nil, err
	}
	for _, dir := range []string{h.logs, h.home, h.states()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	h.report = newReport(opt, h.dir)
	if len(opt.agents) == 0 {
		b, err := h.build(ctx)
		if err != nil {
			return nil, err
		}
		h.opt.agents = []build{b}
		h.report.version("this module", "commit "+h.versionOf(ctx, "git", "describe", "--always", "--dirty"))
	}
	for _, b := range h.opt.agents {
		h.report.version(b.name, h.versionOf(ctx, b.path, "version"))
	}
	for _, name := range opt.peers {
		t := peerNamed(name).tool
		h.want(ctx, t)
	}
	if h.null, err = startNull(ctx, 0); err != nil {
		return nil, err
	}
	return h, nil
}

// want has a tool, or tells the report why not.
func (h *harness) want(ctx context.Context, t tool) string {
	if path, asked := h.tools[t.name]; asked {
		return path
	}
	path, err := h.have(ctx, t)
	if err != nil {
		h.report.version(t.name, "could not be had: "+err.Error())
		h.say("%s could not be had: %v", t.name, err)
	} else {
		h.report.version(t.name, t.version)
	}
	h.tools[t.name] = path
	return path
}

// build builds the agent of this module.
func (h *harness) build(ctx context.Context) (build, error) {
	path := filepath.Join(h.dir, "s3apu-agent")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "s3apu/cmd/s3apu-agent")
	if out, err := cmd.CombinedOutput(); err != nil {
		return build{}, fmt.Errorf("build the agent: %w: %s", err, out)
	}
	return build{"agent", path}, nil
}

func (h *harness) versionOf(ctx context.Context, path string, args ...string) string {
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return first
}

// states is the folder of the agents' states.
func (h *harness) states() string { return filepath.Join(h.dir, "states") }

// newState returns a name for a state_dir that is not there.
func (h *harness) newState() (string, error) {
	dir, err := os.MkdirTemp(h.states(), "state-")
	return filepath.Join(dir, "s"), err
}

func dropState(state string) error { return os.RemoveAll(filepath.Dir(state)) }

func (h *harness) close() {
	if h.null != nil {
		h.null.close()
	}
	if h.dir != "" && h.own && !h.opt.keep {
		if err := os.RemoveAll(h.dir); err != nil {
			h.say("%v", err)
		}
	}
}

func (h *harness) say(format string, args ...any) {
	fmt.Fprintf(h.err, time.Now().UTC().Format("15:04:05 ")+format+"\n", args...)
}

// files is a number of files at the scale of this run.
func (h *harness) files(n int) int { return max(1, int(float64(n)*h.opt.scale)) }

// works does the works. One that fails is told in the report, and does not stop the others. The file of the report is
// written after each of them.
func (h *harness) works(ctx context.Context) error {
	for _, name := range h.opt.work {
		h.say("work: %s", name)
		err := workNamed(name).run(h, ctx)
		if ctx.Err() != nil {
			h.report.failed(name, errors.New("interrupted"))
		} else if err != nil {
			h.say("%s failed: %v", name, err)
			h.report.failed(name, err)
		}
		if h.opt.out != "" {
			if err := os.WriteFile(h.opt.out, []byte(h.report.markdown()), 0o644); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// data makes a dataset and reads through its names once, so that whoever comes first finds them in memory too.
func (h *harness) data(ctx context.Context, d dataset) (string, error) {
	h.say("data: %s", d)
	root, err := d.make(ctx, h.dir)
	if err != nil {
		return "", err
	}
	_, err = treeBytes(root)
	return root, err
}

// outcome is one run of a contender.
type outcome struct {
	cost
	note string
}

// contender does a work, in turns with the others.
type contender struct {
	name string
	role role
	run  func(ctx context.Context, round int) (outcome, error)
}

type role int

const (
	ours role = iota
	other
	floor
)

// measure has each contender do the work as often as asked, in turns whose first changes, and tells the report.
func (h *harness) measure(ctx context.Context, title string, files int, all []contender) (*result, error) {
	r := &result{title: title, files: files}
	for _, c := range all {
		r.lines = append(r.lines, &line{name: c.name, role: c.role})
	}
	for round := range h.opt.repeats {
		for k := range all {
			i := (k + round) % len(all)
			c, l := all[i], r.lines[i]
			if l.err != nil {
				continue
			}
			o, err := c.run(ctx, round)
			if ctx.Err() != nil {
				return nil, errors.Join(ctx.Err(), err)
			}
			if err != nil {
				h.say("%s: %s failed: %v", title, c.name, err)
				l.err = err
				continue
			}
			h.say("%s: %s: %v, CPU %v, %s %s", title, c.name, o.wall.Round(time.Millisecond), o.cpu.Round(time.Millisecond), mib(o.peak), o.note)
			l.runs = append(l.runs, o)
		}
	}
	h.report.results = append(h.report.results, r)
	return r, nil
}
