package queue_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"s3apu/protocol"
	"s3apu/queue"
)

const bucket = "bucket"

func upl(key string) queue.Item {
	return queue.Item{Instruction: protocol.Instruction{
		Verb: protocol.Upl, Bucket: bucket, Key: protocol.Key(key), Source: "/src/" + key,
	}}
}

func open(t testing.TB, dir string, opt queue.Options) *queue.Queue {
	t.Helper()
	q, err := queue.Open(dir, opt)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = q.Close() }) // tests that care close it themselves
	return q
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t testing.TB, err error, kind protocol.Kind) {
	t.Helper()
	if err == nil || protocol.KindOf(err) != kind {
		t.Fatalf("error %v of kind %v, want %v", err, protocol.KindOf(err), kind)
	}
}

func TestOpenLocked(t *testing.T) {
	dir := t.TempDir() + "/q"
	q := open(t, dir, queue.Options{})
	_, err := queue.Open(dir, queue.Options{})
	wantKind(t, err, protocol.KindLocked)
	must(t, q.Put(t.Context(), upl("a")))
	must(t, q.Close())

	// And by another process.
	stop := child(t, "open", dir)
	_, err = queue.Open(dir, queue.Options{})
	wantKind(t, err, protocol.KindLocked)
	stop()
	must(t, open(t, dir, queue.Options{}).Close())
}

func TestOpenPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits")
	}
	dir := t.TempDir() + "/state/q"
	q := open(t, dir, queue.Options{})
	for i := range 1000 {
		must(t, q.Put(t.Context(), queue.Item{Instruction: upl(fmt.Sprint(i)).Instruction, Class: protocol.Backfill}))
	}
	must(t, q.Close())
	must(t, open(t, dir, queue.Options{}).Close())
	must(t, filepath.WalkDir(filepath.Dir(dir), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := e.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if i.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, i.Mode().Perm(), want)
		}
		return nil
	}))
}

// tree maps each file below dir to a hash of its content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	}))
	return out
}

// grown makes a store with tables, a log and a ledger.
func grown(t *testing.T, dir string) {
	t.Helper()
	q := open(t, dir, queue.Options{})
	for i := range 10 {
		items := make([]queue.Item, 3000)
		for k := range items {
			items[k] = upl(fmt.Sprintf("%s/%d/%d", strings.Repeat("long", 20), i, k))
		}
		must(t, q.Put(t.Context(), items...))
	}
	must(t, q.Close())
	must(t, open(t, dir, queue.Options{}).Close()) // what is in the log becomes a table
}

func TestOpenDamaged(t *testing.T) {
	whole := t.TempDir() + "/q"
	grown(t, whole)
	files := slices.Sorted(func(yield func(string) bool) {
		for f := range tree(t, whole) {
			if !yield(f) {
				return
			}
		}
	})
	some := func(pattern string) string {
		for _, f := range slices.Backward(files) { // the newest: an old manifest is kept beside it
			if ok, _ := filepath.Match(pattern, filepath.Base(f)); ok {
				if i, err := os.Stat(f); err == nil && (i.Size() > 0 || strings.HasPrefix(pattern, "marker")) {
					rel, _ := filepath.Rel(whole, f)
					return rel
				}
			}
		}
		t.Fatalf("no file %s in %v", pattern, files)
		return ""
	}
	cases := map[string]func(dir string) error{
		"no manifest":        func(d string) error { return os.Remove(filepath.Join(d, some("MANIFEST-*"))) },
		"no manifest marker": func(d string) error { return os.Remove(filepath.Join(d, some("marker.manifest.*"))) },
		"no format marker":   func(d string) error { return os.Remove(filepath.Join(d, some("marker.format-version.*"))) },
		"no table":           func(d string) error { return os.Remove(filepath.Join(d, some("*.sst"))) },
		"short table":        func(d string) error { return os.Truncate(filepath.Join(d, some("*.sst")), 1000) },
		"short manifest":     func(d string) error { return os.Truncate(filepath.Join(d, some("MANIFEST-*")), 10) },
		"bits in a table":    func(d string) error { return scribble(filepath.Join(d, some("*.sst")), 200) },
		"bits in a manifest": func(d string) error { return scribble(filepath.Join(d, some("MANIFEST-*")), 60) },
		"bits in the options": func(d string) error {
			return os.WriteFile(filepath.Join(d, some("OPTIONS-*")), []byte("[Options]\n comparer=nothing\n"), 0o600)
		},
		"empty store": func(d string) error {
			v1 := filepath.Join(d, "v1")
			return errors.Join(os.RemoveAll(v1), os.Mkdir(v1, 0o700))
		},
		"other things": func(d string) error {
			return errors.Join(os.RemoveAll(filepath.Join(d, "v1")), os.WriteFile(filepath.Join(d, "photo.jpg"), nil, 0o600))
		},
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/q"
			must(t, os.CopyFS(dir, os.DirFS(whole)))
			must(t, damage(dir))
			before := tree(t, dir)
			_, err := queue.Open(dir, queue.Options{})
			wantKind(t, err, protocol.KindDamaged)
			t.Log(err)
			after := tree(t, dir)
			delete(after, filepath.Join(dir, "v1", "LOCK")) // an empty file, where the damage was a store without one
			delete(before, filepath.Join(dir, "v1", "LOCK"))
			if fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("the damaged store was changed:\n%v\n%v", before, after)
			}
			// The folder moved aside, a new store can be made.
			must(t, os.Rename(dir, dir+".damaged"))
			must(t, open(t, dir, queue.Options{}).Close())
		})
	}
}

// scribble changes bytes of a file.
func scribble(name string, off int64) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte("scribble"), off)
	return errors.Join(err, f.Close())
}

func TestOpenNewer(t *testing.T) {
	dir := t.TempDir() + "/q"
	must(t, os.MkdirAll(dir+"/v2", 0o700))
	_, err := queue.Open(dir, queue.Options{})
	wantKind(t, err, protocol.KindUsage)
}

func TestOpenRefused(t *testing.T) {
	file := t.TempDir() + "/file"
	must(t, os.WriteFile(file, nil, 0o600))
	_, err := queue.Open(file+"/q", queue.Options{})
	wantKind(t, err, protocol.KindLocal)
	_, err = queue.Open(file, queue.Options{})
	wantKind(t, err, protocol.KindLocal)
	if os.Getuid() == 0 {
		t.Log("permissions are not tried: root may do all")
		return
	}
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o500))
	_, err = queue.Open(dir+"/q", queue.Options{})
	wantKind(t, err, protocol.KindLocal)
}

// TestOpenHalfMade: a power cut while the store was being made.
func TestOpenHalfMade(t *testing.T) {
	dir := t.TempDir() + "/q"
	must(t, os.MkdirAll(dir+"/new", 0o700))
	must(t, os.WriteFile(dir+"/new/MANIFEST-000001", []byte("half"), 0o600))
	must(t, open(t, dir, queue.Options{}).Close())
	if _, err := os.Stat(dir + "/new"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the half-made store is still there")
	}
}
