package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// tree is a root with something of every kind in it:
//
//	a/b/f a/b/g                  files
//	a/l -> b    a/out -> outside a/up -> ..    links to folders
//	a/lf -> b/f a/gone -> none   a/self -> self
//	a/fifo      a/sock
func tree(t *testing.T) (root, outside string) {
	t.Helper()
	root, outside = t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, "a/b/c"), 0o750))
	for _, f := range []string{filepath.Join(root, "a/b/f"), filepath.Join(root, "a/b/g"), filepath.Join(outside, "f")} {
		must(t, os.WriteFile(f, []byte(f), 0o600))
	}
	for name, to := range map[string]string{"l": "b", "out": outside, "up": "..", "lf": "b/f", "gone": "none", "self": "self"} {
		must(t, os.Symlink(to, filepath.Join(root, "a", name)))
	}
	must(t, unix.Mkfifo(filepath.Join(root, "a/fifo"), 0o600))
	var lc net.ListenConfig
	s, err := lc.Listen(t.Context(), "unix", filepath.Join(root, "a/sock"))
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return root, outside
}

// Both ways open the same and refuse the same, for the same reason.
func TestWaysAreTheSame(t *testing.T) {
	root, _ := tree(t)
	for _, c := range []struct {
		rel  string
		want error
	}{
		{"", nil}, {"a", nil}, {"a/b", nil}, {"a/b/c", nil},
		{"a/l", unix.ELOOP}, {"a/l/c", unix.ELOOP}, {"a/out", unix.ELOOP}, {"a/out/x", unix.ELOOP}, {"a/up", unix.ELOOP},
		{"a/up/a", unix.ELOOP}, {"a/gone", unix.ELOOP}, {"a/gone/x", unix.ELOOP}, {"a/self", unix.ELOOP}, {"a/lf", unix.ELOOP},
		{"none", unix.ENOENT}, {"a/none/x", unix.ENOENT},
		{"a/b/f", unix.ENOTDIR}, {"a/b/f/x", unix.ENOTDIR}, {"a/fifo", unix.ENOTDIR},
		{"..", unix.EINVAL}, {"a/..", unix.EINVAL}, {"a/../..", unix.EINVAL}, {"./a", unix.EINVAL}, {"/a", unix.EINVAL}, {"a//b", unix.EINVAL}, {"a/", unix.EINVAL},
	} {
		inodes := map[uint64]bool{}
		for _, w := range ways {
			for _, flags := range []int{pathOnly, unix.O_RDONLY} {
				d, err := w.open(root, c.rel, flags)
				if !errors.Is(err, c.want) || c.want == nil && err != nil {
					t.Errorf("%s, %q: %v, want %v", w.name, c.rel, err, c.want)
				}
				if err != nil {
					continue
				}
				st, err := d.Stat()
				must(t, err)
				inodes[st.Ino] = true
				d.Close()
			}
		}
		if len(inodes) > 1 {
			t.Errorf("%q: inodes %v", c.rel, inodes)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(root, link))
	for _, w := range ways { // a link is followed on the way to the root, and there only
		d, err := w.open(link, "a/b", pathOnly)
		must(t, err)
		d.Close()
		if _, err := w.open(link, "a/l/c", pathOnly); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: behind a link to the root: %v", w.name, err)
		}
	}
	dotted := link + "/../" + filepath.Base(root) // beside the link's target, and not beside the link
	for _, w := range ways {
		d, err := w.open(dotted, "a/b", pathOnly)
		must(t, err)
		d.Close()
	}
	for _, w := range ways { // a link of proc that is followed by the kernel, not by its text
		if _, err := w.open("/proc/self", "cwd", pathOnly); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: /proc/self/cwd: %v", w.name, err)
		}
	}
}

// A folder that may be searched and not read is no obstacle.
func TestSearchableFolders(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read every folder: run it as another user")
	}
	root, _ := tree(t)
	must(t, os.Chmod(filepath.Join(root, "a/b"), 0o100))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(root, "a/b"), 0o700) })
	for _, w := range ways {
		f, err := opened(w.open, root, "a/b/f")
		must(t, err)
		_ = f.Close()
	}
}

func TestOpenAndLstat(t *testing.T) {
	root, _ := tree(t)
	for rel, want := range map[string]error{"a/b/f": nil, "a/b": ErrNotRegular, "a/fifo": ErrNotRegular, "a/sock": ErrNotRegular,
		"a/lf": unix.ELOOP, "a/l/f": unix.ELOOP, "a/out/f": unix.ELOOP, "a/none": unix.ENOENT} {
		f, err := Open(root, rel)
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("open %s: %v, want %v", rel, err, want)
		}
		if err != nil {
			continue
		}
		b, err := readAll(f)
		must(t, err)
		if string(b) != filepath.Join(root, rel) {
			t.Errorf("%s holds %q", rel, b)
		}
		st, err := Fstat(f)
		must(t, err)
		_ = f.Close()
		if named, err := Lstat(root, rel); err != nil || named != st {
			t.Errorf("%+v by name, %+v open, %v", named, st, err)
		}
		if named, err := LstatPath(filepath.Join(root, rel)); err != nil || named != st {
			t.Errorf("%+v by path, %+v open, %v", named, st, err)
		}
	}
	if st, err := Lstat(root, "a/lf"); err != nil || !st.IsLink() {
		t.Errorf("a link is %+v, %v", st, err)
	}
	if st, err := Lstat(root, ""); err != nil || !st.IsFolder() {
		t.Errorf("the root is %+v, %v", st, err)
	}
	if d, err := At("/dev", ""); err == nil {
		if _, err := d.Open("null"); !errors.Is(err, ErrNotRegular) {
			t.Errorf("a device: %v", err)
		}
		d.Close()
	}
}

