package feeder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"s3apu/protocol"
)

// filesIn makes n empty files in a folder and returns their names in order.
func filesIn(t testing.TB, dir string, n int) []string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("f%05d", i)
		if err := os.WriteFile(filepath.Join(dir, names[i]), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// Whoever looks, and in what company, the steps are those that a look at each entry by itself gives, in the order of the keys.
func TestRunsAreWalkedInOrder(t *testing.T) {
	base, n := t.TempDir(), 0
	matches := func(rel string, _ bool) bool { return !strings.HasSuffix(rel, "7") }
	rapid.Check(t, func(rt *rapid.T) {
		n++
		root := filepath.Join(base, strconv.Itoa(n))
		defer func() { _ = os.RemoveAll(root) }()
		w := walker{root: root, prefix: "p/", match: matches,
			layout: rapid.SampledFrom([]layout{slash, plain, none}).Draw(rt, "layout")}
		var want []found
		var grow func(at string, depth int)
		grow = func(at string, depth int) {
			if err := os.Mkdir(filepath.Join(root, at), 0o755); err != nil {
				rt.Fatal(err)
			}
			files := rapid.SampledFrom([]int{0, 1, runLeast - 1, runLeast, runMost - 1, runMost, runMost + runLeast + 3}).Draw(rt, "files")
			for i := range files {
				path := filepath.Join(root, at, fmt.Sprintf("f%d", i*7%1000))
				var err error
				if i%50 == 49 {
					err = os.Symlink("f0", path)
				} else {
					err = os.WriteFile(path, make([]byte, i), 0o644)
				}
				if err != nil {
					rt.Fatal(err)
				}
			}
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "f", "f3", "f50", "f5-", "x7", "z"}), 0, 3, rapid.ID[string]).Draw(rt, "folders") {
				if _, err := os.Lstat(filepath.Join(root, at, name)); depth < 1 && err != nil {
					grow(at+name+"/", depth+1)
				}
			}
			d, _, err := openDir(root, strings.TrimSuffix(at, "/"))
			if err != nil {
				rt.Fatal(err)
			}
			defer d.Close()
			list, err := d.read(t.Context())
			if err != nil {
				rt.Fatal(err)
			}
			w.links.apply(list, at)
			for _, e := range sortNames(list, w.layout) {
				f := found{kind: aFolder, key: e.sortsAs("p/" + at), rel: at + e.name, dev: d.dev}
				switch {
				case e.kind != folderEntry && e.kind != folderObject:
					if w.look(d, e, "p/"+at, &f) {
						want = append(want, f)
					}
				case matches(f.rel, true):
					if f.stat, err = d.Lstat(e.name); err != nil {
						rt.Fatal(err)
					}
					if w.layout == plain && e.kind == folderEntry {
						f.kind = inside
					}
					want = append(want, f)
				}
			}
		}
		grow("", 0)
		want = slices.DeleteFunc(want, func(f found) bool { return strings.Contains(f.rel, "x7/") })
		slices.SortFunc(want, func(a, b found) int { return strings.Compare(a.key, b.key) })
		var got []found
		w.visit = func(f *found) error { got = append(got, *f); return nil }
		if err := w.walk(t.Context(), "", 0); err != nil {
			rt.Fatal(err)
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("%d steps, want %d: %v\n%v", len(got), len(want), got, want)
		}
		if slices.ContainsFunc(w.far, func(f found) bool { return f != found{} }) {
			rt.Fatal("a step is kept")
		}
	})
}

// meet is for the match of a walker: it has the first file of a run wait for the last, so that both ends are looked at.
func meet(names []string) func(string) {
	far := make(chan struct{})
	return func(rel string) {
		switch rel {
		case names[0]:
			<-far
		case names[len(names)-1]:
			close(far)
		}
	}
}

// What changes before it is looked at is found as it is then, from either end.
func TestRunOfWhatChanges(t *testing.T) {
	root := t.TempDir()
	names := filesIn(t, root, runLeast)
	both := meet(names)
	w := walker{root: root}
	w.match = func(rel string, _ bool) bool {
		both(rel)
		i, path := slices.Index(names, rel), filepath.Join(root, rel)
		if i%6 == 0 {
			return true
		}
		err := os.Remove(path)
		switch i % 6 {
		case 2:
			err = errors.Join(err, os.Mkdir(path, 0o755))
		case 3:
			err = errors.Join(err, os.Symlink("none", path))
		case 4:
			err = errors.Join(err, os.WriteFile(path, []byte("new"), 0o644))
		}
		if err != nil {
			t.Error(err)
		}
		return i%6 != 5
	}
	i := 0
	w.visit = func(f *found) error {
		for i%6 == 1 || i%6 == 5 { // is gone, or does not match
			i++
		}
		want := []kind{aFile, 0, swapped, special, aFile}[i%6]
		if f.rel != names[i] || f.kind != want || f.err != nil || i%6 == 4 && f.stat.Size != 3 {
			t.Errorf("%s: %+v, want kind %d", names[i], f, want)
		}
		i++
		return nil
	}
	if err := w.walk(t.Context(), "", 0); err != nil || i != runLeast-1 {
		t.Fatal(i, err)
	}
}

