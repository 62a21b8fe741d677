package mounts

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]Mount{
		"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue": {36, "/mnt2", "ext3", "/dev/root"},
		`40 1 0:33 / /srv/a\040b\134c rw - fuse.sshfs u@h:/x\040y rw`:                    {40, `/srv/a b\c`, "fuse.sshfs", "u@h:/x y"},
		"41 1 0:4 / /p rw shared:7 master:2 propagate_from:3 - tmpfs none rw":            {41, "/p", "tmpfs", "none"},
	} {
		if got, err := parse(line); err != nil || got != want {
			t.Errorf("%q: %+v %v", line, got, err)
		}
	}
	for _, line := range []string{"", "36 35", "x 35 98:0 / /m rw - ext3 d rw", "36 35 98:0 / /m rw ext3"} {
		if got, err := parse(line); err == nil {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

func TestBelowAndOver(t *testing.T) {
	table := []Mount{{1, "/", "ext4", "a"}, {2, "/srv/in", "ext4", "b"}, {3, "/srv/in/m", "nfs", "c"}, {4, "/srv/in/m", "tmpfs", "d"},
		{5, "/srv/inbox", "xfs", "e"}}
	if got, want := Below(table, "/srv/in"), map[string]Mount{"m": table[3]}; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got := Below(table, "/"); len(got) != 3 {
		t.Errorf("%+v", got)
	}
	for path, id := range map[string]uint64{"/srv/in": 2, "/srv/in/m/x": 4, "/srv/inb": 1, "/srv/inbox/": 5, "/": 1} {
		if got, ok := Over(table, path); !ok || got.ID != id {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

func TestBlind(t *testing.T) {
	for fs, want := range map[string]bool{"nfs4": true, "cifs": true, "fuse.s3fs": true, "9p": true, "overlay": true,
		"ext4": false, "xfs": false, "btrfs": false, "zfs": false, "tmpfs": false, "fuseblk": false, "": false} {
		if Blind(fs) != want {
			t.Error(fs)
		}
	}
}

func TestSame(t *testing.T) {
	for _, c := range []struct {
		a, b Identity
		want bool
	}{{"2@5.0", "2@5.0", true}, {"2@5.0", "2@6.0", false}, {"2", "2@6.0", true}, {"2", "3", false}, {"", "", false}, {"2", "", false}} {
		if Same(c.a, c.b) != c.want || Same(c.b, c.a) != c.want {
			t.Errorf("%+v", c)
		}
	}
}

func TestIdentify(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a b"), filepath.Join(dir, "b")
	for _, p := range []string{a, b} {
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(a, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	of := func(p string, follow bool) (Identity, uint64) {
		id, mount, err := Identify(p, follow)
		if err != nil {
			t.Fatal(err)
		}
		return id, mount
	}
	idA, _ := of(a, false)
	idB, mountB := of(b, false)
	link, _ := of(filepath.Join(dir, "link"), true)
	if bare, _ := of(filepath.Join(dir, "link"), false); !Same(idA, link) || Same(idA, idB) || Same(bare, idA) {
		t.Fatal(idA, idB, link, bare)
	}
	if _, _, err := Identify(filepath.Join(dir, "none"), false); !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := unix.Mount(a, b, "", unix.MS_BIND, ""); err != nil {
		t.Skip("the rest needs the right to mount:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(b, unix.MNT_DETACH) })
	now, mount := of(b, false)
	table, err := Table()
	if err != nil {
		t.Fatal(err)
	}
	m, ok := Below(table, dir)["b"]
	if !Same(now, idA) || !ok || mount == mountB || mount != 0 && m.ID != mount {
		t.Fatalf("%v %v %+v, before %v", now, mount, m, mountB)
	}
}

// What may hang is known by its name in the table.
func TestRemoteIsNamed(t *testing.T) {
	for fs, want := range map[string]bool{"nfs4": true, "cifs": true, "fuse.sshfs": true, "9p": true, "overlay": false, "ext4": false, "autofs": false} {
		if Remote(fs) != want {
			t.Error(fs)
		}
	}
	a, b := Named(Mount{ID: 1, FS: "fuse.sshfs", From: "u@h:/x"}), Named(Mount{ID: 2, FS: "fuse.sshfs", From: "u@h:/y"})
	if !Same(a, a) || Same(a, b) || Same(a, "7@1.0") {
		t.Error(a, b)
	}
}

// TestReader: what is mounted and unmounted is in the table at the next look, and what has not changed is not read again.
func TestReader(t *testing.T) {
	var r Reader
	read := func() []Mount {
		t.Helper()
		table, err := r.Table()
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	first, same := read(), false
	for range 100 { // something else may change it in between
		want, err := Table()
		if err != nil {
			t.Fatal(err)
		}
		first = read()
		same = same || reflect.DeepEqual(first, want)
	}
	if !same {
		t.Errorf("%+v is not the table", first)
	}
	kept := false
	for range 100 { // something else may change it in between
		first, again := read(), read()
		kept = kept || &again[0] == &first[0]
	}
	if !kept {
		t.Error("the table is read each time")
	}
	first = read()
	r.read = time.Now().Add(-readAgain)
	if again := read(); &again[0] == &first[0] {
		t.Error("the table is believed for ever")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	var once sync.Once
	unmount := func() { once.Do(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) }
	defer unmount()
	has := func() bool {
		return slices.ContainsFunc(read(), func(m Mount) bool { return m.Path == dir })
	}
	for range 3 {
		if !has() {
			t.Fatal("what was mounted is not in the table")
		}
	}
	if err := unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Error(err)
	}
	if !has() {
		t.Error("what was mounted anew is not in the table")
	}
	unmount()
	for range 3 {
		if has() {
			t.Fatal("what was unmounted is in the table")
		}
	}
}

func BenchmarkTable(b *testing.B) {
	var r Reader
	for _, c := range []struct {
		name  string
		table func() ([]Mount, error)
	}{{"each time", Table}, {"if it has changed", r.Table}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := c.table(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
