package feeder

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"s3apu/internal/mounts"
)

// Seam is a place below the root where something is mounted, as it was when a scan of everything last agreed with it.
type Seam struct {
	Path     string          `json:"path"`     // below the root, with slashes
	Identity mounts.Identity `json:"identity"` // of what is mounted; empty: nothing is any more

	// Doubt says that what lies there was taken for ours although it is another folder than before: until the next scan
	// of it has ended, deletes below it are put as held.
	Doubt bool `json:"doubt,omitempty"`
}

// Frozen is a folder below which nothing is deleted, because something else is mounted there than before.
type Frozen struct {
	Path  string
	Why   string
	Since time.Time
	Kept  int64 // objects whose files the last scan has missed there
}

// seams knows what is mounted below the root, and what was when all was well. That the kernel's table is read, and no
// device compared, also finds a folder of the same file system that is mounted (mount(8), --bind).
type seams struct {
	root string
	log  *slog.Logger
	look func() (map[string]mounts.Identity, error) // what is mounted now, by path below the root

	table mounts.Reader // from which mounted knows it

	// fresh is held from a look at the table until what follows from it is entered: an older picture never takes the place
	// of a newer one. It is taken before mu.
	fresh sync.Mutex

	mu      sync.Mutex
	blind   bool // there is no table on this system
	known   bool // was says something
	was     map[string]Seam
	changed map[string]*change
}

// change is a seam that is not what it was.
type change struct {
	Frozen
	gone bool            // nothing lies at the path, not even a folder
	now  mounts.Identity // empty: nothing is mounted
}

func newSeams(root string, was []Seam, known bool, log *slog.Logger) *seams {
	s := &seams{root: root, log: log, known: known, was: map[string]Seam{}, changed: map[string]*change{}}
	for _, w := range was {
		s.was[w.Path] = w
	}
	s.look = s.mounted
	if _, err := s.table.Table(); err != nil {
		s.blind = true
		if !errors.Is(err, errors.ErrUnsupported) {
			log.Warn("mounts below the folder can be told by their device numbers only", "err", err)
		}
	}
	return s
}

// recall takes the place of what newSeams was told.
func (s *seams) recall(was []Seam) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = was != nil
	s.was = map[string]Seam{}
	for _, w := range was {
		s.was[w.Path] = w
	}
}

// mounted reads the table. A mount that lies hidden below another one is left out.
func (s *seams) mounted() (map[string]mounts.Identity, error) {
	table, err := s.table.Table()
	if err != nil {
		return nil, err
	}
	root, err := filepath.EvalSymlinks(s.root)
	if err != nil {
		return nil, err
	}
	now := map[string]mounts.Identity{}
	for rel, m := range mounts.Below(table, root) {
		if mounts.Remote(m.FS) { // its server may be dead, and who asks it then waits for ever
			now[rel] = mounts.Named(m)
			continue
		}
		id, on, err := mounts.Identify(joinPath(root, rel), false)
		switch {
		case errors.Is(err, fs.ErrNotExist) || err == nil && on != 0 && on != m.ID:
		case err != nil: // it is there and cannot be looked at: not what it was
			now[rel] = "?"
		default:
			now[rel] = id
		}
	}
	return now, nil
}

// refresh compares what is mounted now with what was, and says so when that has changed. The error is of the table.
func (s *seams) refresh() error {
	if s.blind {
		return nil
	}
	s.fresh.Lock()
	defer s.fresh.Unlock()
	return s.compare()
}

// compare is refresh for who holds fresh.
func (s *seams) compare() error {
	now, err := s.look()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known {
		return nil
	}
	found := map[string]*change{}
	for rel, id := range now {
		if w := s.was[rel]; !mounts.Same(w.Identity, id) {
			why := "something else is mounted there than before"
			if w.Identity == "" {
				why = "something is mounted there that was not"
			}
			found[rel] = &change{Frozen: Frozen{Path: rel, Why: why}, now: id}
		}
	}
	for rel, w := range s.was {
		if _, ok := now[rel]; ok || w.Identity == "" {
			continue
		}
		c := &change{Frozen: Frozen{Path: rel, Why: "what was mounted there is not"}}
		if _, err := os.Lstat(joinPath(s.root, rel)); missing(err) {
			c.gone, c.Why = true, "it was a mounted folder, and is gone"
		}
		found[rel] = c
	}
	s.enter(found)
	return nil
}

// enter replaces the changes by those found now. The lock is held.
func (s *seams) enter(found map[string]*change) {
	for _, rel := range slices.Sorted(maps.Keys(found)) {
		c := found[rel]
		if old := s.changed[rel]; old != nil {
			c.Since, c.Kept = old.Since, old.Kept
			continue
		}
		c.Since = time.Now()
		if c.gone {
			s.log.Warn("a mounted folder is gone: deletes below it wait for a person", "path", rel)
		} else {
			s.log.Warn("nothing below this folder is deleted until what was mounted is back", "path", rel, "err", c.Why)
		}
	}
	for rel := range s.changed {
		if found[rel] == nil {
			s.log.Info("the mounted folder is what it was; deletes below it are judged again", "path", rel)
		}
	}
	s.changed = found
}

