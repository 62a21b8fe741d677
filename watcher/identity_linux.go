package watcher

import (
	"errors"
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// identify says which folder a path names, without following a link.
func identify(path string) (id identity, folder bool, err error) {
	var x unix.Statx_t
	for {
		err = unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW,
			unix.STATX_TYPE|unix.STATX_INO|unix.STATX_BTIME, &x)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) { // before Linux 4.11, and in some sandboxes
		return identifyOld(path)
	}
	if err != nil {
		return identity{}, false, &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	id = identity{dev: unix.Mkdev(x.Dev_major, x.Dev_minor), ino: x.Ino}
	if x.Mask&unix.STATX_BTIME != 0 { // inode numbers are used again, often at once
		id.born = x.Btime.Sec*int64(time.Second) + int64(x.Btime.Nsec)
	}
	return id, x.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

func identifyOld(path string) (identity, bool, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return identity{}, false, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return identity{dev: st.Dev, ino: st.Ino}, st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// changeTime is the time of the last change of a file's content or attributes.
func changeTime(fi fs.FileInfo) (time.Time, bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(st.Ctim.Unix()), true
}

func signatureOf(fi fs.FileInfo) signature {
	s := signature{size: fi.Size(), mtime: fi.ModTime().UnixNano()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.ctime, s.ino = st.Ctim.Nano(), st.Ino
	}
	return s
}
