package queue

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS stands between Pebble and the disk and makes a disk that refuses look like a power cut.
//
// Pebble v2.1.7 answers a write error of its log or manifest by panicking (DB.rotateWAL, DB.commitWrite) or by calling
// Logger.Fatalf, some of it on goroutines and under locks that nobody can recover from. So the first write that fails
// freezes the store: from then on nothing is written, renamed or removed any more, and Pebble is told that all went
// well. The error is noted before anybody is told so, so whoever waits for an fsync and then asks [guardFS.failure] (not
// what onFail makes of it, which comes a moment later) cannot take a write for durable that is not. What is on disk is the state of that moment, which Pebble recovers from
// like from any crash.
//
// Files are made 0600: they name everything that the watched folders hold.
type guardFS struct {
	vfs.FS
	dir     string                  // of the queue, for messages
	private func(name string) error // makes a new file private
	frozen  atomic.Pointer[error]
	onFail  func(error)     // called once, with the first error
	closing <-chan struct{} // closed when nobody waits any more
}

func newGuardFS(inner vfs.FS, dir string, closing <-chan struct{}, onFail func(error)) *guardFS {
	g := &guardFS{FS: inner, dir: dir, private: func(string) error { return nil }, onFail: onFail, closing: closing}
	if inner == vfs.Default {
		g.private = func(name string) error { return os.Chmod(name, 0o600) }
	}
	return g
}

// failure returns the error that froze the store, or nil.
func (g *guardFS) failure() error {
	if p := g.frozen.Load(); p != nil {
		return *p
	}
	return nil
}

func (g *guardFS) isFrozen() bool { return g.frozen.Load() != nil }

// freeze notes the first error.
func (g *guardFS) freeze(err error) {
	if g.frozen.CompareAndSwap(nil, &err) {
		g.onFail(err)
	}
}

// change runs one change of the disk, or pretends to.
func (g *guardFS) change(f func() error) error {
	if !g.isFrozen() {
		if err := f(); err != nil {
			g.freeze(err)
		}
	}
	return nil
}

// file runs what opens a file for writing.
func (g *guardFS) file(name string, open func() (vfs.File, error)) (vfs.File, error) {
	if g.isFrozen() {
		return &guardFile{File: voidFile{}, g: g}, nil
	}
	f, err := open()
	if err == nil {
		if err = g.private(name); err == nil {
			return &guardFile{File: f, g: g}, nil
		}
		_ = f.Close() // the error above is the one that counts
	}
	g.freeze(err)
	return &guardFile{File: voidFile{}, g: g}, nil
}

func (g *guardFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.file(name, func() (vfs.File, error) { return g.FS.Create(name, c) })
	if n, ok := manifestNumber(g.FS, name); ok && err == nil {
		f = newSealed(g, f, name, n)
	}
	return f, err
}

func (g *guardFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return g.file(name, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, o...) })
}

func (g *guardFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.file(name, func() (vfs.File, error) { return g.FS.ReuseForWrite(old, name, c) })
}

func (g *guardFS) Link(old, name string) error {
	return g.change(func() error { return g.FS.Link(old, name) })
}

func (g *guardFS) Rename(old, name string) error {
	return g.change(func() error { return g.FS.Rename(old, name) })
}

func (g *guardFS) MkdirAll(dir string, _ os.FileMode) error {
	return g.change(func() error { return g.FS.MkdirAll(dir, 0o700) })
}

// Remove passes errors on: a file that stays is no danger, and Pebble copes with it.
func (g *guardFS) Remove(name string) error {
	if g.isFrozen() {
		return nil
	}
	return g.FS.Remove(name)
}

func (g *guardFS) RemoveAll(name string) error {
	if g.isFrozen() {
		return nil
	}
	return g.FS.RemoveAll(name)
}

// Open reads, but nothing of a frozen store: what Pebble thinks it wrote since is not there, or only half of it, and that
// must not look like damage. The pause keeps compactions, which Pebble starts again at once when they fail, from spinning
// until the store is closed.
func (g *guardFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	if !g.isFrozen() {
		return g.FS.Open(name, o...)
	}
	select {
	case <-g.closing:
	case <-time.After(frozenPause):
	}
	return nil, errFrozen
}

// Lock takes the lock of a store.
func (g *guardFS) Lock(name string) (io.Closer, error) {
	l, err := g.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	if err := g.private(name); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// GetDiskUsage tells Pebble, for its pacing only, how full the disk is. Not to know is no error worth a stop.
func (g *guardFS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	u, err := g.FS.GetDiskUsage(path)
	if err != nil {
		return u, vfs.ErrUnsupported
	}
	return u, nil
}

// OpenDir opens a folder for syncing.
func (g *guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guardFile{File: f, g: g}, nil
}

func (g *guardFS) Unwrap() vfs.FS { return g.FS }

// frozenPause is a guess: long enough not to be noticed in top.
const frozenPause = 50 * time.Millisecond

var errFrozen = errors.New("the store is frozen after an error of the disk")

// guardFile is a file that may be written.
type guardFile struct {
	vfs.File
	g *guardFS
}

func (f *guardFile) Write(p []byte) (int, error) {
	n := len(p)
	return n, f.g.change(func() error { _, err := f.File.Write(p); return err })
}

func (f *guardFile) WriteAt(p []byte, off int64) (int, error) {
	n := len(p)
	return n, f.g.change(func() error { _, err := f.File.WriteAt(p, off); return err })
}

func (f *guardFile) Sync() error     { return f.g.change(f.File.Sync) }
func (f *guardFile) SyncData() error { return f.g.change(f.File.SyncData) }

func (f *guardFile) SyncTo(length int64) (full bool, err error) {
	err = f.g.change(func() (err error) { full, err = f.File.SyncTo(length); return err })
	return full, err
}

// Preallocate asks for room ahead of need. Pebble ignores its errors, and so do we: the write that needs it will tell.
func (f *guardFile) Preallocate(off, length int64) error {
	if f.g.isFrozen() {
		return nil
	}
	return f.File.Preallocate(off, length)
}

// Close always lets go of the descriptor. On a file that was written an error of close is an error of the write.
func (f *guardFile) Close() error {
	if err := f.File.Close(); err != nil && !f.g.isFrozen() {
		f.g.freeze(err)
	}
	return nil
}

// voidFile takes everything and keeps nothing.
type voidFile struct{}

func (voidFile) Close() error                           { return nil }
func (voidFile) Read([]byte) (int, error)               { return 0, errFrozen }
func (voidFile) ReadAt([]byte, int64) (int, error)      { return 0, errFrozen }
func (voidFile) Write(p []byte) (int, error)            { return len(p), nil }
func (voidFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (voidFile) Preallocate(int64, int64) error         { return nil }
func (voidFile) Stat() (vfs.FileInfo, error)            { return voidInfo{}, nil }
func (voidFile) Sync() error                            { return nil }
func (voidFile) SyncTo(int64) (bool, error)             { return false, nil }
func (voidFile) SyncData() error                        { return nil }
func (voidFile) Prefetch(int64, int64) error            { return nil }
func (voidFile) Fd() uintptr                            { return vfs.InvalidFd }

// voidInfo describes a voidFile.
type voidInfo struct{}

func (voidInfo) Name() string           { return "void" }
func (voidInfo) Size() int64            { return 0 }
func (voidInfo) Mode() fs.FileMode      { return 0o600 }
func (voidInfo) ModTime() time.Time     { return time.Time{} }
func (voidInfo) IsDir() bool            { return false }
func (voidInfo) Sys() any               { return nil }
func (voidInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
