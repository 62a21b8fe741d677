package feeder

import (
	"context"
	"slices"
	"strings"

	"s3apu/protocol"
)

// entry is a name in a folder. A million of them take about 70 bytes each plus the name.
type entry struct {
	name string
	kind entryKind
}

type entryKind uint8

const (
	fileEntry    entryKind = iota
	folderEntry            // sorts, and is visited, as "name/"
	folderObject           // plain layout: the same folder once more, where its object's key "name" sorts
	linkEntry              // a symbolic link whose rule is not applied yet
	specialEntry           // a FIFO, socket or device, or a link that is nothing
	astrayEntry            // a link that is to be followed and cannot be
)

// kindOf returns the kind of an entry in that state.
func kindOf(st protocol.Stat) entryKind {
	switch {
	case st.IsFile():
		return fileEntry
	case st.IsFolder():
		return folderEntry
	case st.IsLink():
		return linkEntry
	}
	return specialEntry
}

// kind says what a walk has found.
type kind uint8

const (
	aFile   kind = iota
	aFolder      // at the key of its object; in the layout without objects at "dir/"
	inside       // plain layout only: "dir/", below which the folder's entries follow
	special      // a FIFO, socket or device, or a link that is nothing
	astray       // a link that is to be followed and cannot be
	odd          // its name cannot be a key; what is below it is not visited
	blind        // a folder that cannot be read; what is below it is not visited
	unseen       // lstat failed
	swapped      // it was something else when the folder was read
)

// found is one step of a walk.
type found struct {
	kind kind
	key  string        // where it sorts: the object's key, not valid if odd
	rel  string        // the path below the root
	stat protocol.Stat // of aFile, aFolder and blind
	dev  uint64        // the device of the folder that it lies in
	via  bool          // it is a link that was followed
	err  error         // of odd, blind, unseen and astray
}

// walker visits what lies below a root in the order of the keys, one folder's names a level in memory.
type walker struct {
	root   string
	prefix string // of the keys, with a slash at the end or empty
	layout layout
	links  *links // the rule for symbolic links; nil: they are nothing

	// match is safe for concurrent use: see bothEnds.
	match func(rel string, folder bool) bool
	visit func(*found) error // an error ends the walk; what it is given is good until it returns
	step  found
	far   []found // of bothEnds, runMost; nil: there was none yet
}

// say visits one step.
func (w *walker) say(f found) error {
	w.step = f
	return w.visit(&w.step)
}

// walk visits everything below the folder rel, not the folder itself: levels of names, 0 all. An error is that of the
// context, of visit, or of opening the folder.
func (w *walker) walk(ctx context.Context, rel string, levels int) error {
	real, err := w.links.real(rel)
	if err != nil {
		return err
	}
	d, _, err := openDir(w.root, real)
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.read(ctx)
	if err != nil {
		return err
	}
	at := w.prefix
	if rel != "" {
		at += rel + "/"
	}
	return w.level(ctx, d, names, at, levels)
}

