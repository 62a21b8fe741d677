//go:build linux || darwin

package beneath

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"s3apu/protocol"
)

// Dir is an open folder. What is in it is reached by its descriptor, whatever is renamed or replaced on the way to it
// meanwhile. It is closed with [Dir.Close]; its methods may be called at the same time.
type Dir struct {
	fd   int
	path string // for messages
}

// At opens the folder at rel below root; "" is the root. It may only be looked into, not listed: see [List].
func At(root, rel string) (*Dir, error) { return openFast(root, rel, pathOnly) }

// List is [At] for a folder that is to be listed.
func List(root, rel string) (*Dir, error) { return openFast(root, rel, unix.O_RDONLY) }

func openFast(root, rel string, flags int) (*Dir, error) {
	if d := atOnce(root, rel, flags); d != nil {
		return d, nil
	}
	return open(root, rel, flags, straight)
}

// folderFlags open a folder and nothing else.
const folderFlags = unix.O_DIRECTORY | unix.O_CLOEXEC

// way is how a folder below an open one is opened.
type way func(at int, rel string, flags int) (int, error)

func open(root, rel string, flags int, below way) (*Dir, error) {
	first := flags
	if rel != "" {
		if err := proper(rel); err != nil {
			return nil, &fs.PathError{Op: "open", Path: join(root, rel), Err: err}
		}
		first = pathOnly
	}
	fd, err := openat(unix.AT_FDCWD, root, first|folderFlags)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: root, Err: err}
	}
	d := &Dir{fd: fd, path: root}
	if rel == "" {
		return d, nil
	}
	defer d.Close()
	path := join(root, rel)
	if fd, err = below(d.fd, rel, flags|folderFlags); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &Dir{fd: fd, path: path}, nil
}

// stepwise opens component by component.
func stepwise(at int, rel string, flags int) (int, error) {
	folder := at
	for rest, more := rel, true; more; {
		var name string
		step := pathOnly | folderFlags
		if name, rest, more = cut(rest); !more {
			step = flags
		}
		fd, err := folderIn(folder, name, step)
		if folder != at {
			_ = unix.Close(folder) // nothing was written
		}
		if err != nil {
			return -1, err
		}
		folder = fd
	}
	return folder, nil
}

// comings is how often a name that is now a folder and now a link is tried; a guess. Then it is called a link, for ENOTDIR
// would say that nothing is below it.
const comings = 100

// folderIn opens a folder in an open one. Systems differ in what O_NOFOLLOW and O_DIRECTORY say together of a link, so what
// is no folder is looked at once more.
func folderIn(at int, name string, flags int) (int, error) {
	for range comings {
		fd, err := openat(at, name, flags|unix.O_NOFOLLOW)
		if !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
			return fd, err
		}
		var st unix.Stat_t
		if err := again(func() error { return unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
			return -1, err
		}
		switch now := statOf(&st); {
		case now.IsLink():
			return -1, unix.ELOOP
		case !now.IsFolder():
			return -1, unix.ENOTDIR
		}
	}
	return -1, unix.ELOOP
}

// Sub opens a folder in d, to be listed.
func (d *Dir) Sub(name string) (*Dir, error) {
	path := join(d.path, name)
	fd, err := folderIn(d.fd, name, unix.O_RDONLY|folderFlags)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &Dir{fd: fd, path: path}, nil
}

// Close closes the folder; what was opened in it stays open.
func (d *Dir) Close() { _ = unix.Close(d.fd) } // nothing was written

// Fd returns the descriptor, for system calls on the folder itself. It is good until Close.
func (d *Dir) Fd() int { return d.fd }

// Path returns the path by which the folder was opened. What lies there may be another one by now.
func (d *Dir) Path() string { return d.path }

// Stat returns the state of the folder itself.
func (d *Dir) Stat() (protocol.Stat, error) { return d.stat(".") }

// Lstat returns the state of an entry; a link is not followed. "." is the folder itself.
func (d *Dir) Lstat(name string) (protocol.Stat, error) { return d.stat(name) }

func (d *Dir) stat(name string) (protocol.Stat, error) {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return protocol.Stat{}, &fs.PathError{Op: "lstat", Path: join(d.path, name), Err: err}
	}
	return statOf(&st), nil
}

// Open opens the regular file of that name for reading, without waiting for anything. A link is ELOOP, everything else
// [ErrNotRegular]; a device is not opened but where one takes the file's place in the very moment.
func (d *Dir) Open(name string) (*File, error) {
	st, err := d.Lstat(name)
	if err != nil {
		return nil, err
	}
	f, _, err := d.OpenSeen(name, st)
	return f, err
}

// OpenSeen is [Dir.Open] for whoever has just looked at the entry with [Dir.Lstat] and seen st. It also returns the state of what it
// has opened.
func (d *Dir) OpenSeen(name string, st protocol.Stat) (f *File, now protocol.Stat, err error) {
	fail := func(err error) (*File, protocol.Stat, error) {
		return nil, protocol.Stat{}, &fs.PathError{Op: "open", Path: join(d.path, name), Err: plainError(err)}
	}
	if err := regular(st); err != nil {
		return fail(err)
	}
	fd, err := openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC)
	if err != nil {
		return fail(err)
	}
	f = &File{fd: fd, dir: d.path, name: name}
	if now, err = Fstat(f); err == nil {
		err = regular(now)
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return fail(err)
	}
	return f, now, nil
}

// Readlink returns the target of a link.
func (d *Dir) Readlink(name string) (string, error) {
	for buf := make([]byte, 256); ; buf = make([]byte, 2*len(buf)) {
		var n int
		if err := again(func() (err error) { n, err = unix.Readlinkat(d.fd, name, buf); return }); err != nil {
			return "", &fs.PathError{Op: "readlink", Path: join(d.path, name), Err: err}
		}
		if n < len(buf) {
			return string(buf[:n]), nil
		}
	}
}

// LstatPath returns the state of what lies at a path, links on the way followed as always, one at the end not.
func LstatPath(path string) (protocol.Stat, error) {
	var st unix.Stat_t
	if err := again(func() error { return unix.Lstat(path, &st) }); err != nil {
		return protocol.Stat{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return statOf(&st), nil
}

func openat(at int, name string, flags int) (fd int, err error) {
	err = again(func() (err error) { fd, err = unix.Openat(at, name, flags, 0); return })
	return fd, err
}

// again repeats a call that a signal interrupted.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
