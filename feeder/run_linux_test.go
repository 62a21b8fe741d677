package feeder

import (
	"os"
	"path/filepath"
	"testing"
)

// A walk has one folder a level open, however its files are looked at.
func TestRunsOpenNothing(t *testing.T) {
	open := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	root := t.TempDir()
	const levels = 4
	dir := root
	for range levels {
		filesIn(t, dir, 2*runMost)
		dir = filepath.Join(dir, "g") // behind the files
	}
	before, most := open(), 0
	w := walker{root: root, match: func(string, bool) bool { return true }}
	w.visit = func(*found) error { most = max(most, open()); return nil }
	if err := w.walk(t.Context(), "", 0); err != nil {
		t.Fatal(err)
	}
	if most > before+levels {
		t.Errorf("%d descriptors, %d before the walk", most, before)
	}
	if now := open(); now > before {
		t.Errorf("%d descriptors, %d before the walk", now, before)
	}
}
