package access

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// envReader makes the test binary open each path that it reads from stdin and say yes or no.
const envReader = "S3APU_ACCESS_TEST_READER"

func TestMain(m *testing.M) {
	if os.Getenv(envReader) == "" {
		os.Exit(m.Run())
	}
	for sc := bufio.NewScanner(os.Stdin); sc.Scan(); {
		f, err := os.Open(sc.Text())
		fmt.Println(err == nil)
		if err == nil {
			_ = f.Close()
		}
	}
}

// acl writes an ACL as the kernel keeps it.
func acl(entries ...[3]uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return b
}

// nobodyElse is the id of entries that have none.
const nobodyElse = 1<<32 - 1

// randomACL has a user or a group of the test, or both, in the order that the kernel demands.
func randomACL(r *rand.Rand) []byte {
	bits := func() uint32 { return r.Uint32N(8) }
	e := [][3]uint32{{aclUserObj, bits(), nobodyElse}}
	for id := range uint32(2) {
		if r.IntN(2) == 0 {
			e = append(e, [3]uint32{aclUser, bits(), 7001 + id})
		}
	}
	e = append(e, [3]uint32{aclGroupObj, bits(), nobodyElse})
	for id := range uint32(3) {
		if r.IntN(2) == 0 {
			e = append(e, [3]uint32{aclGroup, bits(), 8001 + id})
		}
	}
	return acl(append(e, [3]uint32{aclMask, bits(), nobodyElse}, [3]uint32{aclOther, bits(), nobodyElse})...)
}

// TestAsTheKernelDecides compares the verdicts with what the kernel lets such a user do, over files and folders of random
// owners, modes and ACLs.
func TestAsTheKernelDecides(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming other users takes root")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	root, err := os.MkdirTemp("", "access-") //nolint:usetesting // the folders above t.TempDir are closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	must(os.Chmod(root, 0o755))
	self := filepath.Join(root, "reader")
	exe, err := os.Executable()
	must(err)
	text, err := os.ReadFile(exe)
	must(err)
	must(os.WriteFile(self, text, 0o755))
	withACLs := 0
	change := func(path string, mode uint32) {
		must(os.Chown(path, 7000+r.IntN(3), 8000+r.IntN(4)))
		must(unix.Chmod(path, mode))
		if r.IntN(2) == 0 && unix.Setxattr(path, "system.posix_acl_access", randomACL(r), 0) == nil {
			withACLs++
		}
	}
	var paths []string
	for n := range 400 {
		dir := filepath.Join(root, fmt.Sprint(n))
		must(os.Mkdir(dir, 0o755))
		path := filepath.Join(dir, "f")
		must(os.WriteFile(path, []byte("x"), 0o600))
		change(path, r.Uint32N(0o1000))
		if n%2 == 0 {
			change(dir, r.Uint32N(0o1000))
		} else if n%3 == 0 {
			link := filepath.Join(root, fmt.Sprint("link", n))
			must(os.Symlink(fmt.Sprint("./", n-1, "/../", n, "/f"), link))
			path = link
		}
		paths = append(paths, path)
	}
	for _, u := range []User{
		{UID: 7001, Groups: []uint32{8001}, GroupsKnown: true},
		{UID: 7002, Groups: []uint32{8000, 8002, 8003}, GroupsKnown: true},
		{UID: 7009, Groups: []uint32{8009}, GroupsKnown: true},
	} {
		may := kernelSays(t, self, u, paths)
		unknown := User{UID: u.UID}
		yes := 0
		for i, path := range paths {
			f, err := os.Open(path)
			must(err)
			byFile, byPath := u.MayRead(f), u.MayReach(path)
			if filepath.Base(path) == "f" && (byFile == nil) != may[i] {
				t.Errorf("user %+v, %s: the kernel says %v, MayRead %v", u, path, may[i], byFile)
			}
			if (byPath == nil) != may[i] {
				t.Errorf("user %+v, %s: the kernel says %v, MayReach %v", u, path, may[i], byPath)
			}
			if unknown.MayRead(f) == nil && byFile != nil {
				t.Errorf("user %d, %s: allowed without known groups, and not with %v", u.UID, path, u.Groups)
			}
			if byFile != nil && !errors.Is(byFile, ErrDenied) {
				t.Error(byFile)
			}
			must(f.Close())
			if may[i] {
				yes++
			}
		}
		t.Logf("user %+v: %d of %d files, %d ACLs", u, yes, len(paths), withACLs)
	}
}

// kernelSays opens the paths as that user in a process of its own.
func kernelSays(t *testing.T, self string, u User, paths []string) []bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = []string{envReader + "=1"}
	cmd.Stdin = strings.NewReader(strings.Join(paths, "\n") + "\n")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.UID, Gid: u.Groups[0], Groups: u.Groups[1:]}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var may []bool
	for line := range strings.Lines(string(out)) {
		may = append(may, line == "true\n")
	}
	if len(may) != len(paths) {
		t.Fatalf("%d answers to %d paths", len(may), len(paths))
	}
	return may
}

// What is not a file, was removed, or lies under another name by now is refused.
func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	u := User{UID: uint32(os.Getuid()), Groups: []uint32{uint32(os.Getgid())}, GroupsKnown: true}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if u.MayRead(d) == nil {
		t.Error("a folder may be read as a file")
	}
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := u.MayRead(f); err != nil {
		t.Error(err)
	}
	if err := u.MayReach(filepath.Join(dir, "none")); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"f", filepath.Join(dir, "none/f"), filepath.Join(path, "f")} {
		if u.MayReach(bad) == nil {
			t.Errorf("%s can be reached", bad)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if u.MayRead(f) == nil {
		t.Error("a removed file may be read")
	}
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	if u.MayReach(loop) == nil {
		t.Error("a loop can be reached")
	}
}

// An ACL that is not understood allows nothing.
func TestStrangeACL(t *testing.T) {
	u := User{UID: 1, GroupsKnown: true}
	st := &unix.Stat_t{Uid: 1}
	for _, text := range [][]byte{nil, {1, 0, 0, 0}, acl()[:3], append(acl(), 0), acl([3]uint32{0x40, 7, 0})} {
		if ok, err := u.byACL(text, st, read); ok || err == nil {
			t.Errorf("%x: %v %v", text, ok, err)
		}
	}
}
