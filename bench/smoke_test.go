//go:build linux

package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain lets the test's own binary be the processes that the harness starts of itself.
func TestMain(m *testing.M) {
	if commandNamed(os.Args[1:]) != nil {
		if err := run(context.Background(), os.Args[1:]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// TestHarness does the short works with 50 files and the agent of this module, without peers.
func TestHarness(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the agent")
	}
	opt, err := parse([]string{"-work", "cold,unchanged,burst", "-peers", "", "-repeats", "1", "-scale", "0.005", "-dir", t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	h, err := open(t.Context(), opt, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if err := h.works(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := h.report.markdown()
	for _, want := range []string{"50 files of 0.5–16 KiB, cold", "| floor: bare signed PUTs |", "| agent |", "listing compared", "burst of 100 files",
		"**This run is not the full one**"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not hold %q", want)
		}
	}
	if t.Failed() || strings.Contains(text, "failed") {
		t.Errorf("the report says:\n%s", text)
	}
}

func TestParse(t *testing.T) {
	opt, err := parse([]string{"-quick", "-agent", "before=/a", "-agent", "/b", "-work", "cold, idle"})
	if err != nil {
		t.Fatal(err)
	}
	if len(opt.agents) != 2 || opt.agents[0] != (build{"before", "/a"}) || opt.agents[1] != (build{"agent", "/b"}) || len(opt.work) != 2 || opt.repeats != 1 {
		t.Errorf("it is read as %+v", opt)
	}
	for _, args := range [][]string{{"-work", "warm"}, {"-peers", "nobody"}, {"-repeats", "0"}, {"cold"}, {"-agent", "/a", "-agent", "/b"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

func TestShownHidesPaths(t *testing.T) {
	got := shown([]string{"-agent", "before=/home/x/a", "-peers", "", "-dir", "/data", "-quick"})
	if want := `-agent before=PATH -peers "" -dir PATH -quick`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestVerdicts: bars are held against the last build, and against the best peer that got through.
func TestVerdicts(t *testing.T) {
	runs := func(walls ...float64) []outcome {
		var all []outcome
		for _, w := range walls {
			all = append(all, outcome{cost: cost{wall: time.Duration(w * float64(time.Second))}})
		}
		return all
	}
	res := &result{lines: []*line{
		{name: "before", role: ours, runs: runs(5)},
		{name: "after", role: ours, runs: runs(9, 1, 2)},
		{name: "slow", role: other, runs: runs(8)},
		{name: "fast", role: other, runs: runs(4, 3)},
		{name: "absent", role: other},
		{name: "floor", role: floor, runs: runs(0.1)},
	}}
	r := &report{}
	r.against("w", "wall", res, (*line).wall, 0.5)
	r.against("w", "wall", res, (*line).wall, 0.6)
	r.against("w", "wall", &result{lines: res.lines[:2]}, (*line).wall, 0.6)
	for i, want := range []string{"wall to that of fast ≤ 0.50 × 0.57 × **missed**", "wall to that of fast ≤ 0.60 × 0.57 × met",
		"wall ≤ 0.60 × the best peer no figures unknown"} {
		b := r.bars[i]
		if got := b.text + " " + b.measured + " " + b.verdict; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
