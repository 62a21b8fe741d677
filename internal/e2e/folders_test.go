//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers"
	"s3apu/protocol"
)

// TestSeveralFolders watches three folders with one agent, each with its own bucket, prefix, globs and recursion.
func TestSeveralFolders(t *testing.T) {
	gate(t)
	for _, kind := range realServers {
		t.Run(string(kind), func(t *testing.T) {
			srv := s3servers.Start(t, kind)
			first, other := srv.Bucket(t, "e2e-folders"), srv.Bucket(t, "e2e-folders-2")
			b := boxFor(t, srv, "e2e-folders")
			photos, flat := filepath.Join(b.dir, "photos"), filepath.Join(b.dir, "flat")
			write := func(path string) {
				must(t, os.MkdirAll(filepath.Dir(path), 0o755))
				must(t, os.WriteFile(path, []byte(path), 0o644))
			}
			for _, rel := range []string{"a.jpg", "b.txt", "d/c.jpg", "d/cache/x.jpg"} {
				write(filepath.Join(photos, rel))
			}
			write(filepath.Join(flat, "one"))
			write(filepath.Join(flat, "d", "not this"))
			b.extra = folderToml(photos, "p/q", "bucket = \"e2e-folders-2\"\ninclude = [\"**/*.jpg\"]\nexclude = [\"**/cache\"]") +
				folderToml(flat, "flat", "recursion = 1")
			b.save(t)
			b.put(t, "mine", []byte("x"))
			a := b.startReady(t)
			b.equal(t, first, "the feed")
			holds(t, other, "", "p/q/a.jpg p/q/d/ p/q/d/c.jpg")
			holds(t, first, "flat/", "flat/d/ flat/one")

			must(t, os.Rename(filepath.Join(photos, "a.jpg"), filepath.Join(photos, "d", "e.jpg")))
			write(filepath.Join(photos, "d", "f.txt"))
			must(t, os.Remove(filepath.Join(flat, "one")))
			write(filepath.Join(flat, "d", "nor this"))
			write(filepath.Join(flat, "two"))
			b.put(t, "more", []byte("y"))
			holds(t, other, "", "p/q/d/ p/q/d/c.jpg p/q/d/e.jpg")
			holds(t, first, "flat/", "flat/d/ flat/two")
			b.equal(t, first, "the changes")
			a.stop(t)
		})
	}
}

// holds waits until the keys below a prefix are these.
func holds(t *testing.T, s3 *bucket.Bucket, prefix, want string) {
	t.Helper()
	eventually(t, settledIn, func() error {
		var keys []string
		for o, err := range s3.List(t.Context(), protocol.Key(prefix), "", "") {
			if err != nil {
				return err
			}
			keys = append(keys, string(o.Key))
		}
		if got := strings.Join(keys, " "); got != want {
			return fmt.Errorf("the bucket %s holds %q below %q, want %q", s3.Name(), got, prefix, want)
		}
		return nil
	})
}
