package protocol

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// rootAge is how old the resolved form of a root may be. A guess: short for a person who moves a link, long against
// the cost of resolving the root once more for every instruction.
const rootAge = time.Second

// maxLinks is how many links the last component of a source may lead through: the limit of Linux (path_resolution(7)).
const maxLinks = 40

// Sources is the rule for the sources of uploads ([Server.Sources]): a source must be an absolute path that lies at or
// below one of some folders, the roots, once all links are followed, in the path and in the root. The last component may be
// missing, since it is the worker that looks for the file; everything before it must be there. A ".." is refused before
// the disk is asked.
//
// The check is of the moment: a link may be changed before the file is read, and whoever reads it must follow links
// with the same care. A root that does not exist has nothing below it. It may be used from many goroutines at the same
// time; its errors say which rule refused the path.
type Sources struct{ roots []*sourceRoot }

// NewSources makes the rule for some roots.
func NewSources(roots []string) *Sources {
	s := &Sources{make([]*sourceRoot, len(roots))}
	for i, r := range roots {
		s.roots[i] = &sourceRoot{path: r}
	}
	return s
}

// SourcePolicy returns the method Check of [NewSources] for some roots, as [Server.CheckSource] takes it.
func SourcePolicy(roots []string) func(path string) error { return NewSources(roots).Check }

// Check says why no client may name this path, or nil.
func (s *Sources) Check(path string) error {
	var g glance
	defer g.end()
	return s.check(path, &g)
}

// check is Check for one of several paths that were named together, which share g.
func (s *Sources) check(path string, g *glance) error {
	if !filepath.IsAbs(path) {
		return errors.New("the source is not an absolute path of this system")
	}
	for seg := range strings.SplitSeq(filepath.ToSlash(path), "/") {
		if seg == ".." {
			return errors.New(`the source holds a ".." segment`)
		}
	}
	if strings.IndexByte(path, 0) >= 0 {
		return errors.New("the source holds a NUL byte")
	}
	if len(s.roots) == 0 {
		return errors.New("no folder is open to clients: neither watched folders nor allow_sources")
	}
	real := filepath.Clean(path)
	if !g.straight(real) {
		var err error
		if real, err = resolve(path); err != nil {
			return err
		}
	}
	for _, r := range s.roots {
		if r.holds(real) {
			return nil
		}
	}
	if real != filepath.Clean(path) {
		return fmt.Errorf("the source leads to %s, outside of every watched folder and allow_sources", real)
	}
	return errors.New("the source is outside of every watched folder and allow_sources")
}

// resolve follows all links of path. The last component, or what it points to, may be missing.
func resolve(path string) (string, error) {
	path = filepath.Clean(path)
	for range maxLinks {
		folder, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", fmt.Errorf("the folder of the source cannot be resolved: %w", err)
		}
		path = filepath.Join(folder, filepath.Base(path))
		st, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return path, nil
		case err != nil:
			return "", fmt.Errorf("the source cannot be resolved: %w", err)
		case st.Mode()&fs.ModeSymlink == 0:
			return path, nil
		}
		to, err := os.Readlink(path)
		if err != nil {
			return "", fmt.Errorf("the source cannot be resolved: %w", err)
		}
		if !filepath.IsAbs(to) {
			// Not filepath.Join, which would drop a ".." together with a link before it.
			to = folder + string(filepath.Separator) + to
		}
		if path, err = splitResolve(to); err != nil {
			return "", err
		}
	}
	return "", errors.New("the source leads through too many links")
}

// splitResolve resolves the folder of a link's target before the path is cleaned, so that "link/../x" means what it
// means to the system.
func splitResolve(target string) (string, error) {
	target = strings.TrimRight(target, string(filepath.Separator))
	folder, last := filepath.Split(target)
	if last == "" || last == "." || last == ".." {
		full, err := filepath.EvalSymlinks(target + string(filepath.Separator))
		if err != nil {
			return "", fmt.Errorf("the source cannot be resolved: %w", err)
		}
		return full, nil
	}
	folder, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return "", fmt.Errorf("the folder of the source cannot be resolved: %w", err)
	}
	return filepath.Join(folder, last), nil
}

// sourceRoot is a folder below which sources may lie, and what it resolves to.
type sourceRoot struct {
	path string

	mu   sync.Mutex
	real string // "" while it cannot be resolved
	at   time.Time
}

// holds reports whether the resolved path lies at or below r.
func (r *sourceRoot) holds(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at.IsZero() || time.Since(r.at) > rootAge {
		r.real, r.at = "", time.Now()
		if abs, err := filepath.Abs(r.path); err == nil {
			if real, err := filepath.EvalSymlinks(abs); err == nil {
				r.real = real
			}
		}
	}
	if r.real == "" {
		return false
	}
	if path == r.real {
		return true
	}
	below := r.real
	if !strings.HasSuffix(below, string(filepath.Separator)) {
		below += string(filepath.Separator)
	}
	return strings.HasPrefix(path, below)
}