// Errors of single files are said at their place: a name that no system call takes, and one that no key can have.
func TestRunOfBadNames(t *testing.T) {
	root := t.TempDir()
	names := filesIn(t, root, runLeast)
	list := make([]entry, len(names))
	for i := range list {
		list[i].name = names[i]
	}
	last := len(list) - 1
	for i, bad := range map[int]string{1: "f00001\x00", last - 2: fmt.Sprintf("f%05d\x00", last-2), 2: "f00002\xff", last - 1: fmt.Sprintf("f%05d\xff", last-1)} {
		list[i].name = bad
	}
	d, _, err := openDir(root, "")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	both := meet(names)
	i := 0
	w := walker{root: root, match: func(rel string, _ bool) bool { both(rel); return true }}
	w.visit = func(f *found) error {
		want := aFile
		switch i {
		case 1, last - 2:
			want = unseen
		case 2, last - 1:
			want = odd
		}
		if f.key != list[i].name || f.kind != want || (f.err != nil) != (want != aFile) || f.dev != d.dev {
			t.Errorf("%d: %+v, want kind %d", i, f, want)
		}
		if want == odd && !errors.Is(f.err, protocol.ErrKeyUTF8) {
			t.Error(f.err)
		}
		i++
		return nil
	}
	if err := w.level(t.Context(), d, list, "", 0); err != nil || i != len(list) {
		t.Fatal(i, err)
	}
}

// An error of a visit and the end of the context end a run at that step, wherever it is; who looks from the far end has
// ended by then, or the race detector would complain of looks.
func TestRunEnds(t *testing.T) {
	root := t.TempDir()
	names := filesIn(t, root, runLeast)
	broken := errors.New("broken")
	for _, at := range []int{1, runShare, runLeast / 2, runLeast - 1, runLeast} {
		for _, cancelled := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			looks := [2]int{} // from the near end and the far one
			visits := 0
			both := meet(names)
			w := walker{root: root, match: func(rel string, _ bool) bool {
				both(rel)
				if i := slices.Index(names, rel); i < runShare {
					looks[0]++
				} else if i >= runLeast-runShare {
					looks[1]++
				}
				return true
			}}
			w.visit = func(f *found) error {
				if f.rel != names[visits] {
					t.Errorf("step %d is %s", visits, f.rel)
				}
				if visits++; visits != at {
					return nil
				}
				if cancelled {
					cancel()
					return nil
				}
				return broken
			}
			err := w.walk(ctx, "", 0)
			cancel()
			want := broken
			switch {
			case cancelled && at == runLeast:
				want = nil // there was nothing left to be cancelled
			case cancelled:
				want = context.Canceled
			}
			if !errors.Is(err, want) || visits != at || looks[0] == 0 || looks[1] == 0 {
				t.Errorf("at %d: %v after %d steps, looks %v", at, err, visits, looks)
			}
		}
	}
}

// The far end cancels: no step is said that was not looked at.
func TestRunIsCancelledFromTheFarEnd(t *testing.T) {
	root := t.TempDir()
	names := filesIn(t, root, runLeast)
	ctx, cancel := context.WithCancel(t.Context())
	both := meet(names)
	w := walker{root: root, visit: func(f *found) error { t.Errorf("visited %s", f.rel); return nil }}
	w.match = func(rel string, _ bool) bool {
		if rel == names[len(names)-1] {
			cancel()
		}
		both(rel)
		return rel != names[0]
	}
	if err := w.walk(ctx, "", 0); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// However many files lie in a folder, no more than a run of them is looked at before their turn, and kept.
func TestRunIsBounded(t *testing.T) {
	root := t.TempDir()
	const files = 5*runMost + 7
	filesIn(t, root, files)
	var looked atomic.Int64
	visited, most := int64(0), int64(0)
	w := walker{root: root, match: func(string, bool) bool { looked.Add(1); return true }}
	w.visit = func(*found) error {
		most = max(most, looked.Load()-visited)
		visited++
		return nil
	}
	if err := w.walk(t.Context(), "", 0); err != nil || visited != files {
		t.Fatal(visited, err)
	}
	if most > runMost || len(w.far) > runMost {
		t.Errorf("%d files were looked at before their turn, room for %d", most, len(w.far))
	}
}

// A scan finds in long folders what it finds in short ones.
func TestScanOfRuns(t *testing.T) {
	b := newBench(t, func(f *Folder) { f.Match = func(rel string, _ bool) bool { return rel != "d/f00003" } })
	b.mkdir("d")
	filesIn(t, b.path("d"), runMost+runLeast)
	b.sync()
	if _, put := b.scan("", deep); len(put) != 0 {
		t.Fatalf("put %q", put)
	}
	b.write("d/f00001", "changed")
	b.write("d/f00100", "changed")
	b.write("d/f00101x", "new")
	b.remove("d/f00102")
	b.remove("d/f00120")
	b.mkdir("d/f00120")
	_, put := b.scan("", deep)
	b.want(put, "mkd p/d/", "upl p/d/f00001", "upl p/d/f00100", "upl p/d/f00101x", "del p/d/f00120", "mkd p/d/f00120/", "del p/d/f00102")
}
