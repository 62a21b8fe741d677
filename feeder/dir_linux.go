package feeder

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"s3apu/internal/beneath"
	"s3apu/protocol"
)

// dir is an open folder. Entries are reached through its descriptor, so that what is walked is the folder that was
// opened, whatever is renamed or replaced by a link on the way to it meanwhile.
type dir struct {
	*beneath.Dir
	dev uint64
}

// readChunk is the buffer for getdents64, in bytes: about 1,000 names a call. The names of a chunk are kept as one
// string, which saves an allocation for each.
const readChunk = 32 << 10

// openDir opens the folder rel below root; a link below root is an error.
func openDir(root, rel string) (*dir, protocol.Stat, error) {
	d, err := beneath.List(root, rel)
	if err != nil {
		return nil, protocol.Stat{}, err
	}
	return opened(d)
}

// open opens a sub-folder; a link in its place is an error.
func (d *dir) open(name string) (*dir, protocol.Stat, error) {
	sub, err := d.Sub(name)
	if err != nil {
		return nil, protocol.Stat{}, err
	}
	return opened(sub)
}

func opened(d *beneath.Dir) (*dir, protocol.Stat, error) {
	st, err := d.Stat()
	if err != nil {
		d.Close()
		return nil, st, err
	}
	return &dir{Dir: d, dev: st.Dev}, st, nil
}

// read returns all entries in no order.
func (d *dir) read(ctx context.Context) ([]entry, error) {
	buf := make([]byte, readChunk)
	var all []entry
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		more, ok, err := d.some(buf, all)
		if err != nil || !ok {
			return more, err
		}
		all = more
	}
}

// any reports whether there is an entry for which is says yes.
func (d *dir) any(is func(entry) bool) (bool, error) {
	buf := make([]byte, readChunk)
	var few []entry
	for {
		few, ok, err := d.some(buf, few[:0])
		if err != nil || slices.ContainsFunc(few, is) {
			return err == nil, err
		}
		if !ok {
			return false, nil
		}
	}
}

// some reads the next entries and says whether there were any. They are parsed here and not by os.File.ReadDir, which
// keeps three times the memory for each (getdents64(2) gives the layout: 8 bytes inode, 8 offset, 2 length, 1 type, name).
func (d *dir) some(buf []byte, all []entry) ([]entry, bool, error) {
	const head = 19
	var n int
	if err := again(func() (err error) { n, err = unix.ReadDirent(d.Fd(), buf); return }); err != nil {
		return nil, false, &fs.PathError{Op: "readdirent", Path: d.Path(), Err: err}
	}
	chunk := string(buf[:max(n, 0)])
	for at := 0; at+head <= n; {
		size := int(binary.NativeEndian.Uint16(buf[at+16:]))
		if size < head || at+size > n {
			return nil, false, &fs.PathError{Op: "readdirent", Path: d.Path(), Err: errors.New("a record of no sensible length")}
		}
		end := at + head
		for end < at+size && buf[end] != 0 {
			end++
		}
		if name := chunk[at+head : end]; name != "." && name != ".." && name != "" {
			all = append(all, entry{name: name, kind: d.kindOf(buf[at+18], name)})
		}
		at += size
	}
	return all, n > 0, nil
}

// kindOf tells folders from the rest; some file systems leave the type to lstat.
func (d *dir) kindOf(typ byte, name string) entryKind {
	switch typ {
	case unix.DT_DIR:
		return folderEntry
	case unix.DT_REG:
		return fileEntry
	case unix.DT_LNK:
		return linkEntry
	case unix.DT_UNKNOWN:
		st, err := d.Lstat(name)
		if err != nil {
			return fileEntry // which is looked at once more
		}
		return kindOf(st)
	}
	return specialEntry
}

// again repeats a call that a signal interrupted.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// missing reports whether err says that there is nothing at a path.
func missing(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

// replaced reports whether opening a folder failed because something else lies there.
func replaced(err error) bool { return errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) }

// hopeless reports whether the same call would fail in the same way until somebody changes the path or its rights.
func hopeless(err error) bool {
	for _, e := range []error{unix.EACCES, unix.EPERM, unix.ELOOP, unix.ENAMETOOLONG, unix.EOVERFLOW} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
