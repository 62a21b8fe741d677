package mounts

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const tablePath = "/proc/self/mountinfo"

// Table returns all mounts that this process can see, in the kernel's order.
func Table() ([]Mount, error) {
	f, err := openTable()
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	return readTable(f)
}

// openTable opens the table, but not with [os.Open]: Go's own poller would be told of its changes instead of us. A descriptor that
// blocks is none of the poller's ([os.NewFile]).
func openTable() (*os.File, error) {
	fd, err := unix.Open(tablePath, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: tablePath, Err: err}
	}
	return os.NewFile(uintptr(fd), tablePath), nil
}

// Reader reads the table again only if it has changed. The zero value is ready. Safe for concurrent use.
type Reader struct {
	mu    sync.Mutex
	file  *os.File // open from the first look on
	table []Mount
	read  time.Time // when
}

// readAgain is how long the table is believed although nothing is said to have changed: a guess, for kernels that only look like Linux
// and do not say it.
const readAgain = time.Second

// Table is [Table]; what it returns must not be changed. That nothing was mounted or unmounted since is what poll(2) says
// (proc_pid_mounts(5)).
func (r *Reader) Table() ([]Mount, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	if r.file == nil {
		if r.file, err = openTable(); err != nil {
			return nil, err
		}
	} else {
		changed := []unix.PollFd{{Fd: int32(r.file.Fd()), Events: unix.POLLPRI}}
		if n, err := unix.Poll(changed, 0); n == 0 && err == nil && r.table != nil && time.Since(r.read) < readAgain {
			return r.table, nil
		}
	}
	r.read = time.Now()
	r.table, err = readTable(r.file)
	return r.table, err
}

func readTable(f *os.File) ([]Mount, error) {
	var table []Mount
	lines := bufio.NewScanner(io.NewSectionReader(f, 0, math.MaxInt64)) // from the beginning each time
	lines.Buffer(make([]byte, 0, 4096), 1<<20)                          // overlay's options name each layer: some KB; the limit is a guess
	for lines.Scan() {
		m, err := parse(lines.Text())
		if err != nil {
			return nil, err
		}
		table = append(table, m)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", tablePath, err)
	}
	return table, nil
}

// parse reads one line: "36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue"; the number of
// fields before the hyphen varies.
func parse(line string) (Mount, error) {
	head, tail, ok := strings.Cut(line, " - ")
	before, after := strings.Fields(head), strings.Fields(tail)
	if !ok || len(before) < 6 || len(after) < 1 {
		return Mount{}, fmt.Errorf("%s has a line that is no mount: %q", tablePath, line)
	}
	id, err := strconv.ParseUint(before[0], 10, 64)
	if err != nil {
		return Mount{}, fmt.Errorf("%s has a line that is no mount: %q", tablePath, line)
	}
	m := Mount{ID: id, Path: unescape(before[4]), FS: unescape(after[0])}
	if len(after) > 1 {
		m.From = unescape(after[1])
	}
	return m, nil
}

// unescape undoes what the kernel does to blanks and backslashes: \040 is a blank (seq_path in fs/seq_file.c).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Identify says what lies at path, and on which mount; 0 where the kernel does not tell (before Linux 5.8). A link at the
// end is followed only if follow is set. Nothing is mounted by the question, and no server asked for more than is known
// (statx(2), AT_NO_AUTOMOUNT and AT_STATX_DONT_SYNC).
func Identify(path string, follow bool) (id Identity, mount uint64, err error) {
	flags := unix.AT_NO_AUTOMOUNT | unix.AT_STATX_DONT_SYNC
	if !follow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	var x unix.Statx_t
	for {
		err = unix.Statx(unix.AT_FDCWD, path, flags, unix.STATX_INO|unix.STATX_BTIME|unix.STATX_MNT_ID, &x)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) { // before Linux 4.11, and in some sandboxes
		var st unix.Stat_t
		if follow {
			err = unix.Stat(path, &st)
		} else {
			err = unix.Lstat(path, &st)
		}
		x.Ino = st.Ino
	}
	if err != nil {
		return "", 0, &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	id = Identity(strconv.FormatUint(x.Ino, 10))
	if x.Mask&unix.STATX_BTIME != 0 {
		id += Identity(fmt.Sprintf("@%d.%09d", x.Btime.Sec, x.Btime.Nsec))
	}
	if x.Mask&unix.STATX_MNT_ID != 0 {
		mount = x.Mnt_id
	}
	return id, mount, nil
}
