package watcher

import (
	"maps"
	"math/bits"
	"sync"
	"time"
)

// Of files that are never at rest.
const (
	busyKnown = 10_000           // remembered by name, at some 150 bytes each; others wait as well, uncounted. A guess
	busySay   = 10 * time.Minute // of waiting before the log names a file, and between two such lines. A guess
)

// busyFile is a file that differs, perhaps, and was being written whenever it was looked at.
type busyFile struct {
	first  tick // since when
	looked tick // the last time
	handed tick // when it was last handed out all the same
	permit bool // it was, and nobody has made use of it
}

// busyFiles remembers them by path. Safe for concurrent use.
type busyFiles struct {
	mu    sync.Mutex
	files map[string]*busyFile
	said  tick
	swept tick // when those were forgotten that nobody looks at any more
}

// see notes that a file was found being written, and reports whether it is to be handed out for it has been so for every,
// and whether it is to be named in the log, with since when.
func (b *busyFiles) see(path string, now tick, every time.Duration) (handOut, say bool, first tick) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.files[path]
	if f == nil {
		if len(b.files) >= busyKnown {
			return false, false, now
		}
		if b.files == nil {
			b.files = map[string]*busyFile{}
		}
		f = &busyFile{first: now}
		b.files[path] = f
	}
	f.looked = now
	if now-f.first >= busySay && (b.said == 0 || now-b.said >= busySay) {
		b.said, say = now, true
	}
	if every > 0 && !f.permit && now-max(f.first, f.handed) >= every {
		f.handed, f.permit = now, true
	}
	return f.permit, say, f.first // again, should an event have come during the look
}

// next returns when a file is to be handed out at the latest; 0: it is not.
func (b *busyFiles) next(path string, every time.Duration) tick {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.files[path]; f != nil && every > 0 {
		return max(f.first, f.handed) + every
	}
	return 0
}

// rests forgets a file that was found at rest, or is gone.
func (b *busyFiles) rests(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.files, path)
}

// take reports whether the file was handed out although it is being written, once for each time.
func (b *busyFiles) take(path string, now tick) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.files[path]
	if f == nil || !f.permit {
		return false
	}
	f.permit, f.handed = false, now
	return true
}

// since returns for how long a file has been written without a rest; 0: it is not.
func (b *busyFiles) since(path string, now tick) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.files[path]; f != nil {
		return max(now-f.first, 1)
	}
	return 0
}

// count returns about how many files there are: those that nobody has looked at for stale are forgotten from time to time.
func (b *busyFiles) count(now tick, stale time.Duration) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now-b.swept > stale {
		b.sweep(now, stale)
	}
	return len(b.files)
}

// sweep forgets the files that nobody has looked at for stale. It needs the lock.
func (b *busyFiles) sweep(now tick, stale time.Duration) {
	b.swept = now
	maps.DeleteFunc(b.files, func(_ string, f *busyFile) bool { return now-f.looked > stale })
}

// all counts the files and names the one that has waited longest. Those that nobody has looked at for stale are forgotten: a
// file that was handed out and found equal is looked at again when it changes.
func (b *busyFiles) all(now tick, stale time.Duration) (n int, oldest string, first tick) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep(now, stale)
	for path, f := range b.files {
		if oldest == "" || f.first < first || f.first == first && path < oldest {
			oldest, first = path, f.first
		}
	}
	return len(b.files), oldest, first
}

// stale is how long nobody looks at a busy file before it is forgotten.
func (w *Watcher) stale() time.Duration { return 2*w.cfg.MaxDelay + 10*time.Second }

// busy is what becomes of a file that somebody writes: another look after gap, or the file as it is if its time has come.
func (w *Watcher) busy(m mark, now tick, gap time.Duration) verdict {
	every := w.cfg.Unresting
	handOut, say, first := w.writing.see(m.path, now, every)
	if say {
		w.cfg.Log.Warn("a file is being written without a rest and waits", "folder", w.cfg.Root, "path", m.path,
			"since", time.Now().Add(first-now).Round(time.Second), "hint", `close it now and then, exclude it, or see unresting = "prefix"`)
	}
	v := verdict{ready: handOut, by: together(now+gap, gap)}
	if next := w.writing.next(m.path, every); next > now {
		v.by = min(v.by, next)
	}
	return v
}

// together moves a time that is gap away to a little earlier, at most an eighth of gap, so that many are the same: to wake up costs more
// than to look.
func together(at tick, gap time.Duration) tick {
	if gap < 8 {
		return at
	}
	return at &^ (1<<(bits.Len64(uint64(gap/8))-1) - 1)
}

// TakeUnresting reports whether the file rel was handed out although it is being written, as [Config.Unresting] has it. It
// says so once for each time that the file was handed out.
func (w *Watcher) TakeUnresting(rel string) bool { return w.writing.take(rel, w.now()) }

// Unresting reports whether the file rel has been written without a rest for as long as [Config.Unresting] asks for.
func (w *Watcher) Unresting(rel string) bool {
	return w.cfg.Unresting > 0 && w.writing.since(rel, w.now()) >= w.cfg.Unresting
}
