package watcher

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// listChunk is the buffer for getdents64, in bytes: about 1,000 names a call.
const listChunk = 32 << 10

// foldersIn calls found with the name of each folder in the open folder f. The names of files, which are most of them, are
// never made: os.File.ReadDir allocates twice for each. (getdents64(2) gives the layout: 8 bytes inode, 8 offset, 2 length,
// 1 type, name.)
func foldersIn(f *os.File, found func(name string)) error {
	const head = 19
	buf := make([]byte, listChunk)
	for {
		n, err := unix.ReadDirent(int(f.Fd()), buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "readdirent", Path: f.Name(), Err: err}
		}
		if n <= 0 {
			return nil
		}
		for b := buf[:n]; len(b) >= head; {
			size := int(binary.NativeEndian.Uint16(b[16:]))
			if size < head || size > len(b) {
				return &fs.PathError{Op: "readdirent", Path: f.Name(), Err: errors.New("a record of no sensible length")}
			}
			if typ := b[18]; typ == unix.DT_DIR || typ == unix.DT_UNKNOWN {
				name := unix.ByteSliceToString(b[head:size])
				if name != "." && name != ".." && (typ == unix.DT_DIR || isFolder(f, name)) {
					found(name)
				}
			}
			b = b[size:]
		}
	}
}

// isFolder is for file systems that do not tell the type with the name.
func isFolder(f *os.File, name string) bool {
	var st unix.Stat_t
	for {
		err := unix.Fstatat(int(f.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
		}
	}
}
