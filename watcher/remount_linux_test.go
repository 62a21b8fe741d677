package watcher

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk makes a small file system in a file, or skips. It is mounted by mount.
func disk(t *testing.T) (image string) {
	t.Helper()
	image = filepath.Join(t.TempDir(), "disk")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 16<<20))
	if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Skipf("no file system can be made here: %v %s", err, out)
	}
	return image
}

func mount(t *testing.T, image, path string) {
	t.Helper()
	if out, err := exec.Command("mount", "-o", "loop", image, path).CombinedOutput(); err != nil {
		t.Skipf("mounting needs root and a loop device: %v %s", err, out)
	}
}

func unmountNow(t *testing.T, path string) {
	t.Helper()
	until(t, "the disk to be idle", func() bool { return unix.Unmount(path, 0) == nil })
}

// A disk that is unmounted and mounted again between two looks at the root is in all respects what it was, but the kernel
// has dropped every watch on it and tells nobody.
func TestRemountedBetweenTwoLooks(t *testing.T) {
	for _, at := range []string{"", "disk"} {
		t.Run("at "+at, func(t *testing.T) {
			image, root := disk(t), t.TempDir()
			place := filepath.Join(root, at)
			mkdir(t, root, at)
			mount(t, image, place)
			t.Cleanup(func() { _ = unix.Unmount(place, unix.MNT_DETACH) }) // the test may have ended in between
			write(t, place, "a/f", "x")
			cfg := quick(root)
			cfg.Check = 300 * time.Millisecond // longer than the two mounts take
			m := mirrored(t, cfg)
			m.equal(t)
			m.forgetEvents()
			unmountNow(t, place)
			mount(t, image, place)
			write(t, place, "a/g", "x")
			write(t, place, "b/h", "x")
			m.equal(t)
			hears(t, m, filepath.ToSlash(filepath.Join(at, "a/f")))
			trueWatches(t, m)
		})
	}
}
