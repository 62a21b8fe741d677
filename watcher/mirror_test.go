package watcher

import (
	"os"
	"testing"
)

// A folder comes and goes while it is scanned: it is gone when it is looked at and there when it is listed. What was found
// in it has no folder in the view then, and goes all the same with any hint that speaks for the folder.
func TestMirrorForgetsWhatHasNoFolderInTheView(t *testing.T) {
	for _, e := range []Event{
		{Path: "a/b", Rescan: true, Deep: true},
		{Path: "a/b", Rescan: true},
		{Path: "a", Rescan: true, Deep: true},
		{Path: "a/b/c"},
		{Path: "a/b"},
		{Path: "a"},
	} {
		root := t.TempDir()
		mkdir(t, root, "a/b")
		m := newMirror(nil, Config{Root: root})
		m.look("a/b/c")
		write(t, root, "a/b/c/f", "x")
		m.look("a/b/c/f")
		if !e.Rescan {
			must(t, os.RemoveAll(m.full(e.Path)))
		}
		must(t, os.RemoveAll(m.full("a/b/c")))
		m.take([]Event{e})
		if _, ok := m.view["a/b/c/f"]; ok {
			t.Errorf("%+v: too much a/b/c/f", e)
		}
	}
}
