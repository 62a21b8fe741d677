//go:build linux

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report is what a run has to tell.
type report struct {
	opt      options
	began    time.Time
	machine  []string
	versions [][2]string
	commands [][2]string
	results  []*result
	bars     []bar
	notes    []string // paragraphs of works whose figures fit no table
}

// result is what a work has shown.
type result struct {
	title string
	files int
	lines []*line
}

// line is one contender.
type line struct {
	name string
	role role
	runs []outcome
	err  error
}

// bar is one promise, and what was measured.
type bar struct{ work, text, measured, verdict string }

func newReport(opt options, dir string) *report {
	return &report{opt: opt, began: time.Now(), machine: machine(dir)}
}

func (r *report) version(name, version string) {
	r.versions = append(r.versions, [2]string{name, version})
}

// command remembers how a contender was called, the first time.
func (r *report) command(name, text string) {
	for _, c := range r.commands {
		if c == [2]string{name, text} {
			return
		}
	}
	r.commands = append(r.commands, [2]string{name, text})
}

func (r *report) failed(work string, err error) {
	r.bars = append(r.bars, bar{work: work, text: "the work can be done", measured: oneLine(err.Error()), verdict: "**failed**"})
}

// hold notes a bar: measured is to be at most the limit.
func (r *report) hold(work, text, measured string, met bool) {
	verdict := "met"
	if !met {
		verdict = "**missed**"
	}
	r.bars = append(r.bars, bar{work, text, measured, verdict})
}

// atMost notes a bar on a ratio or another number.
func (r *report) atMost(work, text string, value, limit float64, unit string) {
	r.hold(work, fmt.Sprintf("%s ≤ %s", text, amount(limit, unit)), amount(value, unit), value <= limit)
}

func amount(v float64, unit string) string {
	if unit == "×" {
		return fmt.Sprintf("%.2f ×", v)
	}
	return strings.TrimSpace(strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".") + " " + unit)
}

// note adds a paragraph.
func (r *report) note(text string) { r.notes = append(r.notes, strings.TrimRight(text, "\n")) }

// median of the runs' values; 0 without runs.
func (l *line) median(value func(outcome) float64) float64 {
	var all []float64
	for _, o := range l.runs {
		all = append(all, value(o))
	}
	return median(all)
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

func (l *line) wall() float64 { return l.median(func(o outcome) float64 { return o.wall.Seconds() }) }
func (l *line) cpu() float64  { return l.median(func(o outcome) float64 { return o.cpu.Seconds() }) }

// peak is the largest of all runs: a bound on memory is one on each of them.
func (l *line) peak() float64 {
	most := 0.0
	for _, o := range l.runs {
		most = max(most, float64(o.peak))
	}
	return most
}

// ours returns the build that is held against the bars: the last one named; nil if it did not get through.
func (r *result) ours() *line { return r.last(func(l *line) bool { return l.role == ours }) }

func (r *result) named(name string) *line {
	return r.last(func(l *line) bool { return l.name == name })
}

func (r *result) last(is func(*line) bool) *line {
	for _, l := range slices.Backward(r.lines) {
		if is(l) && len(l.runs) > 0 && l.err == nil {
			return l
		}
	}
	return nil
}

// fastest returns the peer with the least of something; nil if there is none.
func (r *result) fastest(of func(*line) float64) *line {
	var all []*line
	for _, l := range r.lines {
		if l.role == other && l.err == nil && len(l.runs) > 0 {
			all = append(all, l)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return slices.MinFunc(all, func(a, b *line) int { return cmp.Compare(of(a), of(b)) })
}

// against notes a bar on the ratio of ours to the best peer.
func (r *report) against(work, what string, res *result, of func(*line) float64, limit float64) {
	our, best := res.ours(), res.fastest(of)
	if our == nil || best == nil {
		r.bars = append(r.bars, bar{work, fmt.Sprintf("%s ≤ %.2f × the best peer", what, limit), "no figures", "unknown"})
		return
	}
	r.atMost(work, fmt.Sprintf("%s to that of %s", what, best.name), of(our)/of(best), limit, "×")
}

// markdown is the whole report.
func (r *report) markdown() string {
	var w strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&w, format+"\n", args...) }
	p("Measured on %s with `go run ./bench %s`.", r.began.UTC().Format("2006-01-02 15:04 UTC"), shown(r.opt.args))
	if r.opt.quick || r.opt.scale != 1 || r.opt.repeats < 3 {
		p("\n**This run is not the full one** (%d repeats, %g of the files): it shows that the works can be done, and hardly how fast.", r.opt.repeats, r.opt.scale)
	}
	p("")
	for _, m := range r.machine {
		p("- %s", m)
	}
	p("\n### Bars\n\n| work | bar | measured | |\n|---|---|---|---|")
	for _, b := range r.bars {
		p("| %s | %s | %s | %s |", b.work, b.text, b.measured, b.verdict)
	}
	p("\n### Figures\n\nMedians of %d; memory is the most of all runs; × is the ratio to our wall time and CPU; the last column tells of the last run only.", r.opt.repeats)
	for _, res := range r.results {
		res.write(p)
	}
	for _, n := range r.notes {
		p("\n%s", n)
	}
	p("\n### Versions and commands\n\n| what | version |\n|---|---|")
	for _, v := range r.versions {
		p("| %s | %s |", v[0], oneLine(v[1]))
	}
	p("\n| what | command |\n|---|---|")
	for _, c := range r.commands {
		p("| %s | `%s` |", c[0], c[1])
	}
	return w.String()
}

// shown is a command line as a shell would take it, without the folders and files of this machine.
func shown(args []string) string {
	var words []string
	hide := false
	for _, a := range args {
		switch {
		case hide:
			name, _, named := strings.Cut(a, "=")
			a = "PATH"
			if named {
				a = name + "=PATH"
			}
		case a == "" || strings.ContainsAny(a, " \t*?'\""):
			a = strconv.Quote(a)
		}
		flag := strings.TrimLeft(a, "-")
		hide = !hide && (flag == "dir" || flag == "cache" || flag == "out" || flag == "agent")
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

func (r *result) write(p func(string, ...any)) {
	p("\n**%s**\n\n| who | wall | × | CPU | × | CPU a file | peak memory | |\n|---|---:|---:|---:|---:|---:|---:|---|", r.title)
	our := r.ours()
	for _, l := range r.lines {
		switch {
		case l.err != nil:
			p("| %s | failed | | | | | | %s |", l.name, oneLine(l.err.Error()))
		case len(l.runs) == 0:
			p("| %s | | | | | | | was not run |", l.name)
		default:
			p("| %s | %s | %s | %s | %s | %s | %s | %s |", l.name, seconds(l.wall()), ratio(l, our, (*line).wall), seconds(l.cpu()),
				ratio(l, our, (*line).cpu), perFile(l.cpu(), r.files), mib(int64(l.peak())), l.runs[len(l.runs)-1].note)
		}
	}
}

func ratio(l, our *line, of func(*line) float64) string {
	if our == nil || of(our) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", of(l)/of(our))
}

func perFile(cpu float64, files int) string {
	if files == 0 {
		return ""
	}
	return fmt.Sprintf("%.3f ms", 1000*cpu/float64(files))
}

func seconds(s float64) string {
	if s < 0.1 {
		return fmt.Sprintf("%.1f ms", 1000*s)
	}
	return fmt.Sprintf("%.2f s", s)
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func oneLine(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}
