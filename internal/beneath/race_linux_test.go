package beneath

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience bounds a wait that is expected to end much sooner.
const patience = 30 * time.Second

// ways are the ways to open what lies below: the root and all below it in one call, the root and all below it in two, and by hand.
var ways = []struct {
	name string
	open func(root, rel string, flags int) (*Dir, error)
}{{"at once", openFast}, {"straight", by(straight)}, {"stepwise", by(stepwise)}}

func by(w way) func(root, rel string, flags int) (*Dir, error) {
	return func(root, rel string, flags int) (*Dir, error) { return open(root, rel, flags, w) }
}

// opened opens a file by one of the ways.
func opened(way func(root, rel string, flags int) (*Dir, error), root, rel string) (*File, error) {
	d, err := way(root, parent(rel), pathOnly)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Open(base(rel))
}

// readAll reads an open file.
func readAll(f *File) ([]byte, error) { return io.ReadAll(io.NewSectionReader(f, 0, math.MaxInt64)) }

// swapping exchanges two paths as fast as it can until the test calls what it returns.
func swapping(t *testing.T, a, b string) (still func()) {
	t.Helper()
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			}
		}
	})
	still = sync.OnceFunc(func() { close(stop); swapper.Wait() })
	t.Cleanup(still)
	return still
}

// A folder on the way is exchanged with a link to a folder of secrets, in a tight loop: whatever is opened is the file that
// was meant, and what is in the way is an error.
func TestSwapWhileOpening(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			root, outside := t.TempDir(), t.TempDir()
			must(t, os.MkdirAll(filepath.Join(root, "a/d/e"), 0o750))
			must(t, os.MkdirAll(filepath.Join(outside, "e"), 0o750))
			must(t, os.WriteFile(filepath.Join(root, "a/d/e/f"), []byte("harmless"), 0o600))
			must(t, os.WriteFile(filepath.Join(outside, "e/f"), []byte("secret"), 0o600))
			must(t, os.Symlink(outside, filepath.Join(root, "l")))
			swapping(t, filepath.Join(root, "a/d"), filepath.Join(root, "l"))
			const least = 5_000
			var good, refused int
			began := time.Now()
			for good+refused < least || good == 0 || refused == 0 {
				if time.Since(began) > patience {
					t.Fatalf("opened %d times, refused %d times: nothing was tried", good, refused)
				}
				f, err := opened(w.open, root, "a/d/e/f")
				if err != nil {
					if !errors.Is(err, unix.ELOOP) {
						t.Fatal(err)
					}
					refused++
					continue
				}
				b, err := readAll(f)
				_ = f.Close()
				if err != nil || string(b) != "harmless" {
					t.Fatalf("%q was read, %v", b, err)
				}
				good++
			}
			t.Logf("opened %d times, refused %d times in %v", good, refused, time.Since(began).Round(time.Millisecond))
		})
	}
}

// A file is exchanged with a FIFO that nobody writes to, and with a link: opening never waits, and never opens either.
func TestSwapOfTheLastComponent(t *testing.T) {
	root := t.TempDir()
	must(t, os.WriteFile(filepath.Join(root, "f"), []byte("harmless"), 0o600))
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o600))
	must(t, os.Symlink("/etc/hostname", filepath.Join(root, "link")))
	for _, other := range []string{"fifo", "link"} {
		t.Run(other, func(t *testing.T) {
			still := swapping(t, filepath.Join(root, "f"), filepath.Join(root, other))
			var good, refused int
			for began := time.Now(); good+refused < 5_000 || good == 0 || refused == 0; {
				if time.Since(began) > patience {
					t.Fatalf("opened %d times, refused %d times", good, refused)
				}
				f, err := Open(root, "f")
				switch {
				case err == nil:
					b, err := readAll(f)
					_ = f.Close()
					if err != nil || string(b) != "harmless" {
						t.Fatalf("%q was read, %v", b, err)
					}
					good++
				case errors.Is(err, ErrNotRegular), errors.Is(err, unix.ELOOP):
					refused++
				default:
					t.Fatal(err)
				}
			}
			still()
			if st, err := Lstat(root, "f"); err == nil && !st.IsFile() { // as the next part expects it
				must(t, unix.Renameat2(unix.AT_FDCWD, filepath.Join(root, "f"), unix.AT_FDCWD, filepath.Join(root, other), unix.RENAME_EXCHANGE))
			}
		})
	}
}

// Where a filter of system calls refuses openat2, as older container runtimes do, everything goes by hand and is the same.
func TestWithoutOpenat2(t *testing.T) {
	const flag = "S3APU_TEST_WITHOUT_OPENAT2"
	if answer := os.Getenv(flag); answer != "" {
		errno := map[string]uint32{"ENOSYS": uint32(unix.ENOSYS), "EPERM": uint32(unix.EPERM)}[answer]
		must(t, refuse(unix.SYS_OPENAT2, errno))
		if _, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH}); err == nil {
			t.Fatal("the filter does not hold")
		}
		t.Run("same", TestWaysAreTheSame)
		t.Run("swap", TestSwapWhileOpening)
		t.Log("opened by hand")
		return
	}
	for _, answer := range []string{"ENOSYS", "EPERM"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWithoutOpenat2$", "-test.v")
		cmd.Env = append(os.Environ(), flag+"="+answer)
		out, err := cmd.CombinedOutput()
		if bytes.Contains(out, []byte("seccomp: ")) {
			t.Skipf("no filter can be set here: %s", out)
		}
		if err != nil || !bytes.Contains(out, []byte("opened by hand")) {
			t.Errorf("%s: %v\n%s", answer, err, out)
		}
	}
}

// refuse has a system call answered with errno in every thread of this process (seccomp(2)); it cannot be taken back.
func refuse(call, errno uint32) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: call},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | errno},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// In every thread at once, for SECCOMP_FILTER_FLAG_TSYNC asks it of the calling one only.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return errors.New("seccomp: " + e.Error())
	}
	return nil
}

// The cost of a file four folders down, in the page cache.
func BenchmarkOpen(b *testing.B) {
	root := b.TempDir()
	rel := strings.Repeat("folder/", 4) + "f"
	path := filepath.Join(root, rel)
	must(b, os.MkdirAll(filepath.Dir(path), 0o750))
	must(b, os.WriteFile(path, nil, 0o600))
	for _, c := range []struct {
		name string
		open func() (io.Closer, error)
	}{
		{"os.Open", func() (io.Closer, error) { return os.Open(path) }},
		{"at once", func() (io.Closer, error) { return opened(openFast, root, rel) }},
		{"openat2", func() (io.Closer, error) { return opened(by(straight), root, rel) }},
		{"stepwise", func() (io.Closer, error) { return opened(by(stepwise), root, rel) }},
		{"os.Root", func() (io.Closer, error) {
			r, err := os.OpenRoot(root)
			if err != nil {
				return nil, err
			}
			defer func() { _ = r.Close() }()
			return r.Open(rel)
		}},
		{"os.Open+realpath", func() (io.Closer, error) { // what it was before
			f, err := os.Open(path)
			if err == nil {
				_, err = filepath.EvalSymlinks(path)
			}
			return f, err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				f, err := c.open()
				if err != nil {
					b.Fatal(err)
				}
				_ = f.Close()
			}
		})
	}
}
