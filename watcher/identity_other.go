//go:build !linux && !darwin

package watcher

import (
	"io/fs"
	"os"
	"time"
)

// identify says whether a path is a folder; which one is not told here, so the identity is the zero one.
func identify(path string) (id identity, folder bool, err error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return identity{}, false, err
	}
	return identity{}, fi.IsDir(), nil
}

// changeTime: there is none.
func changeTime(fs.FileInfo) (time.Time, bool) { return time.Time{}, false }

func signatureOf(fi fs.FileInfo) signature {
	return signature{size: fi.Size(), mtime: fi.ModTime().UnixNano()}
}
