package watcher

import (
	"sync"
	"sync/atomic"
	"time"
)

// Times of the marks. All are guesses.
const (
	latestLook    = 100 * time.Millisecond // a file written without a pause is looked at this often
	mostQuiet     = 200 * time.Millisecond // the debounce of a file that has been written for long
	askedLook     = 50 * time.Millisecond  // the first look at a path that somebody asked for
	stormPause    = 50 * time.Millisecond  // quiet in a folder before its collapsed Rescan is due
	stormLatest   = time.Second            // the latest for that
	stormMost     = 10 * time.Second       // the pause of a folder that collapses again and again
	stormRemember = 1024                   // folders whose last collapse is remembered
	crowdedFor    = 10 * time.Minute       // a climb is remembered; longer than the scan that it leads to
)

// limits bound the marks; see the fields of [Config].
type limits struct {
	names, folders, total int
	debounce, maxDelay    time.Duration
}

// mark is one path that may differ, or one folder to look through again (rescan).
type mark struct {
	path         string
	home         *dirty
	why          string
	rescan, deep bool

	first, last tick // the first and the last event
	by          tick // the latest time of the next look
	looked      tick // when the last look began
	created     tick // something was created here then, and it was not looked whether it is a folder
	missing     tick // since when it is not there
	stable      tick // since when sig is what it is
	sig         signature
	pause       tick // rescan: quiet wanted before it is due

	pos     int // in the heap, or -1
	looking bool
	held    bool // rescan: the keeper has not finished adding watches
	ready   bool // due; waits for Next
	queued  bool // in the queue of the due, perhaps not ready any more
	dead    bool // no longer counts
}

// dirty is what is known to be dirty in one folder: names, or all of it.
type dirty struct {
	path  string
	names map[string]*mark // by the whole path
	all   *mark
}

// storm remembers that a folder collapsed, so that the next time is later.
type storm struct {
	taken tick
	pause tick
}

// marks is the memory of what may differ. It never touches the disk and never blocks for long.
type marks struct {
	limits
	// unseen is called with a folder in which a creation was taken in by a Rescan before it was known whether it is a
	// new folder, which needs a watch. It is called under the lock.
	unseen func(folder string)

	readyWake  chan struct{} // something became due
	settleWake chan struct{} // the settler has to look at its clock again

	mu      sync.Mutex
	folders map[string]*dirty
	heap    markHeap
	round   round
	due     []*mark
	storms  map[string]storm
	names   int
	deeps   int  // deep rescans among the folders
	sleep   tick // the settler sleeps until then; 0: it is awake

	collapsed, climbed uint64
	lastClimb          atomic.Int64  // a tick; 0: there was none
	climbPause         time.Duration // of its Rescans
}

