//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"s3apu/internal/s3servers"
)

// TestS3fsShowsTheTree lets another program read what we wrote: s3fs mounts the bucket, and stat(2) shows type, mode,
// owner, group and modification time of each file and folder as on disk.
func TestS3fsShowsTheTree(t *testing.T) {
	gate(t)
	s3fs, err := exec.LookPath("s3fs")
	if err != nil {
		t.Skip("s3fs is not installed (apt-get install s3fs)")
	}
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, kind := range realServers {
		t.Run(string(kind), func(t *testing.T) {
			srv := s3servers.Start(t, kind)
			s3 := srv.Bucket(t, "e2e-s3fs")
			b := boxFor(t, srv, "e2e-s3fs")
			b.prefix = ""
			b.save(t)
			b.fill(t)
			a := b.startReady(t)
			b.equalIn(t, s3, "the feed", depth{}, depth{deep: true, folderTimes: true})
			a.stop(t)
			at := b.mount(t, s3fs, srv)
			if n := compareStat(t, b.tree, at); n < 10 {
				t.Errorf("only %d files and folders were compared", n)
			}
		})
	}
}

// clock is some moment with a fraction of a second.
var clock = time.Date(2010, 6, 13, 12, 34, 56, 123456789, time.UTC)

// fill makes a tree of many modes, owners (if we may) and times.
func (b *box) fill(t *testing.T) {
	t.Helper()
	for i, mode := range []os.FileMode{0o644, 0o600, 0o755, 0o400, 0o664, 0o640} {
		b.put(t, fmt.Sprintf("a/%d/file é %d", i, i), noise(uint64(i), 1000*i))
		must(t, os.Chmod(filepath.Join(b.tree, fmt.Sprintf("a/%d/file é %d", i, i)), mode))
	}
	must(t, os.MkdirAll(filepath.Join(b.tree, "empty"), 0o700))
	modes := map[string]os.FileMode{"a/1": 0o750, "a/2": 0o700, "a/3": 0o777}
	for rel, mode := range modes {
		must(t, os.Chmod(filepath.Join(b.tree, rel), mode))
	}
	if os.Geteuid() == 0 {
		must(t, os.Chown(filepath.Join(b.tree, "a/1/file é 1"), 1234, 2345))
		must(t, os.Chown(filepath.Join(b.tree, "a/3"), 3456, 4567))
	}
	when := clock
	for i, rel := range []string{"a/0/file é 0", "a/2/file é 2", "a/2", "a", "empty"} {
		must(t, os.Chtimes(filepath.Join(b.tree, rel), when, when.Add(time.Duration(i)*time.Hour)))
	}
}

// mount runs s3fs in the foreground, as a child that ends with the test, and waits until its file system is there.
func (b *box) mount(t *testing.T, s3fs string, srv *s3servers.Server) string {
	t.Helper()
	at, keys := filepath.Join(b.dir, "mnt"), filepath.Join(b.dir, "passwd")
	must(t, os.Mkdir(at, 0o755))
	must(t, os.WriteFile(keys, []byte(srv.AccessKey+":"+srv.SecretKey+"\n"), 0o600))
	before, err := os.Stat(at)
	must(t, err)
	log := &output{}
	cmd := exec.Command(s3fs, b.bucket, at, "-f", "-o", "passwd_file="+keys, "-o", "url="+srv.Endpoint,
		"-o", "use_path_request_style", "-o", "endpoint="+srv.Region, "-o", "sigv4")
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its words are in the log
		close(ended)
	}()
	t.Cleanup(func() {
		if out, err := exec.Command("fusermount3", "-u", at).CombinedOutput(); err != nil {
			t.Logf("unmount: %v: %s", err, out)
			_ = cmd.Process.Kill() // the unmount may have come first
		}
		<-ended
		if t.Failed() {
			t.Logf("s3fs: %s", log.tail(20))
		}
	})
	device := func(st os.FileInfo) uint64 { return st.Sys().(*syscall.Stat_t).Dev }
	eventually(t, 30*time.Second, func() error {
		select {
		case <-ended:
			t.Fatalf("s3fs ended: %s", log.tail(20))
		default:
		}
		st, err := os.Stat(at)
		if err == nil && device(st) == device(before) {
			err = errors.New("s3fs has mounted nothing yet")
		}
		return err
	})
	return at
}

// compareStat walks the tree and holds each entry against the same path of the mount.
func compareStat(t *testing.T, tree, mounted string) (compared int) {
	t.Helper()
	err := filepath.WalkDir(tree, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == tree {
			return err
		}
		rel, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		var want, got syscall.Stat_t
		if err := syscall.Lstat(path, &want); err != nil {
			return err
		}
		if err := syscall.Lstat(filepath.Join(mounted, rel), &got); err != nil {
			t.Errorf("%s is not in the mount: %v", rel, err)
			return nil
		}
		compared++
		if got.Mode != want.Mode || got.Uid != want.Uid || got.Gid != want.Gid || got.Mtim != want.Mtim {
			t.Errorf("%s: s3fs shows mode %o, uid %d, gid %d, mtime %d.%09d; on disk %o, %d, %d, %d.%09d", rel,
				got.Mode, got.Uid, got.Gid, got.Mtim.Sec, got.Mtim.Nsec, want.Mode, want.Uid, want.Gid, want.Mtim.Sec, want.Mtim.Nsec)
		}
		if want.Mode&syscall.S_IFMT == syscall.S_IFREG && got.Size != want.Size {
			t.Errorf("%s: s3fs shows %d bytes, on disk %d", rel, got.Size, want.Size)
		}
		return nil
	})
	must(t, err)
	t.Logf("%d files and folders have the same mode, owner, group and time in the mount", compared)
	return compared
}
