package feeder

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"s3apu/internal/beneath"
	"s3apu/protocol"
)

// errLinked says that a path leads through a symbolic link. What lies behind it is not ours to judge.
var errLinked = errors.New("the path leads through a symbolic link")

// place is what lies at a path.
type place struct {
	there bool
	stat  protocol.Stat // if there
	dev   uint64        // of the nearest folder above that is there
	top   bool          // that folder is the root
}

// above is what is known of the folder in which a path lies; good for the next few paths in the same folder.
type above struct {
	rel   string
	known bool
	left  int // how many more times it may be used
	place     // there: the folder is there; stat: its state
	err   error
}

// aboveUses bounds how often one look at a folder serves for its entries, so that a folder that goes away meanwhile is
// noticed. A guess.
const aboveUses = 256

// looker looks at paths below a root, component by component, so that no link is followed unnoticed. Not for
// concurrent use.
type looker struct {
	root string
	via  *links // the rule for symbolic links; nil: they are nothing
	last above
}

// look returns what lies at rel. That it is gone is said only if the nearest folder above it that is there can be
// read; everything else that keeps it from being seen is an error.
func (l *looker) look(rel string) (place, error) {
	dir, _ := dirOf(rel)
	if !l.last.known || l.last.rel != dir || l.last.left == 0 {
		p, err := l.parent(dir)
		l.last = above{rel: dir, known: true, left: aboveUses, place: p, err: err}
	}
	l.last.left--
	if l.last.err != nil {
		return place{}, l.last.err
	}
	up := l.last.place
	if !up.there {
		return up, nil
	}
	st, err := l.state(rel)
	p := place{dev: up.stat.Dev, top: dir == ""}
	switch {
	case err == nil:
		p.there, p.stat = true, st
	case !missing(err):
		return place{}, err
	default:
		// The folder may have gone since it was looked at, and this may be the first file missed in it: look again.
		l.last.known = false
		if err := l.readable(dir); err != nil {
			if !missing(err) {
				return place{}, err
			}
			return l.goneAbove(dir)
		}
		l.last.known = true
	}
	return p, nil
}

// goneAbove finds the nearest folder above a path whose own folder has just vanished.
func (l *looker) goneAbove(dir string) (place, error) {
	p, err := l.parent(dir)
	if err == nil && p.there {
		err = errors.New("the folder comes and goes")
	}
	return p, err
}

// parent looks at the folder rel and all above it. there is false if rel or one above it is missing or not a folder.
func (l *looker) parent(rel string) (place, error) {
	st, err := lstatRoot(l.root)
	if err != nil {
		return place{}, err
	}
	p := place{there: true, stat: st, dev: st.Dev, top: true}
	at := ""
	for rest := rel; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		up, top := p.stat.Dev, at == ""
		above := at
		if at != "" {
			at += "/"
		}
		at += name
		st, err := l.state(at)
		switch {
		case missing(err) || err == nil && l.leaf(st):
			if err := l.readable(above); err != nil {
				return place{}, err
			}
			return place{dev: up, top: top}, nil
		case err != nil:
			return place{}, err
		case !st.IsFolder():
			return place{}, errLinked
		}
		p = place{there: true, stat: st, dev: up, top: top}
	}
	return p, nil
}

// readable reports why the folder rel cannot be listed, or nil. [errLinked]: a link lies there, or on the way.
func (l *looker) readable(rel string) error {
	real, err := l.via.real(rel)
	if err == nil {
		err = readable(l.root, real)
	}
	if errors.Is(err, syscall.ELOOP) {
		return errLinked
	}
	return err
}

// state returns what lies at rel, by the rule for links.
func (l *looker) state(rel string) (protocol.Stat, error) {
	if l.via == nil {
		return lstat(joinPath(l.root, rel))
	}
	return l.via.state(rel)
}

// leaf reports whether a state is that of something that is one object: a file, or a link that is stored.
func (l *looker) leaf(st protocol.Stat) bool { return st.IsFile() || st.IsLink() && l.via.stored() }

// lstat returns the state of what lies at a path.
func lstat(path string) (protocol.Stat, error) { return beneath.LstatPath(path) }

// lstatRoot returns the state of the root, following a link.
func lstatRoot(root string) (protocol.Stat, error) {
	d, st, err := openDir(root, "")
	if err != nil {
		return protocol.Stat{}, err
	}
	d.Close()
	return st, nil
}

// dirOf returns the path of the folder above rel, and whether that is another one than the root.
func dirOf(rel string) (dir string, nested bool) {
	if i := strings.LastIndexByte(rel, '/'); i >= 0 {
		return rel[:i], true
	}
	return "", false
}

// sameState compares the state in a row with that on disk.
type sameState uint8

const (
	differs    sameState = iota
	renumbered           // the same file; its device has another number now
	same
)

// compare tells whether what a row was made from is what lies at its path now.
func (f *Feeder) compare(row *protocol.Entry, rel string, st protocol.Stat) sameState {
	switch {
	case row == nil || !f.isPath(row.Source, rel):
		return differs
	case st.IsFolder():
		if row.Verb == protocol.Mkd && row.SameAttributes(st) {
			return same
		}
	case row.Verb != protocol.Upl:
	case row.Stat == st:
		return same
	case row.CTime != 0 && row.Dev != st.Dev:
		moved := row.Stat
		moved.Dev = st.Dev
		// An inode number, a size and two times to the nanosecond that are all equal: nobody has touched the file, only
		// the device was given another number, as happens at a reboot.
		if moved == st {
			return renumbered
		}
	}
	return differs
}

// denied classifies an error of the file system as a reason for the list of failures.
func denied(op, path string, err error) *protocol.Error {
	kind, hint := protocol.KindLocal, ""
	if hopeless(err) {
		kind = protocol.KindItem
	}
	if errors.Is(err, os.ErrPermission) {
		hint = "give the agent the right to read it"
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return &protocol.Error{Op: op, Object: display(path), Kind: kind, Hint: hint, Err: err}
}
