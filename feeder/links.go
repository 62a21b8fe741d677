package feeder

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"

	"s3apu/internal/beneath"
	"s3apu/protocol"
)

// Values of [Folder.Links].
const (
	linksSkip   = "skip"
	linksFollow = "follow"
	linksStore  = "store"
)

// linksMost bounds how many links are remembered by what they lead to, and how many are said to lead astray, at some 200
// bytes each. Changes behind further ones are found by the next scan. A guess.
const linksMost = 10_000

// errExcluded says that a link leads to something that does not belong to the folder.
var errExcluded = errors.New("the link leads to what is excluded")

// links applies a folder's rule for symbolic links. With "follow" a link stands for what it leads to, as with stat(2): one
// that dangles is as good as missing. A link that leads out, back to a folder that it lies in, to something excluded, or
// lies behind another link (so that no cycle can grow) is nothing, and said once. Safe for concurrent use; nil is the rule "skip".
type links struct {
	root     string
	rule     string
	excluded func(rel string) bool
	log      *slog.Logger

	mu   sync.Mutex
	to   map[string][]string // what is followed, by the path that it leads to
	of   map[string]string   // and the other way round
	said map[string]error    // what leads astray

	refused int // how often there was no room to remember another
}

func newLinks(f *Folder, log *slog.Logger) (*links, error) {
	switch f.Links {
	case "", linksSkip, linksStore:
	case linksFollow:
		if f.Rescan == nil {
			return nil, errors.New("links are to be followed and nobody scans behind them")
		}
	default:
		return nil, errors.New(`symlinks is none of "skip", "follow", "store"`)
	}
	match := f.Match
	return &links{root: f.Root, rule: f.Links, log: log, to: map[string][]string{}, of: map[string]string{}, said: map[string]error{},
		excluded: func(rel string) bool {
			for i := range rel {
				if rel[i] == '/' && !match(rel[:i], true) {
					return true
				}
			}
			return !match(rel, true) // as of a folder: that is not included by name does not matter
		}}, nil
}

func (l *links) followed() bool { return l != nil && l.rule == linksFollow }
func (l *links) stored() bool   { return l != nil && l.rule == linksStore }

// state returns what lies at rel: of a link that is followed, what it leads to; of one that is not, the link.
func (l *links) state(rel string) (protocol.Stat, error) {
	if l.rule == linksStore {
		st, err := beneath.Lstat(l.root, rel)
		if errors.Is(err, syscall.ELOOP) { // a link on the way is an object, so nothing is below it
			err = &os.PathError{Op: "lstat", Path: joinPath(l.root, rel), Err: syscall.ENOTDIR}
		}
		return st, err
	}
	st, err := lstat(joinPath(l.root, rel))
	if l.rule != linksFollow {
		return st, err
	}
	if noLink(st, err) && l.remembers(rel) {
		l.drop(rel)
	}
	if err != nil || !st.IsLink() {
		return st, err
	}
	real, err := l.real(rel)
	if err == nil {
		l.learn(rel, real)
		return beneath.Lstat(l.root, real)
	}
	l.stray(rel, err)
	if astrayError(err) {
		return st, nil
	}
	return protocol.Stat{}, err
}

// remembers reports whether a link at rel is remembered, followed or not.
func (l *links) remembers(rel string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, followed := l.of[rel]
	_, astray := l.said[rel]
	return followed || astray
}

// real returns where rel really lies, as far as the rule follows links.
func (l *links) real(rel string) (string, error) {
	if !l.followed() || rel == "" {
		return rel, nil
	}
	real, err := beneath.Resolve(l.root, rel)
	if err == nil && real != rel && l.excluded(real) {
		err = &os.PathError{Op: "follow", Path: joinPath(l.root, rel), Err: errExcluded}
	}
	return real, err
}

// astrayError reports whether err is about a link that is there and not followed.
func astrayError(err error) bool {
	return slices.ContainsFunc([]error{beneath.ErrOutside, beneath.ErrLoop, beneath.ErrNested, errExcluded},
		func(e error) bool { return errors.Is(err, e) })
}

// apply turns the links among the entries of a folder into what they stand for; folder is its path below the root, with
// a slash at its end or empty.
func (l *links) apply(names []entry, folder string) {
	for i := range names {
		e := &names[i]
		switch {
		case e.kind != linkEntry:
		case l.stored():
			e.kind = fileEntry
		case !l.followed():
			e.kind = specialEntry
		default:
			st, err := l.state(folder + e.name)
			if e.kind = kindOf(st); err != nil || e.kind == linkEntry {
				e.kind = astrayEntry
			}
		}
	}
}

// learn remembers where a link leads, so that what changes there is also looked at under the name of the link.
func (l *links) learn(link, real string) {
	l.mu.Lock()
	delete(l.said, link)
	old, ok := l.of[link]
	if full := !ok && len(l.of) >= linksMost; full {
		l.mu.Unlock()
		l.tidy()
		return
	}
	defer l.mu.Unlock()
	if ok && old == real {
		return
	}
	l.forget(link, old)
	l.of[link] = real
	l.to[real] = append(l.to[real], link)
}

