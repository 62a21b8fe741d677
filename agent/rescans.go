package agent

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// rescans is the set of folders that wait for a deep scan. A folder inside one that waits is not added; too many become
// the root. One whose scan failed waits for longer each time, and holds up nobody else. Safe for concurrent use; scans are
// taken by one goroutine.
type rescans struct {
	fit func() error // why no scan can succeed now; nil: unknown

	mu      sync.Mutex
	paths   []rescan
	added   uint64 // the number given to the one added last
	running uint64 // the number of the one that was taken and is not done; 0: none
	wake    chan struct{}
}

// rescan is a folder that waits, and the number under which it, or the first of the folders in it, was added.
type rescan struct {
	path   string
	number uint64

	wait  time.Duration // since its scan failed; 0: it did not
	due   time.Time     // if it failed
	unfit bool          // it failed because the folder was not fit
}

// add has a folder scanned. One that failed is none that waits, but for itself: its next attempt may be far.
func (r *rescans) add(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.paths {
		if p.path == path || p.wait == 0 && inside(p.path, path) {
			return
		}
	}
	r.put(rescan{path: path})
}

// again has a folder scanned once more whose scan has failed, after twice the time of before.
func (r *rescans) again(failed rescan) {
	unfit := r.fit != nil && r.fit() != nil
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.paths {
		if inside(p.path, failed.path) {
			return
		}
	}
	wait := min(max(2*failed.wait, retryPause), mostPause)
	r.put(rescan{path: failed.path, wait: wait, due: time.Now().Add(wait), unfit: unfit})
}

// put appends in the place of what lies within. The lock is held.
func (r *rescans) put(one rescan) {
	r.added++
	one.number = r.added
	rest := slices.DeleteFunc(r.paths, func(p rescan) bool {
		in := inside(one.path, p.path)
		if in {
			one.number = min(one.number, p.number) // who waits for that one waits for this one now
		}
		return in
	})
	r.paths = append(rest, one)
	if len(r.paths) > mostRescans {
		root := rescan{number: one.number}
		for _, p := range rest {
			root.number = min(root.number, p.number)
		}
		r.paths = []rescan{root}
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// inside reports whether path is folder or lies below it.
func inside(folder, path string) bool {
	return folder == "" || folder == path || strings.HasPrefix(path, folder+"/")
}

// take waits for the oldest path that is due; false when ctx ended. done must follow.
func (r *rescans) take(ctx context.Context) (rescan, bool) {
	for ctx.Err() == nil {
		next, ok, gap := r.due()
		if ok {
			return next, true
		}
		var later <-chan time.Time // never
		if gap > 0 {
			later = time.After(gap)
		}
		select {
		case <-r.wake:
		case <-later:
		case <-ctx.Done():
		}
	}
	return rescan{}, false
}

// due takes the oldest path that is due, or says how long until one may be; 0: none waits. That a folder is fit again must
// not wait for the next attempt.
func (r *rescans) due() (next rescan, ok bool, gap time.Duration) {
	heals := r.fit != nil && r.anyUnfit() && r.fit() == nil
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, p := range r.paths {
		left := time.Until(p.due)
		if p.wait == 0 || left <= 0 || p.unfit && heals {
			r.paths, r.running = slices.Delete(r.paths, i, i+1), p.number
			return p, true, 0
		}
		if p.unfit {
			left = min(left, retryPause)
		}
		if gap == 0 || left < gap {
			gap = left
		}
	}
	return rescan{}, false, gap
}

func (r *rescans) anyUnfit() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.paths, func(p rescan) bool { return p.unfit })
}

// done says that the scan of what was taken has ended.
func (r *rescans) done() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = 0
}

// last returns the number of the folder that was added last.
func (r *rescans) last() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.added
}

// pending reports whether one of the folders with numbers up to n waits or is being scanned.
func (r *rescans) pending(n uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running > 0 && r.running <= n || slices.ContainsFunc(r.paths, func(p rescan) bool { return p.number <= n })
}
