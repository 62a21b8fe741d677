package watcher

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Gaps between two looks at a file that somebody has open for writing. Guesses: 5 % of the time it has been open, so
// that a file is reported at most 5 % late, up to a second; a file open for more than ten minutes up to MaxDelay. Where more than 500 are
// open, up to so long that there are 500 looks a second (from 10,000 on more: busyKnown).
const (
	busyShare = 20
	busyMost  = time.Second
	busyEach  = 2 * time.Millisecond
	longShare = 600
)

// signature is what must stand still while a file settles without a lease.
type signature struct {
	size, mtime, ctime int64
	ino                uint64
}

// verdict is what a look at a path found.
type verdict struct {
	ready bool // hand it out
	drop  bool // forget it: excluded, or the keeper has it now
	by    tick // else: the latest time of the next look

	missing, stable tick
	sig             signature
}

// settle looks at each dirty path when its time has come, until ctx ends. It sleeps while nothing is dirty.
func (w *Watcher) settle(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		k, seen, wait := w.marks.pick(w.now())
		if k != nil {
			w.marks.finish(k, w.look(seen))
			continue
		}
		var expired <-chan time.Time
		if wait > 0 {
			timer.Reset(wait)
			expired = timer.C
		}
		select {
		case <-ctx.Done():
		case <-w.marks.settleWake:
		case <-expired:
		}
	}
}

// look decides by the disk what is to become of a dirty path.
func (w *Watcher) look(m mark) verdict {
	if !w.reported(m.path) || w.skip(m.path, false) && w.skip(m.path, true) {
		return verdict{drop: true}
	}
	fi, err := os.Lstat(w.full(m.path))
	switch {
	case isGone(err):
		return w.lookGone(m)
	case err != nil:
		return w.lookQuiet(m, signature{})
	case fi.IsDir():
		return w.lookFolder(m)
	}
	if w.table.known(m.path) { // a folder was here
		w.keeper.sync(m.path, w.now(), false, "the folder is another thing now")
	}
	if w.skip(m.path, false) {
		return verdict{drop: true}
	}
	if !fi.Mode().IsRegular() {
		if fi.Mode()&(fs.ModeNamedPipe|fs.ModeSocket|fs.ModeDevice) != 0 {
			w.counts.special.Add(1)
		}
		return verdict{ready: true}
	}
	return w.lookFile(m, fi)
}

// isGone reports whether err says that there is nothing at a path.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// lookGone waits until a name has stayed away for Gone: many programs write aside, remove and rename.
func (w *Watcher) lookGone(m mark) verdict {
	now := w.now()
	if w.table.known(m.path) {
		w.keeper.sync(m.path, now, false, "the folder is gone")
	}
	w.writing.rests(m.path)
	v := verdict{missing: m.missing}
	if v.missing == 0 {
		v.missing = now
	}
	v.missing = max(v.missing, m.last)
	v.by = v.missing + w.cfg.Gone
	v.ready = now >= v.by
	return v
}

// lookFolder hands a folder without a watch to the keeper, which reports it; others need no settling.
func (w *Watcher) lookFolder(m mark) verdict {
	if w.skip(m.path, true) {
		return verdict{drop: true}
	}
	if w.watchable(m.path) && !w.table.watching(m.path) {
		w.keeper.sync(m.path, m.last, false, "a new folder")
		return verdict{drop: true}
	}
	if w.watchable(m.path) && w.rightsChanged(m.path) {
		w.keeper.sync(m.path, w.now(), true, "its rights have changed")
		return verdict{drop: true}
	}
	return verdict{ready: true}
}

// rightsChanged reports whether a watched folder cannot be read any more, or can be again. What it holds has no events of
// its own for that.
func (w *Watcher) rightsChanged(path string) bool {
	was, now := w.table.troubled(path), openable(w.full(path))
	return isDenied(was) != isDenied(now)
}

func isDenied(err error) bool { return errors.Is(err, fs.ErrPermission) }

// lookFile asks whether a regular file is at rest.
func (w *Watcher) lookFile(m mark, fi fs.FileInfo) verdict {
	rest, found := w.cfg.rest(w.full(m.path))
	if !found {
		return verdict{by: w.now() + w.cfg.Debounce} // it changed in this moment
	}
	switch rest {
	case Yes:
		w.writing.rests(m.path)
		return verdict{ready: true}
	case Busy:
		now := w.now()
		return w.busy(m, now, w.busyGap(now-m.first))
	}
	v := w.lookQuiet(m, signatureOf(fi))
	switch now := w.now(); {
	case !v.ready:
	case now < max(v.stable, m.last)+w.cfg.Settle: // it was never quiet
		w.busy(m, now, 0)
	default:
		w.writing.rests(m.path)
	}
	return v
}

// busyGap is the time until the next look at a file that has been busy for so long.
func (w *Watcher) busyGap(elapsed time.Duration) time.Duration {
	most := max(busyMost, time.Duration(w.writing.count(w.now(), w.stale()))*busyEach)
	gap := min(max(elapsed/busyShare, w.cfg.Debounce), most)
	return min(max(gap, elapsed/longShare), max(busyMost, w.cfg.MaxDelay))
}

// lookQuiet waits until a path had no event and the same signature for Settle, or MaxDelay has passed. It compares
// nothing with the wall clock.
func (w *Watcher) lookQuiet(m mark, sig signature) verdict {
	now := w.now()
	v := verdict{sig: sig, stable: m.stable}
	switch {
	case m.stable == 0:
		v.stable = m.last
	case sig != m.sig:
		v.stable = now
	}
	v.by = min(max(v.stable, m.last)+w.cfg.Settle, m.first+w.cfg.MaxDelay)
	v.ready = now >= v.by
	return v
}
