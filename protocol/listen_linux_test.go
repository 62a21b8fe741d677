package protocol

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The socket is never wider than its mode, not even before protect, under the most generous umask.
func TestSocketIsBornNarrow(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := filepath.Join(shortDir(t), "s")
	ln, err := bindUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if st, err := os.Lstat(path); err != nil || st.Mode().Perm() != socketMode {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}
