//go:build !linux

package feeder

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"s3apu/internal/beneath"
	"s3apu/protocol"
)

// dir is an open folder.
type dir struct {
	*beneath.Dir
	file *os.File // the same, to be listed
	dev  uint64
}

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
	var file *os.File
	if err == nil {
		file, err = d.ToList()
	}
	if err != nil {
		d.Close()
		return nil, st, err
	}
	return &dir{Dir: d, file: file, dev: st.Dev}, st, nil
}

// Close closes the folder.
func (d *dir) Close() {
	_ = d.file.Close() // read only: nothing can be lost
	d.Dir.Close()
}

// read returns all entries in no order.
func (d *dir) read(ctx context.Context) ([]entry, error) {
	var all []entry
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		some, err := d.some()
		all = append(all, some...)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// any reports whether there is an entry for which is says yes.
func (d *dir) any(is func(entry) bool) (bool, error) {
	for {
		some, err := d.some()
		if slices.ContainsFunc(some, is) {
			return true, nil
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// some reads the next entries; io.EOF says that there are no more.
func (d *dir) some() ([]entry, error) {
	list, err := d.file.ReadDir(1000)
	all := make([]entry, 0, len(list))
	for _, e := range list {
		kind := specialEntry
		switch {
		case e.IsDir():
			kind = folderEntry
		case e.Type().IsRegular():
			kind = fileEntry
		case e.Type()&fs.ModeSymlink != 0:
			kind = linkEntry
		}
		all = append(all, entry{name: e.Name(), kind: kind})
	}
	return all, err
}

// missing reports whether err says that there is nothing at a path.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// replaced reports whether opening a folder failed because something else lies there.
func replaced(err error) bool {
	return errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP)
}

// hopeless reports whether the same call would fail in the same way until somebody changes the path or its rights.
func hopeless(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENAMETOOLONG)
}
