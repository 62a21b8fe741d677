package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"s3apu/protocol"
	"s3apu/queue"
)

// lines counts what is logged, by level.
type lines struct {
	mu   sync.Mutex
	text map[slog.Level][]string
}

func (l *lines) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *lines) WithGroup(string) slog.Handler                    { return l }
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text == nil {
		l.text = map[slog.Level][]string{}
	}
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += fmt.Sprintf(" %s=%v", a.Key, a.Value); return true })
	l.text[r.Level] = append(l.text[r.Level], text)
	return nil
}

func (l *lines) of(level slog.Level) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text[level]
}

// runs starts Run and returns what ends it.
func runs(t *testing.T, q *queue.Queue) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- q.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		must(t, <-ran)
	}
}

// TestHeals lets the disk refuse at every step of a history, and then no more: the process goes on with all that was
// acknowledged, the hands of before are void and their instructions come again.
func TestHeals(t *testing.T) {
	steps := 400
	if testing.Short() {
		steps = 60
	}
	for _, syncs := range []bool{false, true} {
		for left := 0; left < steps; left += 1 + left/3 {
			heals(t, left, syncs)
		}
	}
}

// refusals are the ways in which a disk refuses, and what a person is told.
var refusals = []struct {
	errno syscall.Errno
	hint  string
}{{syscall.ENOSPC, "no room left on "}, {syscall.EDQUOT, "quota"}, {syscall.EROFS, "is read-only: see the system's log"},
	{syscall.EIO, "fails: see the system's log"}}

func heals(t *testing.T, left int, syncs bool) {
	t.Helper()
	kind := refusals[left%len(refusals)]
	disk := &faultFS{FS: vfs.NewCrashableMem(), left: -1, errno: kind.errno}
	log := &lines{}
	opt := queue.WithHeal(queue.WithMemTable(queue.WithFS(queue.Options{Log: slog.New(log)}, disk), 128<<10))
	q, err := queue.Open("state/q", opt)
	must(t, err)
	stop := runs(t, q)
	must(t, q.Put(t.Context(), upl("in hand"), upl("in a hand that ends")))
	opening := q.Opening()
	bound, err := q.Lease(t.Context(), bucket, 1, 0, 0)
	must(t, err)
	timed, err := q.Lease(t.Context(), bucket, 1, 0, time.Hour)
	must(t, err)
	disk.arm(left, syncs)
	acked, failed := history(t, q)
	if failed == nil {
		disk.arm(-1, false)
		stop()
		must(t, q.Close())
		return
	}
	wantKind(t, failed, protocol.KindLocal)
	disk.refusedOften(t)
	wantKind(t, q.Err(), protocol.KindLocal)
	err = q.Put(t.Context(), upl("later"))
	wantKind(t, err, protocol.KindLocal)
	if !strings.Contains(err.Error(), kind.hint) {
		t.Errorf("on %v it says %q, without %q", kind.errno, err, kind.hint)
	}
	_, err = q.Lease(t.Context(), bucket, 1, time.Minute, 0)
	wantKind(t, err, protocol.KindLocal)
	_, err = q.Settle(t.Context(), []protocol.Result{{Delivery: bound[0]}})
	wantKind(t, err, protocol.KindLocal)
	reopened := q.Reopened()
	disk.arm(-1, false)
	must(t, q.Up(t.Context()))
	<-reopened
	if q.Opening() <= opening {
		t.Error("nobody could know that leases are void")
	}
	must(t, queue.CheckFilter(q))
	if n := len(log.of(slog.LevelError)); n != 1 {
		t.Errorf("%d lines tell of the one outage: %q", n, log.of(slog.LevelError))
	}
	for key := range acked {
		if _, ok, err := q.Pending(protocol.ObjectID{Bucket: bucket, Key: protocol.Key(key)}); !ok || err != nil {
			t.Fatalf("refusing after %d: %s was acknowledged and is lost: %v", left, key, err)
		}
	}
	out, err := q.Settle(t.Context(), []protocol.Result{{Delivery: bound[0]}, {Delivery: timed[0]}})
	must(t, err)
	if out[0] != protocol.LeaseLost || out[1] != protocol.Done {
		t.Errorf("the hands of before were answered %v; want LeaseLost for the one that lived as long as the store", out)
	}
	again := takeAll(t, q, len(acked)+10)
	for _, d := range again {
		if d.Token <= timed[0].Token {
			t.Errorf("token %d was given out a second time", d.Token)
		}
		if d.Key == bound[0].Key && !d.Again {
			t.Error("what was in a hand comes again without being marked")
		}
	}
	must(t, queue.CheckFilter(q))
	if len(again) < len(acked)+1 {
		t.Errorf("%d come, of %d acknowledged and one in a hand", len(again), len(acked))
	}
	must(t, q.Put(t.Context(), upl("later")))
	stop()
	must(t, q.Close())
}