// A source that somebody has named is followed as they could have followed it, and lies below a root in the end.
func TestFind(t *testing.T) {
	root, outside := tree(t)
	alias := filepath.Join(t.TempDir(), "alias")
	must(t, os.Symlink(root, alias))
	for _, c := range []struct {
		roots []string
		path  string
		want  string // of the content; "": refused
		err   error
	}{
		{[]string{root}, root + "/a/b/f", root + "/a/b/f", nil},
		{[]string{root}, root + "/a/l/f", root + "/a/b/f", nil},
		{[]string{root}, root + "/a/up/a/b/f", root + "/a/b/f", nil},
		{[]string{root}, alias + "/a/b/f", root + "/a/b/f", nil},
		{[]string{alias}, root + "/a/b/f", root + "/a/b/f", nil},
		{[]string{alias}, alias + "/a/l/f", root + "/a/b/f", nil},
		{[]string{"/none", root}, root + "/a/b/f", root + "/a/b/f", nil},
		{[]string{"/"}, root + "/a/out/f", outside + "/f", nil},
		{[]string{root, outside}, root + "/a/out/f", outside + "/f", nil},
		{[]string{root}, root + "/a/out/f", "", ErrOutside},
		{[]string{root}, outside + "/f", "", ErrOutside},
		{[]string{root + "/a"}, root + "/ab/f", "", fs.ErrNotExist},
		{[]string{root + "/a/b"}, root + "/a/b/../fifo", "", ErrOutside},
		{[]string{root}, root + "/a/lf", "", unix.ELOOP}, // the last component is not followed
		{[]string{root}, root + "/a/gone/f", "", fs.ErrNotExist},
		{[]string{root}, root + "/a/self/f", "", nil}, // the standard library has no name for it
		{nil, root + "/a/b/f", "", ErrOutside},
	} {
		got, err := func() (string, error) {
			d, name, err := Find(c.roots, c.path)
			if err != nil {
				return "", err
			}
			defer d.Close()
			f, err := d.Open(name)
			if err != nil {
				return "", err
			}
			defer f.Close()
			b, err := readAll(f)
			return string(b), err
		}()
		if got != c.want || (c.want == "") != (err != nil) || c.err != nil && !errors.Is(err, c.err) {
			t.Errorf("%s below %q: %q, %v; want %q, %v", c.path, c.roots, got, err, c.want, c.err)
		}
	}
	if d, name, err := Find([]string{root}, root); err != nil || name != "." {
		t.Errorf("the root itself: %q, %v", name, err)
	} else {
		d.Close()
	}
}

func TestVirtualFiles(t *testing.T) {
	for path, want := range map[string]bool{"/proc/self": true, "/proc": true, "/sys": true, "/": false, t.TempDir(): false} {
		d, err := At(path, "")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		must(t, err)
		if d.Virtual() != want {
			t.Errorf("%s: %v", path, d.Virtual())
		}
		d.Close()
	}
}

// What a link stands for: inside, whatever it is made of, and never more than one link is behind another's name.
func TestResolve(t *testing.T) {
	root, outside := tree(t)
	alias := filepath.Join(t.TempDir(), "alias")
	must(t, os.Symlink(root, alias))
	for name, to := range map[string]string{"abs": root + "/a/b", "viaAlias": alias + "/a/b/f", "two": "lf", "dots": "../a/./l/../b/f", "back": ".",
		"over": "../../" + filepath.Base(root) + "/a/b", "nested": "l/f", "etc": "/etc/passwd", "slashes": "b//f", "intoFile": "b/f/x"} {
		must(t, os.Symlink(to, filepath.Join(root, "a", name)))
	}
	chain := "b/f"
	for i := range 45 {
		name := fmt.Sprintf("chain%d", i)
		must(t, os.Symlink(chain, filepath.Join(root, "a", name)))
		chain = name
	}
	for _, c := range []struct {
		root, rel, want string
		err             error
	}{
		{root, "a/b/f", "a/b/f", nil}, {root, "a/l", "a/b", nil}, {root, "a/l/f", "a/b/f", nil}, {root, "a/lf", "a/b/f", nil},
		{root, "a/abs/f", "a/b/f", nil}, {root, "a/two", "a/b/f", nil}, {root, "a/dots", "a/b/f", nil}, {root, "a/nested", "a/b/f", nil},
		{root, "a/slashes", "a/b/f", nil}, {root, "a/chain39", "a/b/f", nil},
		{alias, "a/viaAlias", "a/b/f", nil}, {alias, "a/abs/g", "a/b/g", nil}, {root, "a/viaAlias", "", ErrOutside},
		{root, "a/out", "", ErrOutside}, {root, "a/out/f", "", ErrOutside}, {root, "a/etc", "", ErrOutside}, {root, "a/over", "", ErrOutside},
		{root, "a/up", "", ErrLoop}, {root, "a/back", "", ErrLoop}, {root, "a/self", "", ErrLoop}, {root, "a/chain44", "", ErrLoop},
		{root, "a/gone", "", fs.ErrNotExist}, {root, "a/l/none", "", fs.ErrNotExist}, {root, "a/intoFile", "", unix.ENOTDIR},
	} {
		got, err := Resolve(c.root, c.rel)
		if got != c.want || c.err != nil && !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %q, %v; want %q, %v", c.rel, got, err, c.want, c.err)
		}
	}
	_ = outside
}
