package worker

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"

	"s3apu/internal/beneath"
	"s3apu/protocol"
)

// Values of [Folder.Links].
const (
	LinksSkip   = "skip"   // a symbolic link is nothing
	LinksFollow = "follow" // it stands for what it leads to, inside the folder
	LinksStore  = "store"  // it is an object of its own whose body is its target
)

// Folder is a watched folder, as far as the reading of its files needs it.
type Folder struct {
	Path   string // absolute; a link is followed here, and only here
	Prefix string // of the keys, without a slash at the end; may be empty
	Links  string // what a symbolic link in it means; "" is "skip"
	Keep   bool   // no hint deletes anything of it

	// Unresting reports that the file at rel, which is never at rest, may be uploaded as far as it has grown. Nil: no
	// file may.
	Unresting func(rel string) bool
}

// spot is where a source lies: a name in a folder that was opened without following a link below its root.
type spot struct {
	dir    *beneath.Dir
	name   string
	path   string  // as the instruction names it
	rel    string  // below folder.Path, as the instruction names it
	folder *Folder // nil: the instruction does not come from watching
}

// at opens the folder in which the source of an instruction lies. For a hint that is below its watched folder, by the rule
// that the folder has for links. Everything else must lie below one of the Sources once the links on the way are followed, as the one
// who named it could have done.
func (c *Config) at(key protocol.Key, source string, hint bool) (*spot, *protocol.Error) {
	s := &spot{path: source}
	var err error
	if folder, rel := c.folderOf(key, source); hint && folder != nil {
		s.folder, s.rel = folder, rel
		if folder.Links == LinksFollow {
			rel, err = beneath.Resolve(folder.Path, rel)
		}
		var parent string
		if parent, s.name = beneath.Split(rel); err == nil { // what was resolved is not believed: a link on that way is an error
			s.dir, err = beneath.At(folder.Path, parent)
		}
	} else {
		s.dir, s.name, err = c.find(source)
	}
	if err != nil {
		return nil, s.refused(err)
	}
	return s, nil
}

// refused classifies an error on the way to the source. Where links are objects of their own, a link on the way means
// that there is no folder, so nothing below it.
func (s *spot) refused(err error) *protocol.Error {
	e := fileError(s.path, err)
	if linked(e) && s.folder != nil && s.folder.Links == LinksStore {
		e.Kind = protocol.KindVanished
	}
	return e
}

// unresting reports whether the file may be uploaded although it is being written.
func (s *spot) unresting() bool {
	return s.folder != nil && s.folder.Unresting != nil && s.folder.Unresting(s.rel)
}

// stored reports whether the state is that of a link that is an object of its own.
func (s *spot) stored(st protocol.Stat) bool {
	return st.IsLink() && s.folder != nil && s.folder.Links == LinksStore
}

// folderOf returns the watched folder that makes key of source, and where source lies in it; nil: none.
func (c *Config) folderOf(key protocol.Key, source string) (*Folder, string) {
	name := strings.TrimSuffix(string(key), "/")
	for i := range c.Folders {
		f := &c.Folders[i]
		want := name
		if f.Prefix != "" {
			var ok bool
			if want, ok = strings.CutPrefix(name, f.Prefix+"/"); !ok {
				continue
			}
		}
		if rel, ok := beneath.Rel(f.Path, source); ok && rel == want && rel != "" {
			return f, rel
		}
	}
	return nil, ""
}

// keeps reports whether nothing is deleted of the watched folder that makes key of source.
func (c *Config) keeps(key protocol.Key, source string) bool {
	folder, _ := c.folderOf(key, source)
	return folder != nil && folder.Keep
}

// sourceOf returns the path that a hint is about: of a delete, which names none, the one from which its key is made. Empty:
// no watched folder makes such a key.
func (c *Config) sourceOf(d *protocol.Delivery) string {
	if d.Source != "" {
		return d.Source
	}
	name := strings.TrimSuffix(string(d.Key), "/")
	for i := range c.Folders {
		f := &c.Folders[i]
		if f.Prefix == "" {
			return filepath.Join(f.Path, filepath.FromSlash(name))
		}
		if rel, ok := strings.CutPrefix(name, f.Prefix+"/"); ok {
			return filepath.Join(f.Path, filepath.FromSlash(rel))
		}
	}
	return ""
}

// find opens the folder of a named source.
func (c *Config) find(source string) (*beneath.Dir, string, error) {
	roots := c.Sources
	if roots == nil {
		roots = []string{filepath.VolumeName(source) + string(filepath.Separator)}
	}
	d, name, err := beneath.Find(roots, source)
	if err == nil && d.Virtual() {
		d.Close()
		err = beneath.ErrNotRegular
	}
	return d, name, err
}

func (s *spot) close() { s.dir.Close() }

// lstat returns the state of the source itself.
func (s *spot) lstat() (protocol.Stat, *protocol.Error) {
	st, err := s.dir.Lstat(s.name)
	if err != nil {
		return st, s.refused(err)
	}
	return st, nil
}

// stateOf returns the state of the source of an instruction.
func (c *Config) stateOf(key protocol.Key, source string, hint bool) (protocol.Stat, *protocol.Error) {
	at, e := c.at(key, source, hint)
	if e != nil {
		return protocol.Stat{}, e
	}
	defer at.close()
	return at.lstat()
}

// linked reports whether e says that a link keeps the source from being reached.
func linked(e *protocol.Error) bool {
	for _, err := range []error{syscall.ELOOP, beneath.ErrOutside, beneath.ErrLoop, beneath.ErrNested} {
		if errors.Is(e.Err, err) {
			return true
		}
	}
	return false
}
