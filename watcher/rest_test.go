package watcher

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// times is a FileInfo with these times and no change time, as on Windows.
type times struct {
	fs.FileInfo
	mod time.Time
}

func (f times) ModTime() time.Time { return f.mod }
func (times) Sys() any             { return nil }

func TestQuietFor(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		mod  time.Time
		want Rest
	}{
		{now, Busy}, {now.Add(-time.Second), Busy}, {now.Add(-2 * time.Second), Yes}, {now.Add(-time.Hour), Yes},
		{now.Add(time.Second), Unknown}, {now.Add(time.Hour), Unknown}, // the clock was set back
	} {
		if got := quietFor(times{mod: c.mod}, 2*time.Second, now); got != c.want {
			t.Errorf("%v: %v, want %v", c.mod.Sub(now), got, c.want)
		}
	}
}

func TestQuietForBelievesTheChangeTime(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "f", "x")
	p := filepath.Join(dir, "f")
	fi, err := os.Lstat(p)
	must(t, err)
	if _, ok := changeTime(fi); !ok {
		t.Skip("no change times on this system")
	}
	for _, mod := range []time.Time{time.Unix(0, 0), time.Now().Add(1000 * time.Hour)} { // anybody can set it
		must(t, os.Chtimes(p, mod, mod))
		fi, err := os.Lstat(p)
		must(t, err)
		if got := quietFor(fi, time.Minute, time.Now()); got != Busy {
			t.Errorf("%v, just changed: %v", mod, got)
		}
		if got := quietFor(fi, time.Minute, time.Now().Add(time.Hour)); got != Yes {
			t.Errorf("%v, an hour later: %v", mod, got)
		}
		if got := quietFor(fi, time.Minute, time.Now().Add(-time.Hour)); got != Unknown {
			t.Errorf("%v, the clock an hour back: %v", mod, got)
		}
	}
}

func TestAtRestPathOfOtherThings(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Symlink("nowhere", filepath.Join(dir, "link")))
	for path, want := range map[string]Rest{
		filepath.Join(dir, "nothing"): Unknown,
		filepath.Join(dir, "link"):    Yes,
		dir:                           Yes,
	} {
		if got, _ := AtRestPath(path, time.Second, time.Now()); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}
