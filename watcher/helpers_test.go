package watcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for something that must come. It is never slept through.
const patience = 20 * time.Second

// pass lets time go by: between two looks at a condition, or fake time in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); pass(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for: %s", patience, what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// thing is what the mirror holds of a path.
type thing struct {
	mode  fs.FileMode
	size  int64
	mtime int64
}

func thingOf(fi fs.FileInfo) thing {
	if fi.IsDir() {
		return thing{mode: fi.Mode()} // a folder's size and time change with its entries; nobody reports that
	}
	return thing{fi.Mode(), fi.Size(), fi.ModTime().UnixNano()}
}

// mirror is a consumer: it believes only what it is told, and looks at the disk only where it is told to.
type mirror struct {
	w     *Watcher
	root  string
	skip  func(string, bool) bool
	depth int

	mu     sync.Mutex
	view   map[string]thing
	kids   map[string]map[string]bool
	events []Event
	times  map[string]time.Time // of the last hint for a path
}

func newMirror(w *Watcher, cfg Config) *mirror {
	return &mirror{w: w, root: cfg.Root, skip: cfg.Skip, depth: cfg.Depth, view: map[string]thing{},
		kids: map[string]map[string]bool{}, times: map[string]time.Time{}}
}

func (m *mirror) full(rel string) string { return filepath.Join(m.root, filepath.FromSlash(rel)) }

// set and drop keep view and kids together. A folder may have come and gone while it was scanned, so that only what is in
// it is in the view: kids leads there all the same, as the prefix of a key does.
func (m *mirror) set(rel string, th thing) {
	m.view[rel] = th
	for ; rel != ""; rel = parent(rel) {
		up := parent(rel)
		if m.kids[up] == nil {
			m.kids[up] = map[string]bool{}
		}
		m.kids[up][rel] = true
	}
}

func (m *mirror) drop(rel string) {
	m.dropBelow(rel)
	delete(m.view, rel)
	delete(m.kids[parent(rel)], rel)
}

func (m *mirror) dropBelow(rel string) {
	for k := range m.kids[rel] {
		m.drop(k)
	}
	delete(m.kids, rel)
}

// look replaces what is known of one path.
func (m *mirror) look(rel string) {
	fi, err := os.Lstat(m.full(rel))
	switch {
	case err != nil || m.skip != nil && rel != "" && m.skip(rel, fi.IsDir()):
		m.drop(rel)
		return
	case !fi.IsDir():
		m.dropBelow(rel)
	}
	if rel != "" {
		m.set(rel, thingOf(fi))
	}
}

// scan lists a folder as a feeder would, and marks what is busy.
func (m *mirror) scan(rel string, deep bool) {
	m.look(rel)
	if m.depth > 0 && levels(rel) >= m.depth {
		return
	}
	entries, err := os.ReadDir(m.full(rel))
	if err != nil {
		return
	}
	there := map[string]bool{}
	for _, e := range entries {
		p := join(rel, e.Name())
		there[p] = true
		m.look(p)
		if e.Type().IsRegular() {
			if rest, _ := AtRestPath(m.full(p), time.Millisecond, time.Now()); rest != Yes {
				m.w.Mark(p)
			}
		}
		if e.IsDir() && deep && (m.skip == nil || !m.skip(p, true)) {
			m.scan(p, true)
		}
	}
	for p := range m.kids[rel] {
		if !there[p] {
			m.look(p)
		}
	}
}

func (m *mirror) take(events []Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range events {
		m.events = append(m.events, e)
		m.times[e.Path] = time.Now()
		if e.Rescan {
			m.scan(e.Path, e.Deep)
		} else {
			m.look(e.Path)
		}
	}
}

// heard reports whether a hint for exactly that path came.
func (m *mirror) heard(path string, rescan bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.events, func(e Event) bool { return e.Path == path && e.Rescan == rescan })
}

// why reports whether a Rescan with such a reason came.
func (m *mirror) why(part string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.events, func(e Event) bool { return strings.Contains(e.Why, part) })
}

func (m *mirror) forgetEvents() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = nil
}

// tree is what there is.
func (m *mirror) tree(t testing.TB) map[string]thing {
	out := map[string]thing{}
	err := filepath.WalkDir(m.root, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(m.root, p)
		if err != nil {
			return err
		}
		if rel = filepath.ToSlash(rel); rel == "." {
			return nil
		}
		if m.skip != nil && m.skip(rel, d.IsDir()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		fi, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		out[rel] = thingOf(fi)
		if d.IsDir() && m.depth > 0 && levels(rel) >= m.depth {
			return fs.SkipDir
		}
		return nil
	})
	must(t, err)
	return out
}

// equal waits until the mirror is the tree.
func (m *mirror) equal(t testing.TB) {
	t.Helper()
	end := time.Now().Add(patience)
	for {
		tree := m.tree(t)
		m.mu.Lock()
		same := maps.Equal(tree, m.view)
		diff := ""
		if !same {
			diff = difference(tree, m.view)
		}
		m.mu.Unlock()
		if same {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the mirror never became the tree:\n%s\n%+v", diff, m.w.Stats())
		}
		pass(2 * time.Millisecond)
	}
}

func difference(tree, view map[string]thing) string {
	var b strings.Builder
	n := 0
	say := func(format string, args ...any) {
		if n++; n < 20 {
			fmt.Fprintf(&b, format+"\n", args...)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(tree)) {
		if v, ok := view[p]; !ok {
			say("missing %s", p)
		} else if v != tree[p] {
			say("differs %s: tree %+v, mirror %+v", p, tree[p], v)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(view)) {
		if _, ok := tree[p]; !ok {
			say("too much %s", p)
		}
	}
	return fmt.Sprintf("%d differences\n%s", n, b.String())
}

// logTo writes the watcher's log to the test's.
type logTo struct{ t testing.TB }

func (l logTo) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// watched starts a Watcher over root and ends it with the test.
func watched(t testing.TB, cfg Config) *Watcher {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(logTo{t}, nil))
	}
	w, err := New(cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-w.Ready():
	case <-time.After(patience):
		t.Fatal("never ready")
	}
	return w
}

// mirrored starts a Watcher and a mirror that listens to it.
func mirrored(t testing.TB, cfg Config) *mirror {
	t.Helper()
	w := watched(t, cfg)
	m := newMirror(w, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	m.take([]Event{{Rescan: true, Deep: true}})
	m.forgetEvents()
	running.Go(func() {
		for {
			events, err := w.Next(ctx, 100)
			if err != nil {
				return
			}
			m.take(events)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return m
}

// write makes a file, and the folders to it.
func write(t testing.TB, root, rel, content string) {
	t.Helper()
	p := filepath.Join(root, filepath.FromSlash(rel))
	must(t, os.MkdirAll(filepath.Dir(p), 0o755))
	must(t, os.WriteFile(p, []byte(content), 0o644))
}

func mkdir(t testing.TB, root, rel string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(root, filepath.FromSlash(rel)), 0o755))
}
