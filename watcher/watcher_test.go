package watcher

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestNewRefuses(t *testing.T) {
	root := t.TempDir()
	write(t, root, "file", "x")
	must(t, os.Symlink(root, filepath.Join(root, "link")))
	for name, cfg := range map[string]Config{
		"relative": {Root: "some/where"},
		"missing":  {Root: filepath.Join(root, "nothing")},
		"a file":   {Root: filepath.Join(root, "file")},
		"a link":   {Root: filepath.Join(root, "link")},
		"depth":    {Root: root, Depth: -1},
	} {
		if _, err := New(cfg); err == nil || !strings.HasPrefix(err.Error(), "watcher: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRunFailsWhenTheRootVanishedBefore(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	mkdir(t, root, "")
	w, err := New(Config{Root: root})
	must(t, err)
	must(t, os.Remove(root))
	if err := w.Run(context.Background()); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := w.Run(context.Background()); err == nil {
		t.Fatal("a second Run went through")
	}
	if _, err := w.Next(context.Background(), 1); !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
}

func TestNextEndsWithItsContext(t *testing.T) {
	w := watched(t, Config{Root: t.TempDir()})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := w.Next(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

// Each step is one way in which a tree changes; the mirror must follow each.
func TestFollows(t *testing.T) {
	root := t.TempDir()
	at := func(rel string) string { return filepath.Join(root, rel) }
	write(t, root, "there/before.txt", "1")
	m := mirrored(t, Config{Root: root, Gone: 20 * time.Millisecond})
	steps := []struct {
		name string
		do   func()
	}{
		{"create", func() { write(t, root, "a.txt", "a") }},
		{"append", func() {
			f, err := os.OpenFile(at("a.txt"), os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString("more")
			must(t, err)
			must(t, f.Close())
		}},
		{"truncate", func() { must(t, os.Truncate(at("a.txt"), 2)) }},
		{"chmod", func() { must(t, os.Chmod(at("a.txt"), 0o600)) }},
		{"utimes", func() { must(t, os.Chtimes(at("a.txt"), time.Unix(1, 0), time.Unix(2, 0))) }},
		{"chmod of a folder", func() { must(t, os.Chmod(at("there"), 0o700)) }},
		{"atomic save", func() {
			write(t, root, ".a.txt.tmp", "saved")
			must(t, os.Rename(at(".a.txt.tmp"), at("a.txt")))
		}},
		{"hard link", func() { must(t, os.Link(at("a.txt"), at("there/linked"))) }},
		{"one name of two gone", func() { must(t, os.Remove(at("there/linked"))) }},
		{"symbolic link", func() { must(t, os.Symlink("a.txt", at("soft"))) }},
		{"copytruncate", func() {
			b, err := os.ReadFile(at("a.txt"))
			must(t, err)
			write(t, root, "a.txt.1", string(b))
			must(t, os.Truncate(at("a.txt"), 0))
		}},
		{"file to folder", func() { must(t, os.Remove(at("a.txt"))); write(t, root, "a.txt/in", "x") }},
		{"write in it", func() { write(t, root, "a.txt/in2", "y") }},
		{"folder to file", func() { must(t, os.RemoveAll(at("a.txt"))); write(t, root, "a.txt", "a file again") }},
		{"and again a folder", func() { must(t, os.Remove(at("a.txt"))); write(t, root, "a.txt/deep/er", "z") }},
		{"delete", func() { must(t, os.Remove(at("soft"))) }},
		{"rmtree", func() { must(t, os.RemoveAll(at("there"))) }},
		{"the same tree again", func() { write(t, root, "there/before.txt", "22") }},
		{"and its folder is watched", func() { write(t, root, "there/after.txt", "3") }},
		{"odd names", func() {
			for _, n := range []string{"a b", "a|b;c", "…", "...", "line\nbreak", "\xff\xfe", "%41", "-rf", "\\", "é"} {
				write(t, root, n, n)
				write(t, root, "folder "+n+"/"+n, n)
			}
		}},
		{"and odd folders are watched", func() { write(t, root, "folder ...", "x"); write(t, root, ".../x", "x") }},
	}
	must(t, os.RemoveAll(at("...")))
	for _, s := range steps {
		if s.name == "and odd folders are watched" {
			must(t, os.RemoveAll(at("...")))
			must(t, os.RemoveAll(at("folder ...")))
		}
		s.do()
		t.Log(s.name)
		m.equal(t)
	}
}

func TestGoneWaits(t *testing.T) {
	root := t.TempDir()
	write(t, root, "f", "1")
	w := watched(t, Config{Root: root, Gone: 300 * time.Millisecond})
	began := time.Now()
	must(t, os.Remove(filepath.Join(root, "f")))
	write(t, root, "f", "2") // within Gone: the file is only changed
	events, err := w.Next(context.Background(), 10)
	must(t, err)
	if len(events) != 1 || events[0].Path != "f" || events[0].Rescan || time.Since(began) > 250*time.Millisecond {
		t.Fatalf("%+v after %v", events, time.Since(began))
	}
	began = time.Now()
	must(t, os.Remove(filepath.Join(root, "f")))
	events, err = w.Next(context.Background(), 10)
	must(t, err)
	if took := time.Since(began); len(events) != 1 || events[0].Path != "f" || took < 300*time.Millisecond {
		t.Fatalf("%+v after %v", events, took)
	}
}

func TestDepth(t *testing.T) {
	for _, c := range []struct {
		depth, watches int
	}{{0, 4}, {1, 1}, {2, 2}, {3, 3}} {
		root := t.TempDir()
		write(t, root, "a/b/c/deep", "x")
		m := mirrored(t, Config{Root: root, Depth: c.depth, Gone: time.Millisecond})
		if got := m.w.Stats().Watches; got != c.watches {
			t.Errorf("depth %d: %d watches, want %d", c.depth, got, c.watches)
		}
		write(t, root, "a/b/c/deep2", "x")
		write(t, root, "a/b/two", "x")
		write(t, root, "new/b/c/d/e", "x")
		write(t, root, "last", "x")
		m.equal(t)
		until(t, "the last file", func() bool { return m.heard("last", false) })
		m.mu.Lock()
		for _, e := range m.events {
			if c.depth > 0 && levels(e.Path) > c.depth {
				t.Errorf("depth %d: %+v", c.depth, e)
			}
		}
		m.mu.Unlock()
		if c.depth == 1 && !m.heard("new", false) {
			t.Error("the folder at the depth was not reported")
		}
	}
}

func TestSkip(t *testing.T) {
	root := t.TempDir()
	write(t, root, "keep/x.tmp", "x")
	write(t, root, "cache/a/b", "x")
	skip := func(rel string, folder bool) bool {
		return strings.HasSuffix(rel, ".tmp") || folder && filepath.Base(rel) == "cache"
	}
	m := mirrored(t, Config{Root: root, Skip: skip, Gone: time.Millisecond})
	if got := m.w.Stats().Watches; got != 2 {
		t.Errorf("%d watches, want 2 (root and keep)", got)
	}
	write(t, root, "keep/y.tmp", "x")
	write(t, root, "cache/a/c", "x")
	write(t, root, "keep/cache/new", "x")
	write(t, root, "keep/file", "x")
	m.w.Mark("cache/a/b")
	m.w.Mark("keep/x.tmp")
	m.equal(t)
	write(t, root, "last", "x")
	until(t, "the last file", func() bool { return m.heard("last", false) })
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if strings.Contains(e.Path, ".tmp") || strings.Contains(e.Path, "cache") {
			t.Errorf("reported %+v", e)
		}
	}
}

func TestMarkIsReported(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a/f", "x")
	m := mirrored(t, Config{Root: root, Gone: time.Millisecond})
	m.w.Mark("a/f")
	until(t, "the marked file", func() bool { return m.heard("a/f", false) })
	m.w.Mark("a")
	until(t, "the marked folder", func() bool { return m.heard("a", false) })
	m.w.Mark("not/there")
	until(t, "the path that is not there", func() bool { return m.heard("not/there", false) })
	m.w.Mark("")
	until(t, "the root", func() bool { return m.heard("", true) })
}

func TestSpecialFilesAreNotOpened(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no sockets among files")
	}
	dir := t.TempDir()
	m := mirrored(t, Config{Root: dir})
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	must(t, err)
	fifo(t, filepath.Join(dir, "fifo"))
	m.equal(t)
	until(t, "both counted", func() bool { return m.w.Stats().Special >= 2 })
	must(t, l.Close())
}

func TestNextOrder(t *testing.T) {
	root := t.TempDir()
	write(t, root, "gone/x", "x")
	write(t, root, "gone2", "x")
	w := watched(t, Config{Root: root, Gone: time.Millisecond})
	must(t, os.RemoveAll(filepath.Join(root, "gone")))
	must(t, os.Remove(filepath.Join(root, "gone2")))
	write(t, root, "zz", "x")
	write(t, root, "mm", "x")
	w.Mark("gone/x") // the folder's own watch may end before it tells of this one
	until(t, "all due", func() bool {
		w.marks.mu.Lock()
		defer w.marks.mu.Unlock()
		return len(w.marks.due) >= 5 && len(w.marks.heap) == 0
	})
	events, err := w.Next(context.Background(), 100)
	must(t, err)
	var got []string
	for _, e := range events {
		got = append(got, e.Path)
	}
	if s := strings.Join(got, " "); s != "mm zz gone gone/x gone2" {
		t.Error(s)
	}
}
