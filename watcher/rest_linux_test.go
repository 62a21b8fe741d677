package watcher

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// leases skips where the temporary folder's filesystem has none.
func leases(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "probe", "x")
	if rest, _ := restOf(filepath.Join(dir, "probe")); rest != Yes {
		t.Skipf("no leases on the filesystem of %s (%v)", dir, rest)
	}
	must(t, os.Remove(filepath.Join(dir, "probe")))
	return dir
}

func TestAtRest(t *testing.T) {
	dir := leases(t)
	p := filepath.Join(dir, "f")
	w, err := os.Create(p)
	must(t, err)
	r, err := os.Open(p)
	must(t, err)
	defer r.Close()
	check := func(when string, want Rest) {
		t.Helper()
		if got := AtRest(r); got != want {
			t.Errorf("%s: AtRest %v, want %v", when, got, want)
		}
		if got, told := AtRestPath(p, time.Nanosecond, time.Now()); got != want || !told {
			t.Errorf("%s: AtRestPath %v, want %v", when, got, want)
		}
	}
	check("open for writing", Busy)
	must(t, w.Truncate(4096))
	b, err := unix.Mmap(int(w.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	must(t, w.Close())
	check("mapped writable", Busy)
	must(t, unix.Munmap(b))
	check("let go", Yes)
	w, err = os.OpenFile(p, os.O_WRONLY, 0) // no lease is left behind that would hold a writer up
	must(t, err)
	check("open again", Busy)
	must(t, w.Close())
	check("closed again", Yes)
}

func TestSlowWriter(t *testing.T) {
	root := leases(t)
	m := mirrored(t, Config{Root: root})
	f, err := os.Create(filepath.Join(root, "slow"))
	must(t, err)
	began := time.Now()
	for i := range 60 {
		_, err := fmt.Fprintln(f, i)
		must(t, err)
		if m.heard("slow", false) {
			t.Fatal("reported while it was open for writing")
		}
		// A writer that takes its time; nothing is waited for here.
		<-time.After(5 * time.Millisecond)
	}
	must(t, f.Close())
	closed := time.Now()
	until(t, "the file", func() bool { return m.heard("slow", false) })
	m.mu.Lock()
	late := m.times["slow"].Sub(closed)
	m.mu.Unlock()
	t.Logf("open for %v, reported %v after close", closed.Sub(began), late)
	if late > 50*time.Millisecond {
		if testing.Short() || raced {
			t.Logf("more than 50 ms, on a busy machine perhaps")
		} else {
			t.Errorf("reported %v after close", late)
		}
	}
	m.equal(t)
}

func TestMmapWriter(t *testing.T) {
	root := leases(t)
	m := mirrored(t, Config{Root: root})
	f, err := os.Create(filepath.Join(root, "mapped"))
	must(t, err)
	must(t, f.Truncate(4096))
	b, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	must(t, f.Close())
	write(t, root, "other", "x")
	until(t, "another file", func() bool { return m.heard("other", false) })
	for i := range 50 {
		b[i] = 'x'
		<-time.After(2 * time.Millisecond) // the mapping stays for a while
	}
	if m.heard("mapped", false) {
		t.Error("reported while it was mapped writable")
	}
	must(t, unix.Munmap(b))
	until(t, "the file", func() bool { return m.heard("mapped", false) })
	m.equal(t)
}
