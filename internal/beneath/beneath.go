package beneath

import (
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"s3apu/protocol"
)

// ErrNotRegular says that what was to be opened is no regular file: a folder, a FIFO, a socket or a device.
var ErrNotRegular = errors.New("it is not a regular file")

// Lstat returns the state of what lies at rel below root, a link at the end not followed. rel is separated by slashes;
// "" is the root.
func Lstat(root, rel string) (protocol.Stat, error) {
	d, err := At(root, parent(rel))
	if err != nil {
		return protocol.Stat{}, err
	}
	defer d.Close()
	return d.Lstat(lastOf(rel))
}

// Open opens the regular file at rel below root for reading, without waiting for anything.
func Open(root, rel string) (*File, error) {
	d, err := At(root, parent(rel))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Open(base(rel))
}

// Split cuts rel into the folder, "" for the root, and the name in it, "." for the root itself.
func Split(rel string) (folder, name string) { return parent(rel), lastOf(rel) }

func parent(rel string) string {
	if i := strings.LastIndexByte(rel, '/'); i >= 0 {
		return rel[:i]
	}
	return ""
}

func base(rel string) string { return rel[strings.LastIndexByte(rel, '/')+1:] }

// Rel returns path below root, separated by slashes, by the text of the two alone. ok is false if it lies elsewhere.
func Rel(root, path string) (rel string, ok bool) {
	root, path = filepath.Clean(root), filepath.Clean(path)
	if path == root {
		return "", true
	}
	if !strings.HasSuffix(root, string(filepath.Separator)) {
		root += string(filepath.Separator)
	}
	rel, ok = strings.CutPrefix(path, root)
	return filepath.ToSlash(rel), ok
}

// Find opens the folder in which path lies, if that is below one of the roots once every link on the way is followed, in
// the path and in the roots; a link as the last component is not. It is for paths that somebody else has named: what is
// opened is link-free below the root that was found, so that a link which is changed meanwhile leads to an error and
// nowhere else. name is the last component, "." for a root itself. The error is [ErrOutside] or one of the file system.
func Find(roots []string, path string) (d *Dir, name string, err error) {
	path = filepath.Clean(path)
	for _, r := range roots { // without a link on the way there is nothing to follow
		if rel, ok := Rel(r, path); ok {
			if d, err := At(r, parent(rel)); err == nil {
				return d, lastOf(rel), nil
			}
		}
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return nil, "", err
	}
	real := filepath.Join(folder, filepath.Base(path))
	for _, r := range roots {
		at, err := filepath.EvalSymlinks(r)
		if err != nil {
			continue // a root that is not there has nothing below it
		}
		if rel, ok := Rel(at, real); ok {
			d, err := At(at, parent(rel))
			return d, lastOf(rel), err
		}
	}
	return nil, "", &fs.PathError{Op: "find", Path: path, Err: ErrOutside}
}

// lastOf is the last name of rel, "." for the root.
func lastOf(rel string) string {
	if rel == "" {
		return "."
	}
	return base(rel)
}

// Why a link is not followed, and a path not found below any root.
var (
	ErrOutside = errors.New("it lies, or leads, outside of the folder")
	ErrLoop    = errors.New("the link leads back to itself or to a folder that it lies in")
	ErrNested  = errors.New("the link lies behind another link, and only one is followed")
)

// maxHops is how many links a link may lead through: the limit of Linux (path_resolution(7)).
const maxHops = 40

