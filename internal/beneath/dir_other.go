//go:build !linux && !darwin

package beneath

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"s3apu/protocol"
)

// File is a regular file that is open for reading.
type File = os.File

// Dir is an open folder. It is closed with [Dir.Close]; its methods may be called at the same time.
type Dir struct {
	root *os.Root
	path string // for messages
}

// At opens the folder at rel below root; "" is the root.
func At(root, rel string) (*Dir, error) {
	if rel != "" {
		if err := proper(rel); err != nil {
			return nil, &fs.PathError{Op: "open", Path: join(root, rel), Err: err}
		}
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	d := &Dir{root: r, path: root}
	for rest, more := rel, rel != ""; more; {
		var name string
		name, rest, more = cut(rest)
		sub, err := d.Sub(name)
		d.Close()
		if err != nil {
			return nil, err
		}
		d = sub
	}
	return d, nil
}

// List is the same as [At] here.
func List(root, rel string) (*Dir, error) { return At(root, rel) }

// Sub opens a folder in d.
func (d *Dir) Sub(name string) (*Dir, error) {
	path := join(d.path, name)
	seen, err := d.root.Lstat(name)
	switch {
	case err != nil:
		return nil, &fs.PathError{Op: "open", Path: path, Err: plainError(err)}
	case seen.Mode()&fs.ModeSymlink != 0:
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
	case !seen.IsDir():
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
	}
	r, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: plainError(err)}
	}
	if now, err := r.Stat("."); err != nil || !os.SameFile(seen, now) { // a link came in between
		_ = r.Close() // nothing was written
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
	}
	return &Dir{root: r, path: path}, nil
}

// Close closes the folder; what was opened in it stays open.
func (d *Dir) Close() { _ = d.root.Close() } // nothing was written

// Path returns the path by which the folder was opened. What lies there may be another one by now.
func (d *Dir) Path() string { return d.path }

// Virtual reports false: there is nothing of the kind here.
func (d *Dir) Virtual() bool { return false }

// Stat returns the state of the folder itself.
func (d *Dir) Stat() (protocol.Stat, error) { return d.Lstat(".") }

// Lstat returns the state of an entry; a link is not followed. "." is the folder itself.
func (d *Dir) Lstat(name string) (protocol.Stat, error) {
	fi, err := d.root.Lstat(name)
	if err != nil {
		return protocol.Stat{}, &fs.PathError{Op: "lstat", Path: join(d.path, name), Err: plainError(err)}
	}
	return statOf(fi), nil
}

// Open opens the regular file of that name for reading. A link is ELOOP, everything else [ErrNotRegular].
func (d *Dir) Open(name string) (*File, error) {
	path := join(d.path, name)
	seen, err := d.root.Lstat(name)
	if err == nil {
		err = regular(statOf(seen))
	}
	var f *File
	if err == nil {
		f, err = d.root.Open(name)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: plainError(err)}
	}
	if now, err := f.Stat(); err != nil || !os.SameFile(seen, now) { // a link came in between
		_ = f.Close() // nothing was written
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
	}
	return f, nil
}

// OpenSeen is [Dir.Open], which looks by itself; it returns also the state of what was opened.
func (d *Dir) OpenSeen(name string, _ protocol.Stat) (*File, protocol.Stat, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, protocol.Stat{}, err
	}
	now, err := Fstat(f)
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, protocol.Stat{}, err
	}
	return f, now, nil
}

// ToList opens the folder itself, to be listed.
func (d *Dir) ToList() (*os.File, error) { return d.root.Open(".") }

// Readlink returns the target of a link.
func (d *Dir) Readlink(name string) (string, error) {
	to, err := d.root.Readlink(name)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: join(d.path, name), Err: plainError(err)}
	}
	return to, nil
}

// Fstat returns the state of an open file.
func Fstat(f *File) (protocol.Stat, error) {
	fi, err := f.Stat()
	if err != nil {
		return protocol.Stat{}, err
	}
	return statOf(fi), nil
}

// LstatPath returns the state of what lies at a path, links on the way followed as always, one at the end not.
func LstatPath(path string) (protocol.Stat, error) {
	fi, err := os.Lstat(filepath.Clean(path))
	if err != nil {
		return protocol.Stat{}, err
	}
	return statOf(fi), nil
}

// statOf knows size, time and mode only; what the system does not tell is 0 and compares as equal.
func statOf(fi fs.FileInfo) protocol.Stat {
	mode := uint32(fi.Mode().Perm())
	switch m := fi.Mode(); {
	case m.IsRegular():
		mode |= protocol.ModeFile
	case m.IsDir():
		mode |= protocol.ModeFolder
	case m&fs.ModeSymlink != 0:
		mode |= protocol.ModeLink
	}
	return protocol.Stat{Size: fi.Size(), MTime: fi.ModTime().UnixNano(), Mode: mode}
}
