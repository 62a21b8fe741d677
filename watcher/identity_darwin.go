package watcher

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

// identify says which folder a path names, without following a link.
func identify(path string) (id identity, folder bool, err error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return identity{}, false, err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		id = identity{dev: uint64(uint32(st.Dev)), ino: st.Ino, born: st.Birthtimespec.Nano()}
	}
	return id, fi.IsDir(), nil
}

// changeTime is the time of the last change of a file's content or attributes.
func changeTime(fi fs.FileInfo) (time.Time, bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(st.Ctimespec.Unix()), true
}

func signatureOf(fi fs.FileInfo) signature {
	s := signature{size: fi.Size(), mtime: fi.ModTime().UnixNano()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.ctime, s.ino = st.Ctimespec.Nano(), st.Ino
	}
	return s
}
