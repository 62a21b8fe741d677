package watcher

import (
	"sync/atomic"
	"time"
)

// counters are what is counted from any goroutine.
type counters struct {
	events, handed, overflows, errors, special atomic.Uint64
	rootGone                                   atomic.Bool
	waiting                                    atomic.Int64
}

// Stats is a picture of a Watcher. Counts are since New.
type Stats struct {
	Folders  int  // known now
	Watches  int  // of them watched
	Queues   int  // kernel queues in use
	RootGone bool // the root is not there; it is looked for

	// Unwatched is how many folders are polled because they are not watched or could not be read; Reasons has up to
	// 100 of them with what is wrong. Of these, Refused want for watches, kernel queues or open files, and Cure is the
	// setting that would give as many as are missing (empty: unknown, or none is); Unreadable may not be read or entered.
	Unwatched  int
	Reasons    map[string]string
	Refused    int
	Cure       string
	Unreadable int
	RootDenied error // why the root cannot be read although it is there; nil: it can

	Dirty   int // paths that are settling or wait for Next
	Rescans int // folders that wait to be looked through

	// Busy is how many files were being written whenever they were looked at, and wait; Oldest is the path of the one that
	// has waited longest, since OldestSince.
	Busy        int
	Oldest      string
	OldestSince time.Time

	Waiting int // kernel queues that lost events again so soon that they have to wait for their rescan

	Events    uint64 // heard from the system
	Handed    uint64 // hints handed out
	Collapsed uint64 // folders that had too many dirty names
	Climbed   uint64 // times there were too many dirty folders
	Overflows uint64 // times the kernel's queue ran over
	Errors    uint64 // other errors instead of events
	Special   uint64 // looks at FIFOs, sockets and devices, which are never opened
}

// Crowded reports whether there were, not long ago, more folders with changes than are told one by one. Who marks what he finds busy in a
// scan ([Watcher.Mark]) may be the cause, and better looks whether it is than try to send it. It may be called at any time.
func (w *Watcher) Crowded() bool { return w.marks.crowded(w.now()) }

// Stats may be called at any time.
func (w *Watcher) Stats() Stats {
	const most = 100
	s := Stats{
		RootGone: w.counts.rootGone.Load(), Waiting: int(w.counts.waiting.Load()), Events: w.counts.events.Load(), Handed: w.counts.handed.Load(),
		Overflows: w.counts.overflows.Load(), Errors: w.counts.errors.Load(), Special: w.counts.special.Load(),
	}
	select {
	case <-w.ready: // the sources are fixed by then
		s.Queues = len(w.sources)
	default:
	}
	w.table.mu.RLock()
	s.Folders, s.Watches, s.Unwatched = len(w.table.nodes), w.table.watched, len(w.table.polled)
	s.Refused, s.Unreadable = w.table.scarce, w.table.denied
	if root := w.table.nodes[""]; root != nil && isDenied(root.err) {
		s.RootDenied = root.err
	}
	var refusal error
	for n := range w.table.polled {
		if len(s.Reasons) == most && (refusal != nil || s.Refused == 0) {
			break
		}
		if scarce(n.err) {
			refusal = n.err
		}
		if len(s.Reasons) == most {
			continue
		}
		if s.Reasons == nil {
			s.Reasons = map[string]string{}
		}
		s.Reasons[n.path] = n.err.Error()
	}
	w.table.mu.RUnlock()
	now := w.now()
	var first tick
	if s.Busy, s.Oldest, first = w.writing.all(now, w.stale()); s.Busy > 0 {
		s.OldestSince = time.Now().Add(first - now).Round(0)
	}
	if refusal != nil {
		s.Cure = limitHint(refusal, s.Refused)
	}

	w.marks.mu.Lock()
	defer w.marks.mu.Unlock()
	s.Dirty, s.Collapsed, s.Climbed = w.marks.names, w.marks.collapsed, w.marks.climbed
	for _, d := range w.marks.folders {
		if d.all != nil {
			s.Rescans++
		}
	}
	return s
}