// forget drops what is remembered of a link. The lock is held.
func (l *links) forget(link, real string) {
	delete(l.of, link)
	left := slices.DeleteFunc(l.to[real], func(s string) bool { return s == link })
	if l.to[real] = left; len(left) == 0 {
		delete(l.to, real)
	}
}

// stray says once why a link is not followed. One that dangles is still remembered by where it led.
func (l *links) stray(link string, err error) {
	l.mu.Lock()
	was, known := l.said[link]
	full := !known && len(l.said) >= linksMost
	again := known && was.Error() == err.Error() || full
	if !again {
		l.said[link] = err
	}
	l.mu.Unlock()
	if full {
		l.tidy()
	}
	if !again {
		l.log.Warn("a symbolic link is not followed", "path", display(link), "err", err)
	}
}

// names returns under which names of followed links what lies at rel is reached, too.
func (l *links) names(rel string) []string {
	if !l.followed() || l.through(rel) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for at, more := rel, true; more && len(l.to) > 0; at, more = dirOf(at) {
		for _, link := range l.to[at] {
			if name := link + rel[len(at):]; name != rel {
				all = append(all, name)
			}
		}
	}
	return all
}

// through reports whether rel is, or leads through, a link that was followed and is still there. What is reached so has its
// other names already: they are those of what the link leads to, which is scanned by itself. Without this, two links that
// cross would have each scan add the next one for ever.
func (l *links) through(rel string) bool {
	for _, link := range l.on(rel) {
		if !noLink(lstat(joinPath(l.root, link))) {
			return true
		}
		l.drop(link)
	}
	return false
}

// on returns the followed links on the way to rel, as they are remembered.
func (l *links) on(rel string) (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at, more := rel, true; more && len(l.of) > 0; at, more = dirOf(at) {
		if _, ok := l.of[at]; ok {
			all = append(all, at)
		}
	}
	return all
}

// noLink reports whether what lstat has said is that there is no link.
func noLink(st protocol.Stat, err error) bool { return missing(err) || err == nil && !st.IsLink() }

// drop forgets what is no link any more.
func (l *links) drop(link string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.said, link)
	if real, ok := l.of[link]; ok {
		l.forget(link, real)
	}
}

// tidy drops what is no link any more, among the links of folders that went as a whole, once there is no room for another:
// at most once in linksMost refusals, for each look is a system call.
func (l *links) tidy() {
	l.mu.Lock()
	l.refused++
	if l.refused%linksMost != 1 {
		l.mu.Unlock()
		return
	}
	all := slices.Collect(maps.Keys(l.of))
	all = slices.AppendSeq(all, maps.Keys(l.said))
	l.mu.Unlock()
	for _, link := range all {
		if noLink(lstat(joinPath(l.root, link))) {
			l.drop(link)
		}
	}
}

// led returns where rel led by a link when that was last followed, or rel.
func (l *links) led(rel string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at, more := rel, true; more && len(l.of) > 0; at, more = dirOf(at) {
		if real, ok := l.of[at]; ok {
			return real + rel[len(at):]
		}
	}
	return rel
}

// mountsSay is what the mounts have to say about a delete at rel, and where rel leads, or led, by a link. The disk is asked
// too, for memory has gaps: after a start nothing is known of a link that dangles since.
func (f *Feeder) mountsSay(rel string) verdict {
	says := f.seams.judge(rel)
	if f.links.followed() && f.seams.any() {
		says = max(says, f.seams.judge(f.links.led(rel)), f.seams.judge(beneath.Leads(f.folder.Root, rel)))
	}
	return says
}

// withLinks adds to paths that may differ those under which they are reached by links.
func (t *task) withLinks(rels []string) []string {
	all := rels
	for _, rel := range rels {
		if more := t.links.names(rel); len(more) > 0 {
			all = append(slices.Clip(all), more...)
		}
	}
	return all
}

// throughLink has a folder scanned that is reached by a link: nothing tells what is in it under this name.
func (t *task) throughLink(rel string) {
	if !t.links.followed() {
		return
	}
	if st, err := lstat(t.path(rel)); err != nil || !st.IsLink() {
		return
	}
	if st, err := t.links.state(rel); err == nil && st.IsFolder() {
		t.folder.Rescan(rel)
	}
}

// watched returns the path by which a file is watched: not that of a link, which is always at rest.
func (t *task) watched(rel string) string {
	if real, err := t.links.real(rel); err == nil && t.inScope(real, false) {
		return real
	}
	return rel
}

// atRest reports whether nobody writes what rel stands for.
func (t *task) atRest(rel string, st protocol.Stat) bool {
	if st.IsLink() {
		return true
	}
	real, err := t.links.real(rel)
	return err != nil || t.rest(t.path(real), st)
}

// AtRest reports whether nobody writes the file at rel, as far as can be told, or no file lies there. It may be called at any time.
func (f *Feeder) AtRest(rel string) bool {
	t := f.begin(protocol.Live, changeBatch)
	st, err := t.state(rel)
	return err != nil || !st.IsFile() || t.atRest(rel, st)
}

// sameElsewhere has the scan of a folder follow for the links that lead to it or above it.
func (t *task) sameElsewhere(rel string) {
	if rel == "" {
		return // all was scanned
	}
	for _, name := range t.links.names(rel) {
		t.folder.Rescan(name)
	}
}