func takeAll(t *testing.T, q *queue.Queue, n int) (all []protocol.Delivery) {
	t.Helper()
	for {
		ds, err := q.Lease(t.Context(), bucket, n, 0, 0)
		must(t, err)
		if len(ds) == 0 {
			return all
		}
		all = append(all, ds...)
	}
}

// TestHealsStart: the disk refuses while the queue is opened for the first time, at every step.
func TestHealsStart(t *testing.T) {
	for left := range 40 {
		disk := &faultFS{FS: vfs.NewMem(), left: left}
		q, err := queue.Open("state/q", queue.WithHeal(queue.WithFS(queue.Options{}, disk)))
		must(t, err)
		if disk.refused() {
			wantKind(t, q.Err(), protocol.KindLocal)
			wantKind(t, q.Put(t.Context(), upl("a")), protocol.KindLocal)
			if i := q.Info(); i.QSize != 0 {
				t.Errorf("it tells %+v", i)
			}
			q.Stats()
			stop := runs(t, q)
			disk.refusedOften(t)
			disk.arm(-1, false)
			must(t, q.Up(t.Context()))
			stop()
		}
		disk.arm(-1, false)
		must(t, q.Put(t.Context(), upl("a")))
		must(t, q.Close())
		// And one that is closed while it waits.
		disk.arm(0, false)
		q, err = queue.Open("state/q", queue.WithHeal(queue.WithFS(queue.Options{}, disk)))
		must(t, err)
		wantKind(t, q.Close(), protocol.KindLocal)
	}
}

// TestReplacesDamaged: with Heal a damaged store is moved aside as it is and a new one begun, but not for ever.
func TestReplacesDamaged(t *testing.T) {
	whole := t.TempDir() + "/q"
	grown(t, whole)
	dir := t.TempDir() + "/q"
	for round := range 4 {
		must(t, os.RemoveAll(dir))
		must(t, os.CopyFS(dir, os.DirFS(whole)))
		tables, err := filepath.Glob(dir + "/v1/*.sst")
		must(t, err)
		must(t, os.Truncate(tables[0], 1000))
		before := tree(t, dir)
		log := &lines{}
		q, err := queue.Open(dir, queue.WithHeal(queue.Options{Log: slog.New(log)}))
		must(t, err)
		aside := queue.Aside(dir)
		if round == 3 {
			wantKind(t, q.Err(), protocol.KindDamaged)
			t.Log(q.Err())
			if len(aside) != 3 {
				t.Errorf("moved aside: %q", aside)
			}
			for _, d := range aside {
				must(t, os.RemoveAll(d))
			}
			stop := runs(t, q)
			must(t, q.Up(t.Context()))
			must(t, q.Put(t.Context(), upl("a")))
			stop()
			must(t, q.Close())
			continue
		}
		must(t, q.Err())
		if len(log.of(slog.LevelError)) != 1 || len(aside) != round+1 {
			t.Errorf("round %d: logged %q, moved aside: %q", round, log.of(slog.LevelError), aside)
		}
		for name, sum := range tree(t, aside[round]) {
			name = filepath.Join(dir, strings.TrimPrefix(name, aside[round]))
			if sum != before[name] {
				t.Errorf("%s was changed", name)
			}
		}
		must(t, q.Put(t.Context(), upl("a")))
		ds, err := q.Lease(t.Context(), bucket, 1, 0, time.Hour)
		must(t, err)
		if ds[0].Token < 1<<40 {
			t.Errorf("token %d may have been given out by the store of before", ds[0].Token)
		}
		must(t, q.Close())
	}
}