const whyMounted = "something else is mounted than when they were uploaded, or its place is gone"

// verdict is what a seam says about a delete.
type verdict uint8

const (
	free   verdict = iota
	doubt          // a person decides
	frozen         // it is left out
)

// judge says what the seams have to say about a delete at rel, as the last refresh found them.
func (s *seams) judge(rel string) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	says := free
	for at, c := range s.changed {
		switch {
		case c.gone && (rel == at || isBelow(rel, at)):
			says = max(says, doubt)
		case !c.gone && isBelow(rel, at):
			says = frozen
		}
	}
	for at, w := range s.was {
		if w.Doubt && isBelow(rel, at) {
			says = max(says, doubt)
		}
	}
	return says
}

func isBelow(rel, folder string) bool {
	return len(rel) > len(folder) && rel[len(folder)] == '/' && rel[:len(folder)] == folder
}

// any reports whether judge says anything but free of some path.
func (s *seams) any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.changed) > 0 {
		return true
	}
	for _, w := range s.was {
		if w.Doubt {
			return true
		}
	}
	return false
}

// list returns what is frozen, for people.
func (s *seams) list() []Frozen {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Frozen
	for _, rel := range slices.Sorted(maps.Keys(s.changed)) {
		all = append(all, s.changed[rel].Frozen)
	}
	return all
}

// memory returns what is to be kept across restarts; known is false before the first scan of everything has ended.
func (s *seams) memory() (was []Seam, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rel := range slices.Sorted(maps.Keys(s.was)) {
		was = append(was, s.was[rel])
	}
	return was, s.known
}

// survey is what a scan finds out about the seams inside of what it compares.
type survey struct {
	of    *seams
	from  string // the folder that is compared
	begun map[string]*tally
}

// tally counts below one seam.
type tally struct {
	now                  mounts.Identity
	doubt                bool // it was in doubt, and is what it was
	owned, equal, missed int64
}

// survey begins one at the start of a deep scan of from, after a refresh.
func (s *seams) survey(from string) *survey {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &survey{of: s, from: from, begun: map[string]*tally{}}
	inside := func(rel string) bool { return from == "" || rel == from || isBelow(rel, from) }
	for rel, w := range s.was {
		if w.Doubt && s.changed[rel] == nil && inside(rel) {
			v.begun[rel] = &tally{now: w.Identity, doubt: true}
		}
	}
	for rel, c := range s.changed {
		if inside(rel) {
			v.begun[rel] = &tally{now: c.now}
		}
	}
	return v
}

// met counts a row below the seams: equal says that its file was found unchanged.
func (v *survey) met(rel string, equal bool) {
	v.above(rel, func(t *tally) {
		if equal {
			t.equal++
		} else {
			t.owned++
		}
	})
}

// lost counts a row that was met, whose file is not there.
func (v *survey) lost(rel string) { v.above(rel, func(t *tally) { t.missed++ }) }

// above calls do for every seam above rel.
func (v *survey) above(rel string, do func(*tally)) {
	if v == nil {
		return
	}
	for at, t := range v.begun {
		if isBelow(rel, at) {
			do(t)
		}
	}
}

// end takes what lies at a seam for ours if files that were uploaded before were found in it, if nothing of ours was ever
// below it, or if the folder itself is gone and a person was asked. A scan of everything settles what is mounted for the
// first time. Call it when the scan has ended well.
func (v *survey) end(all bool) error {
	s := v.of
	if s.blind {
		return nil
	}
	s.fresh.Lock()
	defer s.fresh.Unlock()
	now, err := s.look()
	if err != nil {
		return err
	}
	s.mu.Lock()
	if !s.known && all {
		s.known = true
		for rel, id := range now {
			s.was[rel] = Seam{Path: rel, Identity: id}
		}
	}
	for rel, t := range v.begun {
		c := s.changed[rel]
		if c != nil {
			c.Kept = t.missed
		}
		switch {
		case now[rel] != t.now: // it changed again meanwhile
		case t.doubt:
			s.settle(Seam{Path: rel, Identity: t.now})
		case c != nil && (t.owned == 0 || t.equal > 0 || c.gone):
			s.settle(Seam{Path: rel, Identity: t.now, Doubt: t.missed > 0 && !c.gone})
			delete(s.changed, rel)
			if t.owned > 0 {
				s.log.Warn("another folder is mounted there from now on; what is missing in it waits for a person", "path", rel)
			}
		}
	}
	s.mu.Unlock()
	return s.compare()
}

// settle remembers a seam, or forgets one that is none any more. The lock is held.
func (s *seams) settle(w Seam) {
	if w.Identity == "" && !w.Doubt {
		delete(s.was, w.Path)
		return
	}
	s.was[w.Path] = w
}
