//go:build linux

package e2e

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers"
	"s3apu/protocol"
)

// link makes a link in the tree, or retargets it in one step.
func (b *box) link(t *testing.T, to, rel string) {
	t.Helper()
	path := filepath.Join(b.tree, rel)
	must(t, os.Symlink(to, path+".new"))
	must(t, os.Rename(path+".new", path))
}

// holds waits until the bucket holds these contents under the box's prefix, and nothing else but folders.
func (b *box) holds(t *testing.T, s3 *bucket.Bucket, after string, want map[string]string) {
	t.Helper()
	eventually(t, settledIn, func() error {
		left := maps.Clone(want)
		for o, err := range s3.List(t.Context(), protocol.Key(b.prefix+"/"), "", "") {
			if err != nil {
				return err
			}
			if o.Key.IsFolder() {
				continue
			}
			rel := string(o.Key)[len(b.prefix)+1:]
			text, ok := left[rel]
			if sum := md5.Sum([]byte(text)); !ok || o.ETag != hex.EncodeToString(sum[:]) {
				return fmt.Errorf("after %s: %s is not what it should be (%q)", after, rel, text)
			}
			delete(left, rel)
		}
		if len(left) > 0 {
			return fmt.Errorf("after %s there is no %v", after, left)
		}
		return nil
	})
}

// TestSymlinks takes links through everything that can become of them, under both rules, on both servers; s3fs and rclone
// then read the links that were stored.
func TestSymlinks(t *testing.T) {
	gate(t)
	for _, kind := range realServers {
		for _, rule := range []string{"store", "follow"} {
			t.Run(fmt.Sprintf("%s/%s", kind, rule), func(t *testing.T) {
				t.Parallel()
				srv := s3servers.Start(t, kind)
				name := "e2e-links-" + rule
				s3 := srv.Bucket(t, name)
				b := boxFor(t, srv, name)
				b.folder = fmt.Sprintf("symlinks = %q", rule)
				b.save(t)
				stored := rule == "store"
				must(t, os.WriteFile(filepath.Join(b.dir, "outside"), []byte("outside"), 0o600))
				b.put(t, "f", []byte("file"))
				b.put(t, "d/x", []byte("deep"))
				b.link(t, "f", "lf")
				b.link(t, "d", "ld")
				b.link(t, "nowhere", "gone")
				b.link(t, filepath.Join(b.dir, "outside"), "out")
				want := map[string]string{"f": "file", "d/x": "deep", "lf": "file", "ld/x": "deep"}
				if stored {
					want = map[string]string{"f": "file", "d/x": "deep", "lf": "f", "ld": "d", "gone": "nowhere", "out": b.dir + "/outside"}
				}
				a := b.startReady(t)
				b.holds(t, s3, "the feed", want)

				b.put(t, "d/x", []byte("changed"))
				b.put(t, "nowhere", []byte("somewhere"))
				want["d/x"], want["nowhere"] = "changed", "somewhere"
				b.link(t, "d/x", "lf")
				if stored {
					want["lf"] = "d/x"
				} else {
					want["lf"], want["ld/x"] = "changed", "changed"
				}
				// What a dangling link leads to is seen by the next scan only.
				must(t, os.Remove(filepath.Join(b.tree, "gone")))
				delete(want, "gone")
				b.holds(t, s3, "a change behind links, and of a link", want)

				must(t, os.Remove(filepath.Join(b.tree, "lf")))
				b.put(t, "lf", []byte("a file now"))
				must(t, os.Remove(filepath.Join(b.tree, "ld")))
				b.put(t, "ld/own", []byte("a folder now"))
				delete(want, "ld")
				delete(want, "ld/x")
				want["lf"], want["ld/own"] = "a file now", "a folder now"
				b.holds(t, s3, "links that became a file and a folder", want)

				must(t, os.RemoveAll(filepath.Join(b.tree, "ld")))
				b.link(t, "d", "ld")
				must(t, os.Remove(filepath.Join(b.tree, "lf")))
				b.link(t, "f", "lf")
				delete(want, "ld/own")
				if stored {
					want["ld"], want["lf"] = "d", "f"
				} else {
					want["ld/x"], want["lf"] = "changed", "file"
				}
				b.holds(t, s3, "a file and a folder that became links", want)

				a.kill(t)
				b.link(t, "nowhere", "lf")
				must(t, os.Remove(filepath.Join(b.tree, "f")))
				delete(want, "f")
				if want["lf"] = "somewhere"; stored {
					want["lf"] = "nowhere"
				}
				a = b.startReady(t)
				b.holds(t, s3, "changes while the agent was off", want)
				a.stop(t)
				if stored {
					b.readLinks(t, srv)
				}
			})
		}
	}
}

// readLinks lets s3fs and rclone read the links of the tree, as far as they are there.
func (b *box) readLinks(t *testing.T, srv *s3servers.Server) {
	t.Helper()
	at := ""
	if s3fs, err := exec.LookPath("s3fs"); err != nil {
		t.Log("s3fs is not installed (apt-get install s3fs)")
	} else if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Logf("nothing can be mounted here: %v", err)
	} else {
		_ = f.Close() // nothing was written
		at = filepath.Join(b.mount(t, s3fs, srv), b.prefix)
		if n := compareStat(t, b.tree, at); n < 5 {
			t.Errorf("only %d files and folders were compared", n)
		}
	}
	rclone, missing := exec.LookPath("rclone")
	if missing != nil {
		t.Log("rclone is not installed (apt-get install rclone)")
	}
	read := 0
	must(t, filepath.WalkDir(b.tree, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeSymlink == 0 {
			return err
		}
		want, err := os.Readlink(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(b.tree, path)
		if err != nil {
			return err
		}
		if at != "" {
			if got, err := os.Readlink(filepath.Join(at, rel)); err != nil || got != want {
				t.Errorf("s3fs shows %s -> %q (%v), want %q", rel, got, err, want)
			}
		}
		if missing == nil {
			cmd := exec.CommandContext(t.Context(), rclone, "cat", fmt.Sprintf("there:%s/%s/%s", b.bucket, b.prefix, rel))
			cmd.Env = b.rcloneEnv(srv)
			if got, err := cmd.Output(); err != nil || string(got) != want {
				t.Errorf("rclone reads %q of %s (%v), want %q", got, rel, err, want)
			}
		}
		read++
		return nil
	}))
	t.Logf("%d links were read", read)
}
