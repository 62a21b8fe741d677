package protocol

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The short way says yes exactly where the long one comes to no link at all, in any tree.
func TestStraightIsResolve(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	runs, yes := 0, 0
	names := rapid.SampledFrom([]string{"a", "b", "c", "ü", ".", "x y"})
	rapid.Check(t, func(t *rapid.T) {
		runs++
		root := filepath.Join(base, fmt.Sprint(runs))
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		path := func(label string) string {
			return root + "/" + strings.Join(rapid.SliceOfN(names, 1, 4).Draw(t, label), "/")
		}
		for range rapid.IntRange(0, 8).Draw(t, "number of things") {
			p := path("thing") // what does not go is not there
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0, 1:
				_ = os.MkdirAll(p, 0o755)
			case 2:
				_ = os.WriteFile(p, nil, 0o644)
			case 3:
				to := path("target")
				if rapid.Bool().Draw(t, "relative") {
					to = strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "..", "c"}), 1, 3).Draw(t, "relative target"), "/")
				}
				_ = os.Symlink(to, p)
			}
		}
		var g glance // one for all: nothing changes while it lives
		defer g.end()
		for range 8 {
			p := filepath.Clean(path("path"))
			real, err := resolve(p)
			if is := g.straight(p); is != (err == nil && real == p) {
				t.Fatalf("%s: the short way says %v, the long one %q, %v", p, is, real, err)
			} else if is {
				yes++
			}
		}
	})
	if yes == 0 {
		t.Error("the short way was never taken: does the kernel have openat2?")
	}
}

func TestStraightLongPaths(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var g glance
	defer func() { g.end() }()
	for _, p := range []string{"/", "/no-such-file", base, base + "/f", base + "/" + strings.Repeat("n", 255), base + "/" + strings.Repeat("n", 256)} {
		real, err := resolve(p)
		if is := g.straight(p); is != (err == nil && real == p && p != "/") {
			t.Errorf("%s: %v, but %q, %v", p, is, real, err)
		}
	}
	deep := base + strings.Repeat("/12345678", maxStraight/9+1)
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if g.straight(deep) {
		t.Error("a path that does not fit was looked at")
	}
	if err := SourcePolicy([]string{base})(deep + "/f"); err != nil {
		t.Errorf("below a deep folder: %v", err)
	}
	if g.straight(base + "/a\x00b") {
		t.Error("a NUL byte ended the path")
	}
}