// level visits the entries of one folder; at is the folder's key with a slash.
func (w *walker) level(ctx context.Context, d *dir, names []entry, at string, levels int) error {
	w.links.apply(names, at[len(w.prefix):])
	names = sortNames(names, w.layout)
	for len(names) > 0 {
		var err error
		n := runOf(names)
		if n >= runLeast {
			err = w.bothEnds(ctx, d, names[:n], at)
		} else {
			n = max(n, 1)
			err = w.entries(ctx, d, names[:n], at, levels)
		}
		if err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}

// entries visits entries of one folder, one after the other.
func (w *walker) entries(ctx context.Context, d *dir, names []entry, at string, levels int) error {
	for _, e := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if e.kind == folderEntry || e.kind == folderObject {
			err = w.folder(ctx, d, e, at, levels)
		} else if w.look(d, e, at, &w.step) {
			err = w.visit(&w.step)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// look finds the step of what was not a folder when its folder was read, and reports whether there is one. Safe for
// concurrent use.
func (w *walker) look(d *dir, e entry, at string, f *found) bool {
	key := at + e.name
	*f = found{kind: aFile, key: key, rel: key[len(w.prefix):], dev: d.dev}
	switch {
	case !w.match(f.rel, false):
		return false
	case !okName(key, e.name):
		f.kind, f.err = odd, protocol.Key(key).Check()
		return true
	case e.kind == specialEntry:
		f.kind = special
		return true
	case e.kind == astrayEntry:
		f.kind = astray
		_, f.err = w.links.state(f.rel)
		return true
	}
	w.entry(d, e.name, f)
	switch {
	case missing(f.err):
		return false
	case f.err != nil:
		f.kind = unseen
	case f.stat.IsFolder():
		f.kind = swapped
	case !f.stat.IsFile() && (!f.stat.IsLink() || !w.links.stored()):
		f.kind = special
	}
	return true
}

// folder visits a sub-folder and, at its place in the order, what is in it.
func (w *walker) folder(ctx context.Context, d *dir, e entry, at string, levels int) error {
	key := at + e.name
	f := found{kind: aFolder, key: key, rel: key[len(w.prefix):], dev: d.dev}
	if !w.match(f.rel, true) {
		return nil
	}
	if !okName(key, e.name) {
		if e.kind == folderObject {
			return nil // it is said once, at the other
		}
		f.kind, f.key, f.err = odd, e.sortsAs(at), protocol.Key(key).Check()
		return w.say(f)
	}
	if e.kind == folderEntry {
		f.key += "/"
		if len(f.key) > protocol.MaxKeyBytes {
			f.kind, f.err = odd, protocol.ErrKeyLong
			return w.say(f)
		}
	}
	if levels == 1 {
		if w.entry(d, e.name, &f); f.err != nil {
			return w.unread(d, e, &f)
		}
		if !f.stat.IsFolder() {
			f.kind = swapped
		} else if w.layout == plain && e.kind == folderEntry {
			f.kind = inside
		}
		return w.say(f)
	}
	sub, st, err := w.enter(d, e.name, f.rel)
	if err != nil {
		f.err = err
		return w.unread(d, e, &f)
	}
	defer sub.Close()
	f.stat = st
	if e.kind == folderObject {
		return w.say(f)
	}
	names, err := sub.read(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.kind, f.err = blind, err
		return w.say(f)
	}
	if w.layout == plain {
		f.kind = inside
	}
	if err := w.say(f); err != nil {
		return err
	}
	return w.level(ctx, sub, names, f.key, max(levels-1, 0))
}

// entry finds the state of an entry, a link followed if that is the rule.
func (w *walker) entry(d *dir, name string, f *found) {
	if f.stat, f.err = d.Lstat(name); f.err == nil && f.stat.IsLink() && w.links.followed() {
		f.via = true
		f.stat, f.err = w.links.state(f.rel)
	}
}

// enter opens a sub-folder, or the one that a link stands for if that is the rule.
func (w *walker) enter(d *dir, name, rel string) (*dir, protocol.Stat, error) {
	sub, st, err := d.open(name)
	if err == nil || !replaced(err) || !w.links.followed() {
		return sub, st, err
	}
	real, e := w.links.real(rel)
	if e != nil || real == rel {
		return nil, st, err
	}
	return openDir(w.root, real)
}

// unread visits a folder that could not be opened or read, unless it is gone.
func (w *walker) unread(d *dir, e entry, f *found) error {
	switch {
	case replaced(f.err):
		f.kind = swapped
	case missing(f.err):
		return nil
	default:
		f.kind = blind
		if st, err := d.Lstat(e.name); err == nil {
			f.stat = st
		}
	}
	if w.layout == plain && e.kind == folderEntry && f.kind == blind {
		f.kind, f.err = inside, nil // said where its object sorts
	}
	return w.say(*f)
}

// sortNames puts the entries of a folder in the order of the keys below it: a folder sorts as if a slash were part of
// its name, so that "a-b" and "a.b" come before what is in "a", and "a0" behind it. In the plain layout, a folder
// stands in the list twice.
func sortNames(names []entry, lay layout) []entry {
	if lay == plain {
		for _, e := range names {
			if e.kind == folderEntry {
				names = append(names, entry{name: e.name, kind: folderObject})
			}
		}
	}
	slices.SortFunc(names, compareNames)
	return names
}

func compareNames(a, b entry) int {
	n := min(len(a.name), len(b.name))
	if c := strings.Compare(a.name[:n], b.name[:n]); c != 0 {
		return c
	}
	return a.byteAt(n) - b.byteAt(n)
}

// sortsAs returns where the entry sorts, in the folder with the key at.
func (e entry) sortsAs(at string) string {
	if e.kind == folderEntry {
		return at + e.name + "/"
	}
	return at + e.name
}

// byteAt returns the byte at n of the name as it sorts, -1 behind its end. A name holds no slash of its own.
func (e entry) byteAt(n int) int {
	switch {
	case n < len(e.name):
		return int(e.name[n])
	case n == len(e.name) && e.kind == folderEntry:
		return '/'
	}
	return -1
}
