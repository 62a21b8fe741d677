//go:build linux

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	app "s3apu/agent" // agent is a process here
	"s3apu/internal/s3servers"
	"s3apu/worker"
)

// What the churn tests do can be chosen; see docs/reliability.md.
var (
	flagSeed  = flag.Uint64("seed", 0, "the churn tests' only seed; 0: as many from 1 as -seeds says")
	flagSeeds = flag.Int("seeds", 0, "how many seeds the churn tests take; 0: a few, or 50 in the long form")
	flagOps   = flag.Int("ops", 0, "operations for each seed; 0: the test's own number")
)

// envTorture asks for the long forms.
const envTorture = "S3APU_TORTURE"

func long() bool { return os.Getenv(envTorture) == "1" }

// either is one value for the short form and another for the long one.
func either[T any](short, whole T) T {
	if long() {
		return whole
	}
	return short
}

// seeds are those that a churn test takes.
func seeds(short, whole int) []uint64 {
	if *flagSeed != 0 {
		return []uint64{*flagSeed}
	}
	n := either(short, whole)
	if *flagSeeds > 0 {
		n = *flagSeeds
	}
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i + 1)
	}
	return all
}

func ops(n int) int {
	if *flagOps > 0 {
		return *flagOps
	}
	return n
}

// inside is an agent in the test's own process.
type inside struct {
	stop func() error
	log  *output
}

// copies counts the files that got another name and were not sent, and those that were to be copied and were sent.
type copies struct{ made, sent atomic.Int64 }

// see takes what an agent tells of each delivery.
func (c *copies) see(e worker.Event) {
	if e.Delivery.From == "" || e.Err != nil || e.Entry == nil || e.Entry.Size == 0 {
		return
	}
	if e.Bytes == 0 {
		c.made.Add(1)
	} else {
		c.sent.Add(1)
	}
}

// startInside runs the agent in this process until stop.
func (b *box) startInside(t *testing.T, c *copies) *inside {
	t.Helper()
	cfg, err := app.Load(b.config, nil)
	must(t, err)
	in := &inside{log: &output{}}
	cfg.Log.Level = "DEBUG"
	logs, err := app.OpenLogs(cfg.Log, in.log)
	must(t, err)
	a, err := app.New(t.Context(), cfg, app.Options{Version: "test", Logs: logs, Observe: c.see})
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	in.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = in.stop() }) // its error was looked at where it matters
	return in
}

// churnFor does n operations with pauses, of those named if any are, and fails the test at the first that cannot be done.
func churnFor(t *testing.T, c *churn, n int, only ...string) {
	t.Helper()
	for range n {
		must(t, c.step(only...))
		c.pause()
	}
}

// differing matches the keys that a difference or a failure names.
var differing = regexp.MustCompile(`"in/(?:[^"\\]|\\.)*"`)

// explain shows what is needed to see a failure again: the seed, the operations, and the agent's log as far as it is about
// the keys that differ.
func explain(t *testing.T, seed uint64, c *churn, err error, log *output, bad *weather) {
	t.Helper()
	t.Errorf("seed %d: %v", seed, err)
	t.Logf("again: go test ./internal/e2e -run '%s' -seed=%d; the operations were\n%s", t.Name(), seed, strings.Join(c.log, "\n"))
	var keys []string
	for _, quoted := range differing.FindAllString(err.Error(), 3) {
		if key, err := strconv.Unquote(quoted); err == nil {
			keys = append(keys, strings.TrimPrefix(key, "in/"))
		}
	}
	var lines []string
	for _, line := range log.lines() {
		if slices.ContainsFunc(keys, func(key string) bool { return strings.Contains(line, key) }) || !strings.Contains(line, "level=DEBUG") {
			lines = append(lines, line)
		}
	}
	if bad != nil {
		lines = append(lines, bad.history(keys)...)
	}
	t.Logf("about %q:\n%s", keys, strings.Join(lines, "\n"))
}

// TestChurn does random operations to a tree that an agent in this process watches, stops and starts the agent on the
// way, and looks whether the bucket equals the tree in the end, by key, size, MD5 and metadata, and the agent's books
// the bucket.
func TestChurn(t *testing.T) {
	for _, seed := range seeds(3, 50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			churnInside(t, seed, ops(either(200, 500)), "")
		})
	}
}

// TestChurnOfSymlinks is TestChurn with symbolic links that are stored, or followed.
func TestChurnOfSymlinks(t *testing.T) {
	for _, rule := range []string{"store", "follow"} {
		for _, seed := range seeds(1, 20) {
			t.Run(fmt.Sprintf("%s/%d", rule, seed), func(t *testing.T) {
				t.Parallel()
				churnInside(t, seed, ops(either(200, 500)), rule)
			})
		}
	}
}

// churnInside does n operations, with symbolic links under a rule, or without any if it is empty.
func churnInside(t *testing.T, seed uint64, n int, links string) {
	srv := s3servers.Start(t, s3servers.Folder)
	s3 := srv.Bucket(t, "churn")
	b := boxFor(t, srv, "churn")
	if links != "" {
		b.folder = fmt.Sprintf("symlinks = %q", links)
	}
	if links == "follow" { // only a scan sees that a link which dangled leads to something now
		b.extra = "[reconcile]\ninterval = \"2s\"\n"
	}
	b.save(t)
	c := newChurn(seed, b.tree, b.outside(t))
	c.rare, c.links, c.follow = true, links != "", links == "follow"
	b.put(t, keeper, nil)
	churnFor(t, c, n/10) // what the first feed finds
	var renames copies
	a := b.startInside(t, &renames)
	churnFor(t, c, n*6/10)
	if seed%2 == 0 { // half of the seeds see an agent that is off for a while
		must(t, a.stop())
		churnFor(t, c, n/10)
		a = b.startInside(t, &renames)
	}
	churnFor(t, c, n-len(c.log))
	p := &person{}
	settle := func() time.Duration {
		took, err := b.settle(t.Context(), s3, p, settledIn)
		if err != nil {
			explain(t, seed, c, err, a.log, nil)
			t.FailNow()
		}
		return took.Round(time.Millisecond)
	}
	took, early := settle(), c.renamed
	churnFor(t, c, n/10, moving...) // what is in the bucket gets other names
	again := settle()
	if err := a.stop(); err != nil {
		t.Error(err)
	}
	b.booksAgree(t, srv, s3)
	t.Logf("seed %d: %d operations, equal within %v, %d files renamed; %d moves, equal within %v, %d files renamed; %d deletes released; %d copies from an older name, %d sent after all",
		seed, n, took, early, n/10, again, c.renamed-early, p.released, renames.made.Load(), renames.sent.Load())
}
