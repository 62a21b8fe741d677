//go:build linux

package feeder

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"s3apu/protocol"
)

func TestSpecialFilesAreSkipped(t *testing.T) {
	b := newBench(t, nil)
	b.write("f", "1")
	b.must(unix.Mkfifo(b.path("fifo"), 0o600))
	b.must(os.Symlink("f", b.path("link")))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	b.must(err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	t.Chdir(b.root) // the name of a socket is short
	b.must(unix.Bind(fd, &unix.SockaddrUnix{Name: "sock"}))
	r, put := b.scan("", deep)
	b.want(put, "upl p/f")
	if r.Skipped != 3 || r.Seen != 1 {
		t.Fatalf("%+v", r)
	}
	b.want(b.change("fifo", "link", "sock"))
	if n := b.f.Total().Skipped; n != 6 {
		t.Fatal(n)
	}
}

// Names that are not UTF-8 are listed in a readable form, and taken off the list when they are gone.
func TestNamesThatAreNotUTF8(t *testing.T) {
	for _, lay := range []string{"slash", "plain", "none"} {
		b := newBench(t, func(f *Folder) { f.FolderObjects = lay })
		b.write("ok", "1")
		b.write("bad\xff", "1")
		b.write("dir\xe9/f", "1")
		b.write(`bad\xff`, "1") // the readable form of the other one
		r, put := b.scan("", deep)
		b.want(put, `upl p/bad\xff`, "upl p/ok")
		if r.Failed != 2 || r.Seen != 2 {
			t.Fatalf("%+v", r)
		}
		folder := `p/dir\xe9`
		if lay != "plain" {
			folder += "/"
		}
		for _, key := range []protocol.Key{`p/bad\xff~`, protocol.Key(folder)} {
			e := b.q.failed[key]
			if e == nil {
				t.Fatalf("%s: %s is not listed: %v", lay, key, b.q.failed)
			}
			kindIs(t, e, protocol.KindItem)
			if !errors.Is(e, protocol.ErrKeyUTF8) || e.Hint == "" || strings.Contains(e.Error(), "\xff") {
				t.Fatal(e)
			}
		}
		r, put = b.scan("", deep) // listed once
		b.want(put)
		if r.Failed != 2 || len(b.q.failed) != 2 {
			t.Fatalf("%+v %v", r, b.q.failed)
		}
		b.want(b.change("bad\xff", "dir\xe9", "dir\xe9/f"))
		b.remove("bad\xff")
		b.want(b.change("bad\xff"))
		if len(b.q.dropped) != 1 || b.q.dropped[0] != `p/bad\xff~` {
			t.Fatalf("dropped %q", b.q.dropped)
		}
		b.remove("dir\xe9")
		_, put = b.scan("", deep)
		b.want(put)
		if len(b.q.failed) != 0 || len(b.q.dropped) != 3 {
			t.Fatalf("still listed %v", b.q.failed)
		}
	}
}

// A folder that cannot be read is listed with its reason, and nothing below it is deleted.
func TestUnreadableFolder(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("skipped: root reads every folder")
	}
	for _, lay := range []string{"slash", "plain", "none"} {
		for _, mode := range []os.FileMode{0, 0o100, 0o400} {
			b := newBench(t, func(f *Folder) { f.FolderObjects = lay })
			b.write("d/f", "1")
			b.write("d/e/g", "1")
			b.write("k", "1")
			b.sync()
			b.remove("d/f")
			b.must(os.Chmod(b.path("d"), mode))
			t.Cleanup(func() { _ = os.Chmod(b.path("d"), 0o755) })
			r, put := b.scan("", deep)
			for _, p := range put {
				if strings.HasPrefix(p, "del") {
					t.Fatalf("%s %o: %q", lay, mode, put)
				}
			}
			if len(b.q.failed) == 0 || r.Failed == 0 {
				t.Fatalf("%s %o: %+v %v", lay, mode, r, b.q.failed)
			}
			for _, e := range b.q.failed {
				kindIs(t, e, protocol.KindItem)
				if !errors.Is(e, fs.ErrPermission) || e.Hint == "" {
					t.Fatal(e)
				}
			}
			for _, rels := range [][]string{{"d/f"}, {"d/e"}, {"d/e/g"}, {"d"}} {
				for _, p := range b.change(rels...) {
					if strings.HasPrefix(p, "del") {
						t.Fatalf("%s %o: %q", lay, mode, p)
					}
				}
			}
			b.must(os.Chmod(b.path("d"), 0o755))
			b.must(b.q.carryOut(b.s))
			_, put = b.scan("", deep)
			if got := strings.Join(put, "|"); !strings.Contains(got, "del p/d/f") {
				t.Fatalf("%s %o: %q after it can be read", lay, mode, got)
			}
			if len(b.q.failed) != 0 {
				t.Fatalf("%s %o: still listed: %v", lay, mode, b.q.failed)
			}
		}
	}
}

func TestUnreadableRoot(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("skipped: root reads every folder")
	}
	b := newBench(t, nil)
	b.write("f", "1")
	b.write("g", "1")
	b.sync()
	b.remove("f")
	for _, mode := range []os.FileMode{0, 0o100, 0o300} {
		b.must(os.Chmod(b.root, mode))
		t.Cleanup(func() { _ = os.Chmod(b.root, 0o755) })
		kindIs(t, b.f.Change(t.Context(), []string{"f", "g"}), protocol.KindLocal)
		_, err := b.f.Scan(t.Context(), "", deep)
		kindIs(t, err, protocol.KindLocal)
		b.want(b.q.take())
		if len(b.q.failed) != 0 {
			t.Fatal(b.q.failed)
		}
	}
	b.must(os.Chmod(b.root, 0o755))
	b.want(b.change("f", "g"), "del p/f")
}

// A tmpfs that is unmounted below the root, and the root itself: nothing is deleted.
func TestUnmounted(t *testing.T) {
	b := newBench(t, nil)
	b.mkdir("mnt")
	if err := unix.Mount("tmpfs", b.path("mnt"), "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("skipped: cannot mount a tmpfs:", err)
	}
	mounted := true
	unmount := func() {
		if mounted {
			mounted = false
			if err := unix.Unmount(b.path("mnt"), unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(unmount)
	b.write("mnt/a/f", "1")
	b.write("mnt/g", "1")
	b.write("k", "1")
	b.sync()

	root := *b
	root.q, root.root = newFakeQueue(), b.path("mnt")
	root.remake(Folder{Root: root.root, Bucket: bucketName, Prefix: "p", Delete: true})
	root.sync()

	unmount()
	for range 2 {
		_, put := b.scan("", deep)
		for _, p := range put {
			if !strings.HasPrefix(p, "mkd p/mnt/") {
				t.Fatalf("put %q", put)
			}
		}
		b.must(b.q.carryOut(b.s))
		b.want(b.change("mnt/g", "mnt/a"))
		kindIs(t, root.f.Change(t.Context(), []string{"a", "g"}), protocol.KindLocal)
		_, err := root.f.Scan(t.Context(), "", deep)
		kindIs(t, err, protocol.KindLocal)
		root.want(root.q.take())
	}
}