// Resolve follows the links in rel and returns the real path below root of what it stands for. One component of rel
// itself may be a link; that may lead through others, at most 40. A link never leads out: neither by its text (a target
// that is absolute must begin with the path of the root, as given or with its own links followed) nor by "..".
//
// The error is [ErrOutside], [ErrLoop] or [ErrNested] for a link that is not followed, fs.ErrNotExist if it dangles, or
// one of the file system.
func Resolve(root, rel string) (string, error) {
	fail := func(err error) (string, error) {
		return "", &fs.PathError{Op: "follow", Path: join(root, rel), Err: err}
	}
	at, followed := "", false
	for _, name := range strings.Split(rel, "/") {
		here := slash(at, name)
		st, err := Lstat(root, here)
		switch {
		case err != nil:
			return "", err
		case !st.IsLink():
			at = here
			continue
		case followed:
			return fail(ErrNested)
		}
		followed = true
		to, st, err := chase(root, here)
		if err != nil {
			return fail(err)
		}
		if st.IsFolder() && (to == "" || at == to || strings.HasPrefix(at, to+"/")) {
			return fail(ErrLoop)
		}
		at = to
	}
	return at, nil
}

// Leads returns where rel leads below root once every link on its way is followed, also if nothing lies there: what is
// missing is taken as it is written. Empty: out of the root, in a circle, or it cannot be told.
func Leads(root, rel string) string {
	to, _, err := chase(root, rel)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return ""
	}
	if to = path.Clean(to); !filepath.IsLocal(to) || to == "." {
		return ""
	}
	return to
}

// chase follows the link at here, and every link that it leads through. With an error it returns what it was about to look
// at, and what would have followed.
func chase(root, here string) (string, protocol.Stat, error) {
	at, todo := "", strings.Split(here, "/")
	var st protocol.Stat
	for hops := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if at == "" {
				return "", st, ErrOutside
			}
			at = parent(at)
			continue
		}
		var err error
		if st, err = Lstat(root, slash(at, name)); err != nil {
			return strings.Join(append([]string{slash(at, name)}, todo...), "/"), st, plainError(err)
		}
		if !st.IsLink() {
			at = slash(at, name)
			continue
		}
		if hops++; hops > maxHops {
			return "", st, ErrLoop
		}
		target, err := readlink(root, slash(at, name))
		if err != nil {
			return "", st, plainError(err)
		}
		if filepath.IsAbs(target) {
			rest, ok := below(root, target)
			if !ok {
				return "", st, ErrOutside
			}
			at, target = "", rest
		}
		todo = append(strings.Split(filepath.ToSlash(target), "/"), todo...)
	}
	st, err := Lstat(root, at)
	return at, st, plainError(err)
}

// below returns what an absolute target is below root. It is not cleaned, for "link/.." is not nothing.
func below(root, target string) (string, bool) {
	roots := []string{filepath.Clean(root)}
	if real, err := filepath.EvalSymlinks(root); err == nil && real != roots[0] {
		roots = append(roots, real)
	}
	for _, r := range roots {
		if target == r {
			return "", true
		}
		if rest, ok := strings.CutPrefix(target, strings.TrimSuffix(r, string(filepath.Separator))+string(filepath.Separator)); ok {
			return rest, true
		}
	}
	return "", false
}

func readlink(root, rel string) (string, error) {
	d, err := At(root, parent(rel))
	if err != nil {
		return "", err
	}
	defer d.Close()
	return d.Readlink(base(rel))
}

// plainError is the cause of an error about a path that somebody else names.
func plainError(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func slash(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}

// join is the path of rel on disk, for messages and where the system has nothing better.
func join(root, rel string) string { return filepath.Join(root, filepath.FromSlash(rel)) }

// cut takes the first name off a path; more says that there are others.
func cut(rel string) (name, rest string, more bool) { return strings.Cut(rel, "/") }

// regular returns why what has this state is not opened.
func regular(st protocol.Stat) error {
	switch {
	case st.IsFile():
		return nil
	case st.IsLink():
		return syscall.ELOOP
	}
	return ErrNotRegular
}

// proper reports whether rel can be a path below a root: names separated by single slashes, none of them "." or "..".
func proper(rel string) error {
	for name := range strings.SplitSeq(rel, "/") {
		if name == "" || name == "." || name == ".." {
			return syscall.EINVAL
		}
	}
	return nil
}
