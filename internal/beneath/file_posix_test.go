//go:build linux || darwin

package beneath

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFile reads here and there, beyond the end, and after it was closed: then from no file that has got its descriptor.
func TestFile(t *testing.T) {
	root := t.TempDir()
	must(t, os.WriteFile(filepath.Join(root, "f"), []byte("0123456789"), 0o600))
	f, err := Open(root, "f")
	must(t, err)
	for _, c := range []struct {
		off, n int64
		want   string
		err    error
	}{{0, 10, "0123456789", nil}, {3, 4, "3456", nil}, {8, 4, "89", io.EOF}, {10, 1, "", io.EOF}, {99, 1, "", io.EOF}, {5, 0, "", nil}} {
		b := make([]byte, c.n)
		if n, err := f.ReadAt(b, c.off); string(b[:n]) != c.want || !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%d bytes from %d: %q, %v", c.n, c.off, b[:n], err)
		}
	}
	if n, err := f.ReadAt(make([]byte, 1), -1); n != 0 || err == nil {
		t.Errorf("from before the beginning: %d bytes, %v", n, err)
	}
	must(t, f.Close())
	other, err := Open(root, "f") // which has its descriptor, as a rule
	must(t, err)
	defer other.Close()
	if n, err := f.ReadAt(make([]byte, 1), 0); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after it was closed: %d bytes, %v", n, err)
	}
	if _, err := Fstat(f); !errors.Is(err, os.ErrClosed) {
		t.Errorf("looked at after it was closed: %v", err)
	}
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
	raw, err := f.SyscallConn()
	must(t, err)
	if err := raw.Control(func(uintptr) { t.Error("a descriptor is given out after it was closed") }); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

// TestCloseBesideReads: what is read is the file's or nothing, while it is closed and others are opened.
func TestCloseBesideReads(t *testing.T) {
	root := t.TempDir()
	const size = 64 << 10
	for _, name := range []string{"a", "b"} {
		must(t, os.WriteFile(filepath.Join(root, name), bytes.Repeat([]byte(name), size), 0o600))
	}
	for range 200 {
		a, err := Open(root, "a")
		must(t, err)
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				b := make([]byte, size)
				for {
					n, err := a.ReadAt(b, 0)
					if bytes.IndexByte(b[:n], 'b') >= 0 {
						t.Error("another file's bytes")
					}
					if err != nil {
						return
					}
				}
			})
		}
		must(t, a.Close())
		b, err := Open(root, "b")
		must(t, err)
		readers.Wait()
		must(t, b.Close())
	}
}
