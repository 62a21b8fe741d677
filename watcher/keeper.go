package watcher

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// Gaps between two rescans because of overflows of the same queue: they double while overflows go on, so that a rescan
// which itself causes events cannot loop.
const (
	overflowGap  = time.Second
	overflowMost = 60 // times the first
)

// task asks the keeper to compare a folder's watches with the disk.
type task struct {
	at   tick // when the reason for it was heard
	deep bool // compare the known folders below too, not only the new ones
	why  string
}

// loss is a queue that did not tell everything.
type loss struct {
	why string // empty: none
	gap tick
	not tick // not before
}

// keeper is the one hand that adds and removes watches. Others only leave it tasks.
type keeper struct {
	w    *Watcher
	wake chan struct{}

	mu    sync.Mutex
	tasks map[string]task
	lost  map[int]string
	peeks map[string]struct{}

	// For its own goroutine.
	batch    map[string]task // tasks taken and not yet begun
	losses   []loss
	recheck  map[string]tick // folders whose watches are compared once more, and when
	cost     tick            // what the last comparison of the whole tree took
	nextPeek tick
	rootGone bool
	nextRoot tick
	nextPoll tick
	mounts   uint64 // a hash of the mount table
	bell     *mountBell
	counting int       // looks at the root that are still to count the watches
	refused  error     // why there are fewer queues than wanted
	want     complaint // watches refused for want of something
	bad      complaint // folders that cannot be watched or read for another reason
}

func newKeeper(w *Watcher) *keeper {
	return &keeper{w: w, wake: make(chan struct{}, 1), tasks: map[string]task{}, lost: map[int]string{}, peeks: map[string]struct{}{},
		recheck: map[string]tick{}}
}

// sync leaves a task. It may be called by anybody and never waits for the disk.
func (k *keeper) sync(path string, at tick, deep bool, why string) {
	k.mu.Lock()
	t, there := k.tasks[path]
	t.at, t.deep = max(t.at, at), t.deep || deep
	if !there {
		t.why = why
		if len(k.tasks) >= k.w.cfg.MaxFolders {
			clear(k.tasks)
			path, t = "", task{at: at, deep: true, why: "changes in more folders than are worth counting"}
		}
	}
	k.tasks[path] = t
	k.mu.Unlock()
	signal(k.wake)
}

// peek asks that new folders be looked for in a folder; the caller knows of a Rescan that covers what is in it.
func (k *keeper) peek(folder string) {
	k.mu.Lock()
	if len(k.peeks) < k.w.cfg.MaxFolders {
		k.peeks[folder] = struct{}{}
		k.mu.Unlock()
		signal(k.wake)
		return
	}
	clear(k.peeks)
	k.mu.Unlock()
	k.sync("", k.w.now(), true, "changes in more folders than are worth counting")
}

// lose notes that the queue i did not tell everything.
func (k *keeper) lose(i int, why string) {
	k.mu.Lock()
	if k.lost[i] == "" {
		k.lost[i] = why
	}
	k.mu.Unlock()
	signal(k.wake)
}

// pending reports whether a task for path, or for a folder above it, is waiting. For the keeper's own goroutine.
func (k *keeper) pending(path string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		if _, ok := k.tasks[path]; ok {
			return true
		}
		if _, ok := k.batch[path]; ok {
			return true
		}
		if path == "" {
			return false
		}
		path = parent(path)
	}
}

// run sets the first watches and then keeps them true until ctx ends.
func (k *keeper) run(ctx context.Context) {
	k.losses = make([]loss, max(1, len(k.w.sources)))
	k.mounts, k.bell = mountTable(), newMountBell()
	defer k.bell.close()
	k.visit(ctx, "", true)
	k.complain()
	close(k.w.ready)
	now := k.w.now()
	k.nextRoot, k.nextPoll = now+k.w.cfg.Check, now+k.w.cfg.Poll

	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		k.work(ctx)
		timer.Reset(max(0, k.sleepUntil()-k.w.now()))
		select {
		case <-ctx.Done():
		case <-k.wake:
		case <-timer.C:
		}
	}
}

// work does everything that is due.
func (k *keeper) work(ctx context.Context) {
	k.mu.Lock()
	lost := k.lost
	k.batch, k.tasks, k.lost = k.tasks, map[string]task{}, map[int]string{}
	k.mu.Unlock()

	for i, why := range lost {
		if k.losses[i].why == "" {
			k.losses[i].why = why
		}
	}
	for _, path := range slices.Sorted(maps.Keys(k.batch)) {
		if ctx.Err() != nil {
			return
		}
		t := k.batch[path]
		delete(k.batch, path)
		k.do(ctx, path, t)
	}
	if k.w.now() >= k.nextPeek {
		k.peekAll(ctx)
	}
	now := k.w.now()
	waiting := int64(0)
	for i := range k.losses {
		l := &k.losses[i]
		if l.why != "" && now >= l.not {
			k.recover(ctx, i, l)
		} else if l.why != "" {
			waiting++
		}
	}
	k.w.counts.waiting.Store(waiting)
	for path, at := range k.recheck {
		if now >= at {
			delete(k.recheck, path)
			k.compare(ctx, path)
		}
	}
	if now >= k.nextRoot {
		k.checkRoot(ctx)
	}
	if now >= k.nextPoll {
		k.poll(ctx)
	}
	k.complain()
}

