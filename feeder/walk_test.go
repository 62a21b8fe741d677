package feeder

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"s3apu/protocol"
)

// steps walks root and returns the keys and kinds in order.
func steps(t testing.TB, w walker, rel string, levels int) (keys []string, kinds map[string]kind) {
	t.Helper()
	kinds = map[string]kind{}
	w.match = func(string, bool) bool { return true }
	w.visit = func(f *found) error {
		keys = append(keys, f.key)
		kinds[f.key] = f.kind
		return nil
	}
	if err := w.walk(t.Context(), rel, levels); err != nil {
		t.Fatal(err)
	}
	return keys, kinds
}

// The order of the walk is the order of the keys, for every tree and layout.
func TestWalkComesOutInKeyOrder(t *testing.T) {
	names := []string{"a", "a.b", "a-b", "a0", "ab", "A", "a b", "a!", "b", "é", "日本", "a\u00ff", "z", "0", "a'", "~"}
	base, n := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		root := filepath.Join(base, strconv.Itoa(n))
		if err := os.Mkdir(root, 0o755); err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(root) }()
		var want []string
		lay := rapid.SampledFrom([]layout{slash, plain, none}).Draw(rt, "layout")
		var grow func(dir, at string, depth int)
		grow = func(dir, at string, depth int) {
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 6, rapid.ID[string]).Draw(rt, "names") {
				path := filepath.Join(dir, name)
				if depth < 3 && rapid.Bool().Draw(rt, "folder") {
					if err := os.Mkdir(path, 0o755); err != nil {
						rt.Fatal(err)
					}
					want = append(want, at+name+"/")
					if lay == plain {
						want = append(want, at+name)
					}
					grow(path, at+name+"/", depth+1)
				} else {
					if err := os.WriteFile(path, nil, 0o644); err != nil {
						rt.Fatal(err)
					}
					want = append(want, at+name)
				}
			}
		}
		grow(root, "p/", 0)
		sort.Strings(want)
		got, _ := steps(t, walker{root: root, prefix: "p/", layout: lay}, "", 0)
		if !slices.Equal(got, want) {
			rt.Fatalf("walked %q\n want  %q", got, want)
		}
	})
}

func TestWalkOrderOfTheAwkwardNames(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"a", "a/b", "a-", "a-/c"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"a.b", "a-b", "a0", "a/b/x", "a/c", "a-/c/y"} {
		if err := os.WriteFile(filepath.Join(root, f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for lay, want := range map[layout]string{
		slash: "a-/ a-/c/ a-/c/y a-b a.b a/ a/b/ a/b/x a/c a0",
		none:  "a-/ a-/c/ a-/c/y a-b a.b a/ a/b/ a/b/x a/c a0",
		plain: "a a- a-/ a-/c a-/c/ a-/c/y a-b a.b a/ a/b a/b/ a/b/x a/c a0",
	} {
		got, _ := steps(t, walker{root: root, layout: lay}, "", 0)
		if strings.Join(got, " ") != want {
			t.Errorf("layout %d: %q, want %q", lay, strings.Join(got, " "), want)
		}
	}
}

func TestWalkLevels(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "a/b/c"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"1", "a/2", "a/b/3"} {
		if err := os.WriteFile(filepath.Join(root, f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		rel    string
		levels int
		want   string
	}{{"", 1, "1 a/"}, {"", 2, "1 a/ a/2 a/b/"}, {"", 0, "1 a/ a/2 a/b/ a/b/3 a/b/c/"}, {"a", 1, "a/2 a/b/"}, {"a/b", 0, "a/b/3 a/b/c/"}} {
		got, _ := steps(t, walker{root: root}, c.rel, c.levels)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q %d: %q, want %q", c.rel, c.levels, got, c.want)
		}
	}
}

func TestWalkEndsWithItsContext(t *testing.T) {
	root := t.TempDir()
	for _, f := range []string{"1", "2", "3"} {
		if err := os.WriteFile(filepath.Join(root, f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	w := walker{root: root, match: func(string, bool) bool { return true }, visit: func(*found) error { n++; cancel(); return nil }}
	if err := w.walk(ctx, "", 0); !errors.Is(err, context.Canceled) || n != 1 {
		t.Fatalf("%d steps, %v", n, err)
	}
}

func TestWalkPassesOverExcludedFolders(t *testing.T) {
	b := newBench(t, func(f *Folder) { f.Match = func(rel string, _ bool) bool { return rel != "a/x" && rel != "b" } })
	b.write("a/x/1", "")
	b.write("a/y", "")
	b.write("b", "")
	_, put := b.scan("", deep)
	b.want(put, "mkd p/a/", "upl p/a/y")
}

func TestLongKeys(t *testing.T) {
	b := newBench(t, nil)
	long := strings.TrimSuffix(strings.Repeat(strings.Repeat("n", 200)+"/", 5), "/") // 1,004 bytes
	b.write(long+"/"+strings.Repeat("k", 40), "")                                    // too long
	b.write(long+"/ok", "")
	b.mkdir(long + "/" + strings.Repeat("m", 16)) // 2 + 1,004 + 1 + 16 + 1 = 1,024
	b.mkdir(long + "/" + strings.Repeat("o", 17))
	r, put := b.scan("", deep)
	if r.Failed != 2 || len(put) != 5+2 || len(b.q.failed) != 2 {
		t.Fatalf("failed %d %v, put %d", r.Failed, b.q.failed, len(put))
	}
	for key, e := range b.q.failed {
		kindIs(t, e, protocol.KindItem)
		if !errors.Is(e, protocol.ErrKeyLong) || len(key) <= protocol.MaxKeyBytes {
			t.Errorf("%d bytes: %v", len(key), e)
		}
	}
	if got := b.change(long + "/" + strings.Repeat("k", 40)); len(got) != 0 || len(b.q.failed) != 2 {
		t.Fatalf("put %q, failed %d", got, len(b.q.failed))
	}
	// Once it is gone it is not listed any more.
	b.remove(long + "/" + strings.Repeat("k", 40))
	b.want(b.change(long + "/" + strings.Repeat("k", 40)))
	if len(b.q.dropped) != 1 || len(b.q.failed) != 1 {
		t.Fatalf("dropped %q", b.q.dropped)
	}
}
