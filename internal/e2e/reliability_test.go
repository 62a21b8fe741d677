//go:build linux

package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReliabilityNamesRealTests keeps docs/reliability.md true: every test that it names is there.
func TestReliabilityNamesRealTests(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "reliability.md"))
	must(t, err)
	var sources []string
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		sources = append(sources, string(source))
		return err
	}))
	names := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(text), -1)
	if len(names) < 30 {
		t.Fatalf("docs/reliability.md names %d tests only", len(names))
	}
	for _, name := range names {
		if !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, "func "+name+"(") }) {
			t.Errorf("docs/reliability.md names %s, which is not there", name)
		}
	}
}
