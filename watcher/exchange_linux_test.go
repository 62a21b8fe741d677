package watcher

import (
	"testing"

	"golang.org/x/sys/unix"
)

func exchange(t *testing.T, a, b string) {
	t.Helper()
	if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
		t.Skipf("RENAME_EXCHANGE is not to be had here: %v", err)
	}
}

func renameOver(t *testing.T, a, b string) {
	t.Helper()
	must(t, unix.Rename(a, b)) // os.Rename refuses
}
