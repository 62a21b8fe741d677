package watcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Thousands of nested folders, each with a file, made as fast as they can be.
func TestNestedFoldersRace(t *testing.T) {
	root := t.TempDir()
	m := mirrored(t, quick(root))
	var making sync.WaitGroup
	for i := range 4 {
		making.Go(func() {
			for j := range 80 {
				p := fmt.Sprintf("r%d/%d/a/b/c/d/e/f/g/h", i, j)
				write(t, root, p+"/file", p)
			}
		})
	}
	making.Go(func() { // and one very deep
		p := "deep"
		for range 500 {
			p += "/d"
		}
		write(t, root, p+"/file", "x")
	})
	making.Wait()
	m.equal(t)
	trueWatches(t, m)
	t.Logf("%+v", m.w.Stats())
	hears(t, m, "r3/79/a/b/c/d/e/f/g/h/new")
}

func TestCollapse(t *testing.T) {
	root := t.TempDir()
	mkdir(t, root, "many")
	m := mirrored(t, quick(root))
	m.mu.Lock() // the consumer is slow
	for i := range 2000 {
		write(t, root, fmt.Sprintf("many/%d", i), "x")
	}
	until(t, "the collapse", func() bool { return m.w.Stats().Collapsed > 0 })
	m.mu.Unlock()
	m.equal(t)
	t.Logf("%+v", m.w.Stats())
}

func TestClimb(t *testing.T) {
	root := t.TempDir()
	for i := range 300 {
		mkdir(t, root, fmt.Sprintf("a%d/b%d/c", i%3, i))
	}
	cfg := quick(root)
	cfg.MaxFolders, cfg.MaxNames = 20, 4
	m := mirrored(t, cfg)
	m.mu.Lock() // the consumer is slow
	for i := range 300 {
		for j := range 6 {
			write(t, root, fmt.Sprintf("a%d/b%d/c/%d", i%3, i, j), "x")
		}
	}
	until(t, "the climb", func() bool { return m.w.Stats().Climbed > 0 })
	if s := m.w.Stats(); s.Dirty > 20*4+1 || s.Rescans > 21 {
		t.Errorf("it grew: %+v", s)
	}
	m.mu.Unlock()
	m.equal(t)
}

// The event loop is held until the kernel's queue has run over.
func TestOverflow(t *testing.T) {
	for _, queues := range []int{1, 4} {
		root := t.TempDir()
		write(t, root, "many/sub/a", "x")
		write(t, root, "many/sub/b", "x")
		mkdir(t, root, "other/sub")
		held := make(chan struct{})
		cfg := quick(root)
		cfg.Watchers = queues
		var once sync.Once
		stopped := make(chan struct{})
		cfg.gate = func(ctx context.Context) {
			once.Do(func() { close(stopped) })
			select {
			case <-held:
			case <-ctx.Done():
			}
		}
		m := mirrored(t, cfg)
		<-stopped
		for i := range 22000 { // the kernel merges an event with an equal one just before it, so take turns
			must(t, os.Chmod(filepath.Join(root, "many/sub", string("ab"[i%2])), 0o600))
		}
		write(t, root, "many/sub/late/file", "x")
		must(t, os.Rename(m.full("other/sub"), m.full("many/moved")))
		close(held)
		m.equal(t)
		until(t, "the overflow", func() bool { return m.w.Stats().Overflows > 0 })
		trueWatches(t, m)
		hears(t, m, "many/sub/late/more")
		hears(t, m, "many/moved/more")
	}
}

// A queue of a few events overflows again and again; nothing is lost, and the rescans do not loop.
func TestSmallQueue(t *testing.T) {
	root := t.TempDir()
	cfg := quick(root)
	cfg.Queue = 4
	m := mirrored(t, cfg)
	for i := range 2000 {
		write(t, root, fmt.Sprintf("%d/%d/%d", i%7, i%50, i), "x")
	}
	m.equal(t)
	t.Logf("%+v", m.w.Stats())
}

// fakeSource is a queue that a test speaks through.
type fakeSource struct {
	events chan fsnotify.Event
	errs   chan error
	mu     sync.Mutex
	adds   int
	add    func(n int, path string) error
}

func newFakeSource(add func(n int, path string) error) *fakeSource {
	return &fakeSource{events: make(chan fsnotify.Event), errs: make(chan error), add: add}
}

func (f *fakeSource) Add(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.adds++
	if f.add != nil {
		return f.add(f.adds, path)
	}
	return nil
}
func (f *fakeSource) Remove(string) error           { return nil }
func (f *fakeSource) Watches() int                  { return f.adds }
func (f *fakeSource) Events() <-chan fsnotify.Event { return f.events }
func (f *fakeSource) Errors() <-chan error          { return f.errs }
func (f *fakeSource) Close() error                  { return nil }

