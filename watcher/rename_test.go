package watcher

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// quick are waits that keep the tests short.
func quick(root string) Config {
	return Config{Root: root, Gone: 10 * time.Millisecond, Grace: 20 * time.Millisecond, Check: 20 * time.Millisecond,
		Retry: 10 * time.Millisecond, gap: 10 * time.Millisecond}
}

// trueWatches waits until the known folders are those of the tree, each watched as the folder that is there.
func trueWatches(t *testing.T, m *mirror) {
	t.Helper()
	why := ""
	defer func() {
		if t.Failed() {
			t.Log(why)
		}
	}()
	until(t, "the watches to be those of the tree", func() bool {
		want := 1
		for _, th := range m.tree(t) {
			if th.mode.IsDir() {
				want++
			}
		}
		w := m.w
		w.table.mu.RLock()
		defer w.table.mu.RUnlock()
		if len(w.table.nodes) != want || w.table.watched != want || len(w.table.ids) != want {
			why = fmt.Sprintf("%d folders, %d known, %d watched, %d identities", want, len(w.table.nodes), w.table.watched, len(w.table.ids))
			return false
		}
		kernel := 0
		for _, s := range w.sources {
			kernel += s.Watches()
		}
		if kernel < want { // a fake counts those that were given back, too
			why = fmt.Sprintf("%d folders, %d watches in the kernel", want, kernel)
			return false
		}
		for p, n := range w.table.nodes {
			if id, folder, err := identify(w.full(p)); err != nil || !folder || id != n.id {
				why = fmt.Sprintf("%s: %v", p, err)
				return false
			}
		}
		return true
	})
}

// hears writes a file until exactly that path is reported: the watch of its folder stands and knows its name. (Once may
// not be enough: a Rescan that is still pending speaks for the file.)
func hears(t *testing.T, m *mirror, rel string) {
	t.Helper()
	m.equal(t)
	m.forgetEvents()
	var last time.Time
	until(t, "word of "+rel, func() bool {
		if time.Since(last) > 200*time.Millisecond {
			last = time.Now()
			write(t, m.root, rel, last.String())
		}
		return m.heard(rel, false)
	})
	m.equal(t)
}

func mv(t *testing.T, m *mirror, from, to string) {
	t.Helper()
	must(t, os.Rename(m.full(from), m.full(to)))
}

func TestRenames(t *testing.T) {
	outside := t.TempDir()
	for name, test := range map[string]struct {
		do    func(t *testing.T, m *mirror)
		hears []string
	}{
		"a folder, then write in its grandchild": {func(t *testing.T, m *mirror) {
			mv(t, m, "a", "z")
		}, []string{"z/b/c/new", "z/new"}},
		"a folder, and at once write in its grandchild": {func(t *testing.T, m *mirror) {
			mv(t, m, "a", "z")
			write(t, m.root, "z/b/c/at once", "x")
		}, []string{"z/b/c/new"}},
		"a grandchild into another part": {func(t *testing.T, m *mirror) {
			mv(t, m, "a/b", "o/q/b")
		}, []string{"o/q/b/c/new", "o/q/b/new", "a/new"}},
		"there and back": {func(t *testing.T, m *mirror) {
			for range 20 {
				mv(t, m, "a", "z")
				mv(t, m, "z", "a")
			}
		}, []string{"a/b/c/new", "a/new"}},
		"many times on": {func(t *testing.T, m *mirror) {
			mv(t, m, "a", "z0")
			for i := range 50 {
				mv(t, m, fmt.Sprint("z", i), fmt.Sprint("z", i+1))
			}
		}, []string{"z50/b/c/new"}},
		"swap by a third name": {func(t *testing.T, m *mirror) {
			mv(t, m, "a", "third")
			mv(t, m, "o", "a")
			mv(t, m, "third", "o")
		}, []string{"o/b/c/new", "a/q/new", "a/new", "o/new"}},
		"swap of grandchildren": {func(t *testing.T, m *mirror) {
			mv(t, m, "a/b", "third")
			mv(t, m, "o/q", "a/b")
			mv(t, m, "third", "o/q")
		}, []string{"o/q/c/new", "a/b/new"}},
		"exchange": {func(t *testing.T, m *mirror) {
			exchange(t, m.full("a"), m.full("o"))
		}, []string{"o/b/c/new", "a/q/new", "a/new"}},
		"exchange many times": {func(t *testing.T, m *mirror) {
			for range 51 {
				exchange(t, m.full("a/b"), m.full("o/q"))
			}
		}, []string{"o/q/c/new", "a/b/new"}},
		"exchange a file and a folder": {func(t *testing.T, m *mirror) {
			exchange(t, m.full("a"), m.full("o/file"))
		}, []string{"o/file/b/c/new", "a"}},
		"into its own child's place": {func(t *testing.T, m *mirror) {
			mv(t, m, "a/b", "b")
			mv(t, m, "a", "b/a")
		}, []string{"b/a/new", "b/c/new"}},
		"out of the tree and back under another name": {func(t *testing.T, m *mirror) {
			out := filepath.Join(outside, "out")
			must(t, os.Rename(m.full("a"), out))
			write(t, out, "b/c/changed outside", "x")
			must(t, os.Rename(out, m.full("back")))
		}, []string{"back/b/c/new"}},
		"over an empty folder": {func(t *testing.T, m *mirror) {
			mkdir(t, m.root, "empty")
			renameOver(t, m.full("a"), m.full("empty"))
		}, []string{"empty/b/c/new"}},
		"removed and made again at once": {func(t *testing.T, m *mirror) {
			for range 20 {
				must(t, os.RemoveAll(m.full("a")))
				write(t, m.root, "a/b/c/f", "x")
			}
		}, []string{"a/b/c/new", "a/b/new"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, "a/b/c/f", "1")
			write(t, root, "a/b/f", "2")
			write(t, root, "o/q/f", "3")
			write(t, root, "o/file", "4")
			m := mirrored(t, quick(root))
			test.do(t, m)
			m.equal(t)
			trueWatches(t, m)
			for _, rel := range test.hears {
				hears(t, m, rel)
			}
		})
	}
}

