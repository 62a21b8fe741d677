package beneath

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"s3apu/protocol"
)

// pathOnly opens a folder for nothing but its entries. There is no O_PATH here, so it must be readable.
const pathOnly = unix.O_RDONLY

// atOnce returns nil: see straight.
func atOnce(string, string, int) *Dir { return nil }

// straight is the careful way: O_NOFOLLOW_ANY would say the same in one call, and nothing at all where the system is older
// than the flag.
func straight(at int, rel string, flags int) (int, error) { return stepwise(at, rel, flags) }

// Virtual reports false: there is nothing of the kind here.
func (d *Dir) Virtual() bool { return false }

// ToList opens the folder itself, to be listed.
func (d *Dir) ToList() (*os.File, error) {
	fd, err := openat(d.fd, ".", unix.O_RDONLY|folderFlags)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: d.path, Err: err}
	}
	return os.NewFile(uintptr(fd), d.path), nil
}

func statOf(st *unix.Stat_t) protocol.Stat {
	return protocol.Stat{
		Size:  st.Size,
		MTime: st.Mtim.Nano(),
		CTime: st.Ctim.Nano(),
		Dev:   uint64(uint32(st.Dev)),
		Ino:   st.Ino,
		Mode:  uint32(st.Mode), UID: st.Uid, GID: st.Gid,
	}
}