func TestOtherErrorsAreRescans(t *testing.T) {
	root := t.TempDir()
	f := newFakeSource(nil)
	cfg := quick(root)
	cfg.Watchers = 1
	cfg.open = func() (source, error) { return f, nil }
	m := mirrored(t, cfg)
	f.errs <- syscall.EINVAL // fsnotify's own, see hearError
	write(t, root, "a/f", "x")
	f.errs <- errors.New("disk on fire")
	m.equal(t)
	if !m.why("disk on fire") || m.w.Stats().Errors != 1 {
		t.Errorf("%+v", m.w.Stats())
	}
	write(t, root, "a/g", "x")
	close(f.events) // the system ends its notifications: everything is looked through, and polled
	m.equal(t)
}

// logLines collects a log.
type logLines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logLines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), part)
}

// limited is fsnotify with a limit on watches.
type limited struct {
	source
	mu   *sync.Mutex
	n    *int
	most *int
}

func (l limited) Add(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if *l.n >= *l.most {
		return syscall.ENOSPC
	}
	*l.n++
	return l.source.Add(path)
}

func TestNoWatchesLeft(t *testing.T) {
	root := t.TempDir()
	for i := range 20 {
		write(t, root, fmt.Sprintf("d%d/e/f", i), "x")
	}
	var mu sync.Mutex
	n, most := 0, 11
	log := &logLines{}
	cfg := quick(root)
	cfg.Poll = 20 * time.Millisecond
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	cfg.open = func() (source, error) {
		s, err := openSource(0)
		return limited{s, &mu, &n, &most}, err
	}
	m := mirrored(t, cfg)
	s := m.w.Stats()
	if s.Folders != 41 || s.Watches != 11 || s.Unwatched != 30 || len(s.Reasons) != 30 {
		t.Errorf("%+v", s)
	}
	for i := range 20 {
		write(t, root, fmt.Sprintf("d%d/e/g", i), "y")
		write(t, root, fmt.Sprintf("d%d/new/deep/g", i), "y")
	}
	m.equal(t)
	for i := range 20 {
		must(t, os.RemoveAll(m.full(fmt.Sprintf("d%d/e", i))))
	}
	m.equal(t)
	if got := log.count("not enough watches"); got != 1 {
		t.Errorf("said %d times:\n%s", got, log.b.String())
	}
	if log.count("fs.inotify.max_user_watches=") == 0 {
		t.Errorf("no cure in: %s", log.b.String())
	}
	mu.Lock()
	most = 1 << 30
	mu.Unlock()
	until(t, "the folders to be watched after all", func() bool { return m.w.Stats().Unwatched == 0 })
	trueWatches(t, m)
	hears(t, m, "d19/new/deep/h")
	until(t, "word of the cure", func() bool { return log.count("every folder is watched again") == 1 })
}

// Without a single kernel queue the whole tree is polled.
func TestNoQueues(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a/b/f", "x")
	log := &logLines{}
	cfg := quick(root)
	cfg.Poll = 10 * time.Millisecond
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	cfg.open = func() (source, error) { return nil, syscall.EMFILE }
	m := mirrored(t, cfg)
	write(t, root, "a/b/g", "x")
	write(t, root, "c/d/e", "x")
	m.equal(t)
	must(t, os.RemoveAll(m.full("a")))
	m.equal(t)
	if log.count("max_user_instances") == 0 {
		t.Error(log.b.String())
	}
}

func TestUnreadableFolder(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read every folder")
	}
	root := t.TempDir()
	write(t, root, "a/f", "x")
	must(t, os.Chmod(filepath.Join(root, "a"), 0))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(root, "a"), 0o700) })
	w := watched(t, quick(root))
	if s := w.Stats(); s.Unwatched != 1 || s.Reasons["a"] == "" {
		t.Fatalf("%+v", s)
	}
	must(t, os.Chmod(filepath.Join(root, "a"), 0o700))
	until(t, "it to be watched", func() bool { return w.Stats().Unwatched == 0 })
}

// Seen in a churn of 20,000 operations: a folder below the root was another one after an overflow, everything in it was
// watched anew, and only the folder's own entries were reported.
func TestOverflowWhileAFolderBecameAnother(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	write(t, root, "a/x/old", "1")
	write(t, outside, "a/x/y/new", "2")
	var sources []*fakeSource
	cfg := quick(root)
	cfg.open = func() (source, error) {
		sources = append(sources, newFakeSource(nil))
		return sources[len(sources)-1], nil
	}
	m := mirrored(t, cfg)
	must(t, os.Rename(m.full("a"), filepath.Join(outside, "b")))
	must(t, os.Rename(filepath.Join(outside, "a"), m.full("a")))
	sources[m.w.keeper.part("a")].errs <- fsnotify.ErrEventOverflow
	m.equal(t)
	trueWatches(t, m)
}