func TestMovedOutIsNotHeardAnyMore(t *testing.T) {
	root, outside := t.TempDir(), filepath.Join(t.TempDir(), "out")
	write(t, root, "a/b/f", "1")
	m := mirrored(t, quick(root))
	must(t, os.Rename(m.full("a"), outside))
	until(t, "the folder to be gone", func() bool { return m.heard("a", false) })
	m.equal(t)
	trueWatches(t, m)
	m.forgetEvents()
	heard := m.w.Stats().Events
	write(t, outside, "b/f", "2")
	write(t, outside, "g", "2")
	hears(t, m, "last")
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if within(e.Path, "a") {
			t.Errorf("an outside change was reported: %+v", e)
		}
	}
	if n := m.w.Stats().Events - heard; n > 3 { // create, write and, on some kernels, another write of "last"
		t.Errorf("%d events, the outside folder is still watched", n)
	}
}

// The same folders are moved about by two hands while a third writes: no word may get lost on the way.
func TestRenamesWhileWriting(t *testing.T) {
	root := t.TempDir()
	for i := range 5 {
		for j := range 5 {
			write(t, root, fmt.Sprintf("d%d/e%d/f", i, j), "x")
		}
	}
	m := mirrored(t, quick(root))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 200 {
			p := m.full(fmt.Sprintf("d%d/e%d/g%d", i%5, i/5%5, i))
			_ = os.WriteFile(p, []byte("y"), 0o600) // the folder may be elsewhere just now
		}
	}()
	for i := range 200 {
		a, b := m.full(fmt.Sprintf("d%d", i%5)), m.full(fmt.Sprintf("d%d/e%d", (i+1)%5, i%3))
		_ = os.Rename(a, b+"x") // may not fit; then nothing happens
		_ = os.Rename(b+"x", a)
		_ = os.Rename(b, m.full(fmt.Sprintf("d%d/e%d", i%5, i%7)))
	}
	<-done
	m.equal(t)
	trueWatches(t, m)
}

func TestTheRootGoesAndComesBack(t *testing.T) {
	above := t.TempDir()
	root := filepath.Join(above, "root")
	write(t, root, "a/f", "1")
	m := mirrored(t, quick(root))

	t.Log("moved away")
	must(t, os.Rename(root, filepath.Join(above, "elsewhere")))
	until(t, "the root to be gone", func() bool { return m.why("the root is gone") && m.w.Stats().RootGone })
	write(t, filepath.Join(above, "elsewhere"), "a/g", "2")
	must(t, os.Rename(filepath.Join(above, "elsewhere"), root))
	until(t, "the root to be back", func() bool { return m.why("the root is back") && !m.w.Stats().RootGone })
	m.equal(t)
	hears(t, m, "a/h")

	t.Log("removed and made again")
	must(t, os.RemoveAll(root))
	until(t, "the root to be gone again", func() bool { return m.w.Stats().RootGone })
	write(t, root, "b/f", "1")
	m.equal(t)
	hears(t, m, "b/g")

	t.Log("replaced")
	other := filepath.Join(above, "other")
	write(t, other, "c/f", "1")
	must(t, os.Rename(root, filepath.Join(above, "old")))
	must(t, os.Rename(other, root))
	m.equal(t)
	hears(t, m, "c/g")
	trueWatches(t, m)

	t.Log("a folder above it renamed: there is no event")
	must(t, os.Rename(above, above+"x"))
	until(t, "the root to be gone without an event", func() bool { return m.w.Stats().RootGone })
	must(t, os.Rename(above+"x", above))
	until(t, "the root to be back", func() bool { return !m.w.Stats().RootGone })
	m.equal(t)
	hears(t, m, "c/h")
}
