//go:build linux || darwin

package beneath

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"s3apu/protocol"
)

// File is a regular file that is open for reading. To make an [os.File] of it would cost two system calls more, to learn that nobody
// has to wait for it. It must be closed: nobody closes one that is forgotten. All methods may be called at the same time, also beside
// and after Close.
type File struct {
	mu        sync.RWMutex // held for reading while the descriptor is in use
	fd        int          // -1: closed
	dir, name string
}

var _ syscall.Conn = (*File)(nil)

// ReadAt is of [io.ReaderAt].
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	e := f.use("read", func(fd int) error {
		for n < len(p) && err == nil {
			var k int
			if err := again(func() (err error) { k, err = unix.Pread(fd, p[n:], off+int64(n)); return }); err != nil {
				return err
			}
			if n += k; k == 0 {
				err = io.EOF
			}
		}
		return nil
	})
	if e != nil {
		return n, e
	}
	return n, err
}

// Fstat returns the state of an open file.
func Fstat(f *File) (protocol.Stat, error) {
	var st unix.Stat_t
	err := f.use("fstat", func(fd int) error { return again(func() error { return unix.Fstat(fd, &st) }) })
	return statOf(&st), err
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
	return f.fail("close", err)
}

// use calls do with the descriptor, which stays open that long.
func (f *File) use(op string, do func(fd int) error) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.fd < 0 {
		return f.fail(op, os.ErrClosed)
	}
	return f.fail(op, do(f.fd))
}

func (f *File) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: join(f.dir, f.name), Err: err}
}

// SyscallConn is of [syscall.Conn].
func (f *File) SyscallConn() (syscall.RawConn, error) { return (*rawFile)(f), nil }

// rawFile is a File for system calls on it.
type rawFile File

// Control is of [syscall.RawConn].
func (r *rawFile) Control(do func(fd uintptr)) error {
	return (*File)(r).use("use", func(fd int) error { do(uintptr(fd)); return nil })
}

// Read is of [syscall.RawConn], and of no use: there is nothing to wait for.
func (r *rawFile) Read(func(fd uintptr) bool) error { return errors.ErrUnsupported }

// Write is like Read.
func (r *rawFile) Write(func(fd uintptr) bool) error { return errors.ErrUnsupported }
