//go:build linux || darwin

package beneath

import (
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"s3apu/protocol"
)

// File is a regular file that is open for reading. To make an [os.File] of it would cost two system calls more, to learn that nobody
// has to wait for it. All methods may be called at the same time, also beside and after Close.
type File struct {
	mu        sync.RWMutex // held for reading while the descriptor is in use
	fd        int          // -1: closed
	dir, name string
}

// ReadAt is of [io.ReaderAt].
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	if e := f.use(func(fd int) { n, err = pread(fd, p, off) }); e != nil {
		return 0, e
	}
	if err != nil && err != io.EOF { //nolint:errorlint // it is ours
		err = f.fail("read", err)
	}
	return n, err
}

func pread(fd int, p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		err = again(func() (err error) { k, err = unix.Pread(fd, p[n:], off+int64(n)); return })
		switch {
		case err != nil:
		case k == 0:
			err = io.EOF
		default:
			n += k
		}
	}
	return n, err
}

// Fstat returns the state of an open file.
func Fstat(f *File) (protocol.Stat, error) {
	var st unix.Stat_t
	var err error
	if e := f.use(func(fd int) { err = again(func() error { return unix.Fstat(fd, &st) }) }); e != nil {
		return protocol.Stat{}, e
	}
	if err != nil {
		return protocol.Stat{}, f.fail("fstat", err)
	}
	return statOf(&st), nil
}

// Close closes the file, once nobody uses it.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd < 0 {
		return f.fail("close", os.ErrClosed)
	}
	err := unix.Close(f.fd)
	f.fd = -1
	return err
}

// use calls do with the descriptor, which stays open that long.
func (f *File) use(do func(fd int)) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.fd < 0 {
		return f.fail("use", os.ErrClosed)
	}
	do(f.fd)
	return nil
}

// SyscallConn is of [syscall.Conn].
func (f *File) SyscallConn() (syscall.RawConn, error) { return (*rawFile)(f), nil }

// rawFile is a File for system calls on it.
type rawFile File

// Control is of [syscall.RawConn].
func (r *rawFile) Control(do func(fd uintptr)) error {
	return (*File)(r).use(func(fd int) { do(uintptr(fd)) })
}

// Read is of [syscall.RawConn]. A regular file is always ready.
func (r *rawFile) Read(do func(fd uintptr) bool) error {
	return (*File)(r).use(func(fd int) { do(uintptr(fd)) })
}

// Write is of [syscall.RawConn]. There is nothing to write.
func (r *rawFile) Write(func(fd uintptr) bool) error {
	return (*File)(r).fail("write", os.ErrPermission)
}

func (f *File) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: join(f.dir, f.name), Err: err}
}