// TestReplacesWhatBreaksLater: damage that only a read of the ledger finds, long after the store was opened.
func TestReplacesWhatBreaksLater(t *testing.T) {
	dir := t.TempDir() + "/q"
	q := open(t, dir, queue.Options{})
	for i := range 40 {
		entries := make([]*protocol.Entry, 1000)
		for k := range entries {
			entries[k] = &protocol.Entry{Bucket: bucket, Key: protocol.Key(fmt.Sprintf("%d/%d", i, k)), Verb: protocol.Upl,
				Source: "/" + strings.Repeat("long", 60) + fmt.Sprint(i*k), ETag: fmt.Sprint(i + k)}
		}
		must(t, q.Adopt(t.Context(), entries...))
	}
	must(t, q.Close())
	must(t, open(t, dir, queue.Options{}).Close()) // what is in the log becomes a table
	q, err := queue.Open(dir, queue.WithHeal(queue.Options{}))
	must(t, err)
	stop := runs(t, q)
	again := q.Reopened()
	for hit := map[string]bool{}; ; { // a compaction may put another table in the place of one
		tables, err := filepath.Glob(dir + "/v1/*.sst")
		must(t, err)
		fresh := slices.DeleteFunc(tables, func(name string) bool { return hit[name] })
		if len(fresh) == 0 {
			break
		}
		for _, name := range fresh {
			if err := scribble(name, 5000); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			hit[name] = true
		}
	}
	ledger := func() (n int, err error) {
		for _, e := range q.Ledger(t.Context(), bucket, "", "") {
			if e != nil {
				return n, e
			}
			n++
		}
		return n, nil
	}
	n, err := ledger()
	wantKind(t, err, protocol.KindDamaged)
	t.Logf("%d rows, then: %v", n, err)
	<-again
	must(t, q.Up(t.Context()))
	if n, err := ledger(); n != 0 || err != nil {
		t.Errorf("the new ledger has %d rows, %v", n, err)
	}
	if len(queue.Aside(dir)) != 1 {
		t.Errorf("moved aside: %q", queue.Aside(dir))
	}
	must(t, q.Put(t.Context(), upl("a")))
	stop()
	must(t, q.Close())
}

// TestNewerIsNoDamage: what a newer version made stays where it is.
func TestNewerIsNoDamage(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, dir string){
		"another folder": func(t *testing.T, dir string) { must(t, os.MkdirAll(dir+"/v2", 0o700)) },
		"a newer Pebble": func(t *testing.T, dir string) {
			must(t, open(t, dir, queue.Options{}).Close())
			m, err := filepath.Glob(dir + "/v1/marker.format-version.*")
			must(t, err)
			must(t, os.Rename(m[len(m)-1], dir+"/v1/marker.format-version.000099.099"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/q"
			prepare(t, dir)
			before := fmt.Sprint(tree(t, dir))
			_, err := queue.Open(dir, queue.WithHeal(queue.Options{}))
			wantKind(t, err, protocol.KindUsage)
			if after := fmt.Sprint(tree(t, dir)); len(queue.Aside(dir)) != 0 || name != "another folder" && after != before {
				t.Errorf("it was changed: %s", after)
			}
		})
	}
}

// TestTakenAway: the disk under the queue is taken away and comes back. No new store is begun in its place.
func TestTakenAway(t *testing.T) {
	up := t.TempDir()
	dir := up + "/q"
	q, err := queue.Open(dir, queue.WithHeal(queue.Options{}))
	must(t, err)
	stop := runs(t, q)
	must(t, q.Put(t.Context(), upl("a")))
	must(t, os.Rename(dir, up+"/elsewhere"))
	queue.Break(q, errors.New("the disk is away"))
	deadline := time.After(20 * time.Second)
	for protocol.KindOf(q.Err()) != protocol.KindLocal || !strings.Contains(q.Err().Error(), "mount the disk") {
		select {
		case <-deadline:
			t.Fatalf("it says %v", q.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Fatal("something was made in the place of the queue")
	}
	must(t, os.Rename(up+"/elsewhere", dir))
	must(t, q.Up(t.Context()))
	if _, ok, err := q.Pending(protocol.ObjectID{Bucket: bucket, Key: "a"}); !ok || err != nil {
		t.Errorf("what was put is lost: %v", err)
	}
	stop()
	must(t, q.Close())
}

// refusedOften waits until the disk has refused three times more.
func (f *faultFS) refusedOften(t *testing.T) {
	t.Helper()
	hits := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.hits
	}
	deadline := time.After(20 * time.Second)
	for first := hits(); hits() < first+3; {
		select {
		case <-deadline:
			t.Fatal("nobody tries the disk any more")
		case <-time.After(time.Millisecond):
		}
	}
}
