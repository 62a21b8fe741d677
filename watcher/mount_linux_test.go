package watcher

import (
	"testing"

	"golang.org/x/sys/unix"
)

// tmpfs mounts one, or skips.
func tmpfs(t *testing.T, path string) (unmount func()) {
	t.Helper()
	if err := unix.Mount("none", path, "tmpfs", 0, ""); err != nil {
		t.Skipf("mounting needs root: %v", err)
	}
	mounted := true
	unmount = func() {
		if mounted {
			must(t, unix.Unmount(path, unix.MNT_DETACH))
			mounted = false
		}
	}
	t.Cleanup(unmount)
	return unmount
}

// Mounting over a watched folder and unmounting give no event that fsnotify passes on.
func TestMountsComeAndGo(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a/b/below", "x")
	m := mirrored(t, quick(root))
	unmount := tmpfs(t, m.full("a"))
	write(t, root, "a/b/above", "x")
	m.equal(t)
	trueWatches(t, m)
	hears(t, m, "a/b/more")
	unmount()
	m.equal(t)
	trueWatches(t, m)
	hears(t, m, "a/b/most")
}

func TestTheRootIsUnmounted(t *testing.T) {
	root := t.TempDir()
	unmount := tmpfs(t, root)
	write(t, root, "a/f", "x")
	m := mirrored(t, quick(root))
	unmount()
	until(t, "word of the other root", func() bool { return m.why("the root is another folder") })
	m.equal(t)
	unmount = tmpfs(t, root)
	write(t, root, "b/f", "x")
	m.equal(t)
	hears(t, m, "b/g")
	unmount()
}

// A folder that is mounted at two places has one watch in the kernel; the other place is polled.
func TestTheSameFolderTwice(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a/f", "x")
	mkdir(t, root, "b")
	if err := unix.Mount(root+"/a", root+"/b", "", unix.MS_BIND, ""); err != nil {
		t.Skipf("mounting needs root: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(root+"/b", unix.MNT_DETACH)) })
	cfg := quick(root)
	cfg.Poll = quick(root).Check
	m := mirrored(t, cfg)
	if s := m.w.Stats(); s.Unwatched != 1 {
		t.Errorf("%+v", s)
	}
	write(t, root, "a/g", "x")
	write(t, root, "b/h", "x")
	write(t, root, "b/new/deep", "x")
	m.equal(t)
}