func newMarks(l limits) *marks {
	return &marks{limits: l, unseen: func(string) {}, readyWake: make(chan struct{}, 1), settleWake: make(chan struct{}, 1),
		folders: map[string]*dirty{}, storms: map[string]storm{}}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// event notes that something happened to path.
func (m *marks) event(path string, now tick) { m.note(path, now, noted{by: now + latestLook}) }

// create notes that something new is at path, which may be a folder.
func (m *marks) create(path string, now tick) {
	m.note(path, now, noted{by: now + latestLook, created: now})
}

// ask notes that somebody wants to hear of path again; a mark that is there already is enough.
func (m *marks) ask(path string, now tick) {
	m.note(path, now, noted{by: now + askedLook, asked: true})
}

// noted is how a path got its mark.
type noted struct {
	by      tick
	created tick
	asked   bool
}

func (m *marks) note(path string, now tick, how noted) {
	if path == "" {
		m.rescan("", false, "the root changed", now)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.covering(path)
	var d *dirty
	if c == nil {
		d = m.dirtyFolder(parent(path), now)
	}
	if d == nil { // a Rescan will see it
		if how.created > 0 {
			m.unseen(parent(path))
		}
		if c != nil && !how.asked {
			c.last = now
		}
		return
	}
	k := d.names[path]
	switch {
	case k == nil && (len(d.names) >= m.limits.names || m.names >= m.total):
		m.collapse(d, now)
		if how.created > 0 {
			m.unseen(d.path)
		}
	case k == nil:
		k = &mark{path: path, home: d, first: now, last: now, by: how.by, created: how.created, pos: -1}
		if how.asked {
			k.looked = now
		}
		if d.names == nil {
			d.names = map[string]*mark{}
		}
		d.names[path] = k
		m.names++
		m.push(k)
	case !how.asked:
		k.last, k.created = now, max(k.created, how.created)
		switch { // what was found is no longer so
		case k.ready: // nobody took it in time: be ready again soon, or a slow caller of Next never sees it
			k.ready, k.by = false, now+5*m.debounce
		case k.missing > 0:
			k.first, k.by = now, how.by
		}
		m.push(k)
	}
}

// covering returns the pending Rescan that will see path anyway, or nil.
func (m *marks) covering(path string) *mark {
	if d := m.folders[path]; d != nil && d.all != nil {
		return d.all
	}
	if path == "" {
		return nil
	}
	p := parent(path)
	if d := m.folders[p]; d != nil && d.all != nil {
		return d.all
	}
	return m.deepAbove(p)
}

// deepAbove returns a pending deep Rescan of a folder above path, or nil.
func (m *marks) deepAbove(path string) *mark {
	for m.deeps > 0 && path != "" {
		path = parent(path)
		if d := m.folders[path]; d != nil && d.all != nil && d.all.deep {
			return d.all
		}
	}
	return nil
}

// dirtyFolder returns the record of a folder. When there are too many it climbs first, and returns nil if the folder
// is then covered.
func (m *marks) dirtyFolder(path string, now tick) *dirty {
	if d := m.folders[path]; d != nil {
		return d
	}
	if len(m.folders) >= m.limits.folders {
		m.climb(now)
		if d := m.folders[path]; d != nil && d.all != nil || m.deepAbove(path) != nil {
			return nil
		}
	}
	d := m.folders[path]
	if d == nil {
		d = &dirty{path: path}
		m.folders[path] = d
	}
	return d
}

// collapse turns the dirty names of a folder into a Rescan of it. One that does so again soon waits longer.
func (m *marks) collapse(d *dirty, now tick) {
	m.collapsed++
	pause := stormPause
	if s, ok := m.storms[d.path]; ok && now-s.taken < 2*time.Second+4*s.pause {
		pause = min(2*s.pause, stormMost)
	}
	m.raise(d, false, "more changes in the folder than are worth counting", now)
	m.calm(d, pause, now)
}

// calm has the Rescan of a folder wait until there was no change in it for pause, but no longer than that or stormLatest.
func (m *marks) calm(d *dirty, pause time.Duration, now tick) {
	d.all.pause, d.all.by = pause, now+max(stormLatest, pause)
	m.push(d.all)
}

// crowded reports whether there were too many dirty folders not long ago.
func (m *marks) crowded(now tick) bool {
	last := tick(m.lastClimb.Load())
	return last > 0 && now-last < crowdedFor
}

// climb replaces the deepest dirty folders by deep Rescans of the folders that hold them, until half are gone. When it has to do so again
// soon, they wait longer.
func (m *marks) climb(now tick) {
	m.climbed++
	if m.crowded(now) {
		m.climbPause = min(2*m.climbPause, stormMost)
	} else {
		m.climbPause = stormPause
	}
	m.lastClimb.Store(int64(now))
	byLevel := map[int][]*dirty{}
	deepest := 0
	for path, d := range m.folders {
		n := levels(path)
		byLevel[n] = append(byLevel[n], d)
		deepest = max(deepest, n)
	}
	for n := deepest; n > 0 && len(m.folders) > m.limits.folders/2; n-- {
		for _, d := range byLevel[n] {
			urgent := d.all != nil && d.all.pause == 0
			m.drop(d)
			p := parent(d.path)
			up := m.folders[p]
			if up == nil {
				up = &dirty{path: p}
				m.folders[p] = up
				byLevel[n-1] = append(byLevel[n-1], up)
			}
			had := up.all != nil
			m.raise(up, true, "changes in more folders than are worth counting", now)
			switch {
			case urgent:
				up.all.pause, up.all.by = 0, now
				m.push(up.all)
			case !had: // else it has its time
				m.calm(up, m.climbPause, now)
			}
		}
	}
}

// raise makes a Rescan of the folder pending and drops the names it covers.
func (m *marks) raise(d *dirty, deep bool, why string, now tick) {
	m.killNames(d)
	if d.all == nil {
		d.all = &mark{path: d.path, home: d, rescan: true, why: why, first: now, by: now, pos: -1}
	}
	d.all.last = now
	if deep && !d.all.deep {
		d.all.deep, d.all.why = true, why
		m.deeps++
	}
}

// rescan asks for a Rescan that is due now. A Rescan already pending, here or (deep) above, is enough.
func (m *marks) rescan(path string, deep bool, why string, now tick) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.wanted(path, deep, why, now); d != nil {
		d.all.by = now
		m.push(d.all)
	}
}

// hold makes a deep Rescan of path pending, but not due before release: until the watches stand.
func (m *marks) hold(path, why string, now tick) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.wanted(path, true, why, now); d != nil {
		d.all.held, d.all.ready = true, false
		m.push(d.all)
	}
}

// release makes the Rescan that was held due. If one above took it in and is handed out already, it is a new one.
func (m *marks) release(path, why string, now tick) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.wanted(path, true, why, now); d != nil {
		d.all.held, d.all.by = false, now
		m.push(d.all)
	}
}

// wanted raises the Rescan of path, or returns nil if one above covers it.
func (m *marks) wanted(path string, deep bool, why string, now tick) *dirty {
	if c := m.deepAbove(path); c != nil {
		c.last = now
		return nil
	}
	d := m.dirtyFolder(path, now)
	if d == nil {
		return nil
	}
	if p := m.folders[parent(path)]; p != nil && path != "" {
		if k := p.names[path]; k != nil { // the Rescan speaks for the folder's own entry
			m.kill(k)
			delete(p.names, path)
			m.names--
			m.tidy(p)
		}
	}
	m.raise(d, deep, why, now)
	if deep {
		for p, o := range m.folders {
			if p != path && within(p, path) {
				m.drop(o)
			}
		}
	}
	return d
}

// drop forgets a folder's record; something above covers it.
func (m *marks) drop(d *dirty) {
	m.killNames(d)
	if d.all != nil {
		if d.all.deep {
			m.deeps--
		}
		m.kill(d.all)
	}
	d.all = nil
	delete(m.folders, d.path)
}

// killNames makes the names in a folder count no more.
func (m *marks) killNames(d *dirty) {
	for _, k := range d.names {
		m.kill(k)
	}
	m.names -= len(d.names)
	d.names = nil
}

// kill makes a mark count no more; a Rescan speaks for it now.
func (m *marks) kill(k *mark) {
	if k.created > 0 {
		m.unseen(k.home.path)
	}
	k.dead, k.ready = true, false
	m.heap.remove(k)
}

// tidy forgets a record with nothing in it.
func (m *marks) tidy(d *dirty) {
	if len(d.names) == 0 && d.all == nil {
		delete(m.folders, d.path)
	}
}
