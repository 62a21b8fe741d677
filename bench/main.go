//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// command is a part of the harness that runs as a process of its own, so that its CPU is counted for itself.
type command func(ctx context.Context, args []string, in io.Reader, out io.Writer) error

// commandNamed returns the command that the first argument asks for, or nil if it asks for none.
func commandNamed(args []string) command {
	if len(args) == 0 {
		return nil
	}
	switch args[0] {
	case "null":
		return runNull
	case "floor":
		return runFloor
	case "socket":
		return runSocket
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if c := commandNamed(args); c != nil {
		return c(ctx, args[1:], os.Stdin, os.Stdout)
	}
	opt, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	h, err := open(ctx, opt, os.Stderr)
	if err != nil {
		return err
	}
	defer h.close()
	err = h.works(ctx) // what was measured before it was interrupted is worth to be seen
	_, werr := io.WriteString(os.Stdout, h.report.markdown())
	return errors.Join(err, werr)
}

// options are what the command line says.
type options struct {
	args    []string // as given
	work    []string
	peers   []string
	agents  []build
	repeats int
	scale   float64
	quick   bool
	idle    time.Duration
	out     string
	dir     string
	cache   string
	keep    bool
}

// build is an agent to be measured.
type build struct{ name, path string }

// What -quick means. Both are guesses: enough to see that each work runs through.
const (
	quickScale = 0.1 // share of the files
	quickIdle  = time.Minute
)

func parse(args []string) (options, error) {
	opt := options{args: args}
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	work := set.String("work", strings.Join(workNames(), ","), "the `works` to do, separated by commas")
	peers := set.String("peers", strings.Join(peerNames(), ","), "the `peers` to measure; none: \"\"")
	set.Func("agent", "a `[NAME=]PATH` of a built s3apu-agent; may be repeated, the last one is held against the bars; default: built from this module", func(v string) error {
		name, path, ok := strings.Cut(v, "=")
		if !ok {
			name, path = "agent", v
		}
		opt.agents = append(opt.agents, build{name, path})
		return nil
	})
	set.IntVar(&opt.repeats, "repeats", 3, "how often each work is done; medians are shown")
	set.Float64Var(&opt.scale, "scale", 1, "share of the files of each work")
	set.BoolVar(&opt.quick, "quick", false, "once each, a tenth of the files, a minute of idling: shows that all works, and not how fast")
	set.DurationVar(&opt.idle, "idle", 10*time.Minute, "how long the idle agent is looked at")
	set.StringVar(&opt.out, "out", "", "a `file` for the text, beside stdout")
	set.StringVar(&opt.dir, "dir", "", "the `folder` for data and states, kept for the next run; default: a temporary one")
	set.StringVar(&opt.cache, "cache", "", "the `folder` for installed peers; default: s3apu-bench in the user's cache")
	set.BoolVar(&opt.keep, "keep", false, "keep the folder with data, states and logs")
	if err := set.Parse(args); err != nil {
		return opt, err
	}
	if set.NArg() > 0 {
		return opt, fmt.Errorf("%q is neither a flag nor one of its values", set.Arg(0))
	}
	opt.work, opt.peers = split(*work), split(*peers)
	if opt.quick {
		opt.repeats, opt.scale, opt.idle = 1, quickScale, quickIdle
	}
	for _, w := range opt.work {
		if workNamed(w) == nil {
			return opt, fmt.Errorf("no such work: %q; there are %s", w, strings.Join(workNames(), ", "))
		}
	}
	for _, p := range opt.peers {
		if peerNamed(p) == nil {
			return opt, fmt.Errorf("no such peer: %q; there are %s", p, strings.Join(peerNames(), ", "))
		}
	}
	names := map[string]bool{}
	for _, b := range opt.agents {
		if names[b.name] {
			return opt, fmt.Errorf("two agents are called %q: name them, as in -agent before=PATH", b.name)
		}
		names[b.name] = true
	}
	if opt.repeats < 1 || opt.scale <= 0 {
		return opt, errors.New("-repeats and -scale are above 0")
	}
	return opt, nil
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}
