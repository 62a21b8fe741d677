//go:build linux

package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// follower says what a tree should be in the bucket when its symbolic links are followed. It resolves them component by component,
// with nothing of the agent's.
type follower struct {
	root string
	want map[string]entry // by path below the root; folders with a slash at their end

	// open are the links that are not followed, for they lead out, back to a folder that they lie in, or lie behind another
	// one. What was at and below their names before stays, so anything may be there.
	open []string
}

// mostLinks is how many links one name may lead through (path_resolution(7)).
const mostLinks = 40

var (
	errDangling = errors.New("the link dangles")
	errAstray   = errors.New("the link is not followed")
)

// link enters what the link at rel stands for, which lies in a folder without links on the way.
func (f *follower) link(rel string) error {
	real, err := f.resolve(rel)
	switch {
	case errors.Is(err, errDangling):
		return nil
	case errors.Is(err, errAstray):
		f.open = append(f.open, rel)
		return nil
	case err != nil:
		return err
	}
	return filepath.WalkDir(filepath.Join(f.root, real), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(filepath.Join(f.root, real), path)
		if err != nil {
			return err
		}
		name := filepath.Join(rel, below)
		if d.Type()&fs.ModeSymlink != 0 {
			f.open = append(f.open, name)
			return nil
		}
		return f.enter(name, path)
	})
}

// enter is about a file or folder that lies at path.
func (f *follower) enter(name, path string) error {
	var e entry
	if err := syscall.Lstat(path, &e.stat); err != nil {
		return err
	}
	var err error
	switch e.stat.Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		e.md5, err = sum(strings.NewReader(""))
		f.want[name+"/"] = e
	case syscall.S_IFREG:
		e.size = e.stat.Size
		e.md5, err = sumFile(path)
		f.want[name] = e
	}
	return err
}

// resolve returns the path below the root that the link at rel leads to in the end.
func (f *follower) resolve(rel string) (string, error) {
	at, rest := "", rel
	for links := 0; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			if at == "" {
				return "", errAstray
			}
			if at = filepath.Dir(at); at == "." {
				at = ""
			}
			continue
		}
		next := filepath.Join(at, name)
		st, err := os.Lstat(filepath.Join(f.root, next))
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
			return "", errDangling
		case err != nil:
			return "", err
		case st.Mode()&fs.ModeSymlink == 0:
			if !st.IsDir() && rest != "" {
				return "", errDangling
			}
			at = next
			continue
		}
		if links++; links > mostLinks {
			return "", errAstray
		}
		to, err := os.Readlink(filepath.Join(f.root, next))
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(to) {
			below, ok := strings.CutPrefix(to+"/", f.root+"/")
			if !ok {
				return "", errAstray
			}
			at, to = "", below
		}
		rest = strings.Trim(strings.Trim(to, "/")+"/"+rest, "/")
	}
	if at == "" || strings.HasPrefix(rel, at+"/") {
		return "", errAstray // a folder that it lies in
	}
	return at, nil
}

// leaves reports whether the link at an open path leaves it to chance what is at key, which is a path below the root.
func (f *follower) leaves(key string) bool {
	for _, at := range f.open {
		if key == at || strings.HasPrefix(key, at+"/") {
			return true
		}
	}
	return false
}

// followed returns what the tree should be in the bucket, by key, and what may be there or not.
func followed(root, prefix string) (want map[string]entry, open func(key string) bool, err error) {
	f := &follower{root: root, want: map[string]entry{}}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			return f.link(rel)
		}
		return f.enter(rel, path)
	})
	want = map[string]entry{}
	for rel, e := range f.want {
		want[strings.TrimPrefix(prefix+"/"+rel, "/")] = e
	}
	return want, func(key string) bool { return f.leaves(strings.TrimPrefix(key, prefix+"/")) }, err
}
