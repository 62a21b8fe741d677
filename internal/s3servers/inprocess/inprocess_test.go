package inprocess_test

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io/fs"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers/inprocess"
	"s3apu/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves dir and returns a bucket of it, and a function that ends that.
func serve(t testing.TB, dir string) (*bucket.Bucket, func()) {
	t.Helper()
	h, err := inprocess.New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	b, err := bucket.Open(t.Context(), bucket.Config{Bucket: "demo", Endpoint: srv.URL, AccessKeyID: "any", SecretAccessKey: "any"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b, func() { b.Close(); srv.Close() }
}

func put(t testing.TB, b *bucket.Bucket, key protocol.Key, content string) {
	t.Helper()
	h := protocol.Headers{ContentType: "text/css", Meta: map[string]string{"mode": "0100644"}}
	if _, err := b.Put(t.Context(), key, h, strings.NewReader(content), int64(len(content)), md5.Sum([]byte(content))); err != nil {
		t.Fatalf("Put %q: %v", key, err)
	}
}

// state reads a bucket: key → size, ETag, content type, mode.
func state(t testing.TB, b *bucket.Bucket) map[protocol.Key]string {
	t.Helper()
	all := map[protocol.Key]string{}
	for o, err := range b.List(t.Context(), "", "", "") {
		if err != nil {
			t.Fatal(err)
		}
		h, err := b.Head(t.Context(), o.Key)
		if err != nil {
			t.Fatal(err)
		}
		if h.ETag != o.ETag || h.Size != o.Size {
			t.Errorf("%q: the listing says %s, %d, the object %s, %d", o.Key, o.ETag, o.Size, h.ETag, h.Size)
		}
		all[o.Key] = fmt.Sprintf("%d %s %s %s", o.Size, o.ETag, h.ContentType, h.Meta["mode"])
	}
	return all
}

// files is what a person sees in the folder: paths, folders with a slash.
func files(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if rel == ".s3apu" {
			return fs.SkipDir
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			rel += "/"
		}
		all = append(all, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestFolderIsReadable(t *testing.T) {
	dir := t.TempDir()
	b, end := serve(t, dir)
	defer end()
	put(t, b, "photos/2026/a b.jpg", "jpeg")
	put(t, b, "empty folder/", "")
	put(t, b, "top.txt", "text")
	want := []string{"demo/", "demo/empty folder/", "demo/photos/", "demo/photos/2026/", "demo/photos/2026/a b.jpg", "demo/top.txt"}
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("the folder holds %q, not %q", got, want)
	}
	data, err := os.ReadFile(filepath.Join(dir, "demo", "photos", "2026", "a b.jpg"))
	if err != nil || string(data) != "jpeg" {
		t.Errorf("%q, %v", data, err)
	}
	for _, key := range []protocol.Key{"photos/2026/a b.jpg", "empty folder/", "top.txt"} {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if got := files(t, dir); !slices.Equal(got, []string{"demo/"}) {
		t.Errorf("left over: %q", got)
	}
}

// TestEveryKey: what cannot be a file name is an object all the same, and nothing gets out of the folder.
func TestEveryKey(t *testing.T) {
	outer := t.TempDir()
	dir := filepath.Join(outer, "data")
	b, end := serve(t, dir)
	defer func() { end() }()
	keys := []protocol.Key{"a", "a/b", "a/b/c", "A", "d/", "d", "d/e", "x//y", "x/", "dot./z", "trail ", strings2(300), strings2(200) + "/" + strings2(200), "ctrl\x01\x1f", "data/", "é", ".s3apu/objects/evil"}
	for i, key := range keys {
		put(t, b, key, fmt.Sprint(i))
	}
	put(t, b, "d/", "a folder with content")
	before := state(t, b)
	if len(before) != len(keys) {
		t.Fatalf("%d objects of %d: %q", len(before), len(keys), slices.Sorted(maps.Keys(before)))
	}
	entries, err := os.ReadDir(outer)
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the folder: %v, %v", entries, err)
	}
	end()
	b, end = serve(t, dir)
	if after := state(t, b); !maps.Equal(before, after) {
		t.Errorf("after a restart:\n%v, not\n%v", after, before)
	}
	for i, key := range keys {
		want := fmt.Sprint(i)
		if key == "d/" {
			want = "a folder with content"
		}
		r, _, err := b.Get(t.Context(), key)
		if err != nil {
			t.Errorf("Get %q: %v", key, err)
			continue
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(r); err != nil || got.String() != want {
			t.Errorf("%q holds %q, not %q (%v)", key, got.String(), want, err)
		}
		_ = r.Close()
		if err := b.Delete(t.Context(), key); err != nil {
			t.Errorf("Delete %q: %v", key, err)
		}
	}
	if got := files(t, dir); !slices.Equal(got, []string{"demo/"}) {
		t.Errorf("left over: %q", got)
	}
}

func strings2(n int) protocol.Key { return protocol.Key(strings.Repeat("n", n)) }

// TestFolderObjectOverFile: the folder object "a/" beside the file "a" has no folder of its own; its end must not be that of
// the file. Found by TestModel.
func TestFolderObjectOverFile(t *testing.T) {
	dir := t.TempDir()
	b, end := serve(t, dir)
	put(t, b, "a", "the file")
	put(t, b, "a/", "")
	if err := b.Delete(t.Context(), "a/"); err != nil {
		t.Fatal(err)
	}
	before := state(t, b)
	end()
	b, end = serve(t, dir)
	defer end()
	if after := state(t, b); len(after) != 1 || !maps.Equal(before, after) {
		t.Errorf("after a restart: %v, before: %v", after, before)
	}
}

// TestByHand: files that a person changed, deleted or added are no objects after a restart.
func TestByHand(t *testing.T) {
	dir := t.TempDir()
	b, end := serve(t, dir)
	for _, key := range []protocol.Key{"kept", "changed", "deleted"} {
		put(t, b, key, "as it was")
	}
	end()
	if err := os.WriteFile(filepath.Join(dir, "demo", "changed"), []byte("by hand"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "demo", "deleted")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "demo", "added"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b, end = serve(t, dir)
	defer end()
	if got := slices.Sorted(maps.Keys(state(t, b))); !slices.Equal(got, []protocol.Key{"kept"}) {
		t.Errorf("objects: %q", got)
	}
	put(t, b, "added", "now it is one")
	put(t, b, "changed", "again")
}

func TestLinksLeadNowhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need rights of their own on Windows")
	}
	outer, dir := t.TempDir(), t.TempDir()
	b, end := serve(t, dir)
	defer end()
	if err := os.Symlink(outer, filepath.Join(dir, "demo", "out")); err != nil {
		t.Fatal(err)
	}
	put(t, b, "out/evil", "x") // kept aside
	if got := files(t, outer); len(got) != 0 {
		t.Errorf("written outside: %q", got)
	}
}

func TestRefusesABadFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := inprocess.New(file, nil); err == nil {
		t.Error("a file is taken for a folder")
	}
}

// TestModel does random things and compares with a map, over restarts.
func TestModel(t *testing.T) {
	keys := []protocol.Key{"a", "a/", "a/b", "a/b/c", "a.b", "a-b", "B", "b", "b/", "a//b", "é/ü"}
	all, n := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		dir := filepath.Join(all, fmt.Sprint(n))
		b, end := serve(t, dir)
		defer func() { end() }()
		model := map[protocol.Key]string{}
		key := rapid.SampledFrom(keys)
		entry := func(content string) string {
			return fmt.Sprintf("%d %x text/css 0100644", len(content), md5.Sum([]byte(content)))
		}
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				k, content := key.Draw(rt, "key"), rapid.StringN(0, 5, -1).Draw(rt, "content")
				put(t, b, k, content)
				model[k] = entry(content)
			},
			"delete": func(rt *rapid.T) {
				k := key.Draw(rt, "key")
				if err := b.Delete(t.Context(), k); err != nil {
					rt.Fatal(err)
				}
				delete(model, k)
			},
			"copy": func(rt *rapid.T) {
				from, to := key.Draw(rt, "from"), key.Draw(rt, "to")
				if from == to {
					return // S3 refuses that
				}
				_, err := b.Copy(t.Context(), protocol.ObjectID{Bucket: "demo", Key: from}, to, nil, "")
				if _, ok := model[from]; !ok {
					if protocol.KindOf(err) != protocol.KindNotFound {
						rt.Fatalf("copy of nothing: %v", err)
					}
					return
				}
				if err != nil {
					rt.Fatal(err)
				}
				model[to] = model[from]
			},
			"restart": func(*rapid.T) {
				end()
				b, end = serve(t, dir)
			},
			"": func(rt *rapid.T) {
				got := map[protocol.Key]string{}
				for o, err := range b.List(t.Context(), "", "", "") {
					if err != nil {
						rt.Fatal(err)
					}
					got[o.Key] = fmt.Sprintf("%d %s text/css 0100644", o.Size, o.ETag) // the last two are looked at once, below
				}
				if !maps.Equal(got, model) {
					rt.Fatalf("objects are\n%v, not\n%v", got, model)
				}
			},
		})
		if got := state(t, b); !maps.Equal(got, model) {
			rt.Fatalf("objects are\n%v, not\n%v", got, model)
		}
	})
}