// sleepUntil is when something is due that no event announces.
func (k *keeper) sleepUntil() tick {
	at := k.nextRoot
	if len(k.w.table.polled) > 0 {
		at = min(at, k.nextPoll)
	}
	for _, l := range k.losses {
		if l.why != "" {
			at = min(at, l.not)
		}
	}
	for _, t := range k.recheck {
		at = min(at, t)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.peeks) > 0 {
		at = min(at, k.nextPeek)
	}
	return at
}

// do compares one folder with the disk and has what is new reported: watches first, then the Rescan.
func (k *keeper) do(ctx context.Context, path string, t task) {
	path, ok := k.known(path)
	if !ok {
		return
	}
	t.deep = t.deep || k.w.table.get(path) == nil
	if n := k.w.table.get(path); n != nil && n.watched && n.visited > t.at {
		return // it was visited after this was heard, and that visit is or was followed by a Rescan
	}
	id, folder, err := identify(k.w.full(path))
	if err != nil || !folder {
		k.without(path, id, err)
		return
	}
	if path != "" && (k.w.skip(path, true) || !k.w.watchable(path)) {
		k.forget(path)
		k.w.marks.event(path, k.w.now())
		return
	}
	if n := k.w.table.get(path); t.deep || n == nil || n.id != id {
		k.later(path)
	}
	back := k.rootGone && path == ""
	if back {
		t.why = "the root is back"
	}
	k.w.marks.hold(path, t.why, k.w.now())
	k.visit(ctx, path, t.deep)
	k.w.marks.release(path, t.why, k.w.now())
}

// known climbs from path to the topmost folder above it that no visit has reached yet; a folder is visited from
// above. It reports false for what is excluded.
func (k *keeper) known(path string) (string, bool) {
	for p := path; p != ""; {
		p = parent(p)
		if k.w.table.get(p) != nil {
			break
		}
		if k.w.skip(p, true) || !k.w.watchable(p) {
			return "", false
		}
		path = p
	}
	return path, true
}

// without is what becomes of a path that is no folder (any more), or cannot be looked at.
func (k *keeper) without(path string, id identity, err error) {
	now := k.w.now()
	if err != nil && !isGone(err) {
		k.trouble(path, id, err)
		k.w.marks.event(path, now)
		return
	}
	k.forget(path)
	if path != "" {
		k.w.marks.event(path, now)
		return
	}
	if !k.rootGone {
		k.rootGone = true
		k.w.counts.rootGone.Store(true)
		k.w.cfg.Log.Warn("the root is gone; looking for it", "folder", k.w.cfg.Root)
		k.w.marks.rescan("", true, "the root is gone", now)
	}
	k.nextRoot = now + k.w.cfg.Retry
}

// trouble records a folder that cannot be looked at, so that it is polled.
func (k *keeper) trouble(path string, id identity, err error) {
	k.note(path, err)
	if n := k.w.table.get(path); n != nil {
		k.w.table.put(path, n.id, n.part, n.watched, err)
	} else if path == "" || k.w.table.get(parent(path)) != nil {
		k.w.table.put(path, id, k.part(path), false, err)
	}
}

// later has the watches at and below path compared with the disk once more, after a grace period: fsnotify reports by
// the path a folder was added under, so a second rename in the meantime would go on under a wrong name.
func (k *keeper) later(path string) {
	const most = 64 // a guess; more than that is the whole tree
	if _, all := k.recheck[""]; all || len(k.recheck) >= most {
		path = ""
	}
	if _, there := k.recheck[path]; there {
		return
	}
	at := k.w.now() + k.w.cfg.Grace
	if path == "" {
		clear(k.recheck)
		at = max(at, k.w.now()+20*k.cost) // at most a twentieth of the time
	}
	k.recheck[path] = at
}

// compare checks that under each known path at and below path there is still the folder that was watched there.
func (k *keeper) compare(ctx context.Context, path string) {
	if path == "" {
		began := k.w.now()
		defer func() { k.cost = k.w.now() - began }()
	}
	for _, n := range k.w.table.below(path) {
		if ctx.Err() != nil {
			return
		}
		if id, folder, err := identify(k.w.full(n.path)); err != nil || !folder || id != n.id {
			if !k.pending(n.path) {
				k.sync(n.path, k.w.now(), true, "another folder than the one watched here")
			}
		}
	}
}

// part is the queue that a folder belongs to. The first two names of its path decide, so that a subtree stays
// together and a lost event concerns few of them.
func (k *keeper) part(path string) int {
	n := len(k.w.sources)
	if n <= 1 || path == "" {
		return 0
	}
	const prime, offset = 16777619, 2166136261 // FNV-1a, 32 bits
	h, slashes := uint32(offset), 0
	for i := range len(path) {
		if path[i] == '/' {
			if slashes++; slashes == 2 {
				break
			}
		}
		h = (h ^ uint32(path[i])) * prime
	}
	return int(h % uint32(n))
}
