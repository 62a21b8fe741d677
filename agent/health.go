package agent

import (
	"fmt"
	"strings"
	"time"

	"s3apu/queue"
	"s3apu/watcher"
)

// Health is what /healthz tells. OK is false while anything keeps files from reaching S3: a target that is parked, a
// root that is lost, a disk that refuses the queue.
type Health struct {
	OK      bool           `json:"ok"`
	Version string         `json:"version"`
	Uptime  float64        `json:"uptime_seconds"`
	Queued  int64          `json:"queued"`
	Failed  int64          `json:"failed"`          // given up, until retried or changed
	Held    int64          `json:"held"`            // deletes that wait for a person
	Error   string         `json:"error,omitempty"` // why the queue takes nothing
	Notes   []string       `json:"notes,omitempty"` // what a person should look at, though all goes on
	Holds   []HoldHealth   `json:"holds,omitempty"`
	Buckets []BucketHealth `json:"buckets"`
	Folders []FolderHealth `json:"folders"`
}

// HoldHealth says since when deletes of a folder wait for a person, and why.
type HoldHealth struct {
	Folder string    `json:"folder,omitempty"`
	Since  time.Time `json:"since"`
	Why    string    `json:"why"`
}

// BucketHealth is the state of one bucket and its workers.
type BucketHealth struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	State  string `json:"state"` // one line for people
	Limit  int    `json:"concurrency"`
	Active int    `json:"active"`
	Sent   int64  `json:"sent"`
	Bytes  int64  `json:"bytes"`

	Foreign int64 `json:"foreign,omitempty"` // objects that stay though their file is gone: somebody else wrote over ours, since the start
}

// FolderHealth is the state of one watched folder.
type FolderHealth struct {
	Path      string `json:"path"`
	OK        bool   `json:"ok"`
	State     string `json:"state"` // one line for people
	Watches   int    `json:"watches"`
	Dirty     int    `json:"dirty"`     // paths that are to be looked at
	Unwatched int    `json:"unwatched"` // folders that are polled, for one of the next two reasons or another one

	Refused    int               `json:"refused,omitempty"`    // folders for which the system grants no watch
	Cure       string            `json:"cure,omitempty"`       // the setting that would grant them
	Unreadable int               `json:"unreadable,omitempty"` // folders that may not be read; nothing below them is deleted
	Reasons    map[string]string `json:"reasons,omitempty"`    // of up to 100 folders that are polled, by their path

	Overflows uint64 `json:"overflows"` // times the kernel's queue of events ran over, and folders were scanned instead

	Blind []string `json:"blind,omitempty"` // file systems on which others' changes go unheard, and where they lie

	Busy      int        `json:"busy,omitempty"`       // files that were being written whenever they were looked at, and wait
	Busiest   string     `json:"busiest,omitempty"`    // the one that has waited longest, by its path below the folder
	BusySince *time.Time `json:"busy_since,omitempty"` // since when

	Frozen []FrozenHealth `json:"frozen,omitempty"`
}

// FrozenHealth is a folder below which nothing is deleted, because something else is mounted there than before.
type FrozenHealth struct {
	Path  string    `json:"path"` // below the watched folder
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
	Kept  int64     `json:"kept"` // objects whose files are missing there
}

// Health returns the state now. It may be called at any time.
func (a *Agent) Health() Health {
	q := a.queue.Stats()
	h := Health{OK: true, Version: a.opt.Version, Uptime: time.Since(a.began).Seconds(),
		Queued: q.Pending(), Failed: q.Dead, Held: q.Held, Buckets: []BucketHealth{}, Folders: []FolderHealth{}}
	if err := a.queue.Err(); err != nil {
		h.OK, h.Error = false, err.Error()
	}
	if h.Held > 0 {
		h.Holds = a.holds()
	}
	for _, dir := range queue.Aside(a.cfg.QueueDir()) {
		h.Notes = append(h.Notes, "the queue was damaged and begun anew; the damaged one lies in "+dir+
			": see the log for what that means, and remove the folder")
	}
	if err := a.logs.fault(); err != nil {
		h.Notes = append(h.Notes, err.Error())
	}
	for _, t := range a.targets {
		b := t.health()
		h.OK = h.OK && b.OK
		h.Buckets = append(h.Buckets, b)
	}
	for _, f := range a.folders {
		fh := f.health()
		h.OK = h.OK && fh.OK
		h.Folders = append(h.Folders, fh)
	}
	return h
}

func (t *target) health() BucketHealth {
	b := BucketHealth{Name: t.name, OK: true, State: "ok"}
	if t.pool == nil {
		b.State = "left to clients of the socket (max_workers = 0)"
		return b
	}
	s, away := t.pool.Stats(), t.away.Load()
	b.Limit, b.Active, b.Sent, b.Bytes = s.Limit, s.Active, s.Done-s.Idle, s.Bytes
	b.Foreign = s.Foreign
	switch {
	case s.Parked:
		b.OK = false
		b.State = fmt.Sprintf("waiting since %s: %s; the next look is at %s",
			s.Since.Format(time.TimeOnly), s.Reason, s.NextProbe.Format(time.TimeOnly))
	case away != nil:
		b.OK, b.State = false, "it has not answered yet: "+*away
	case s.Slowed:
		b.State = fmt.Sprintf("slowed down at the target's request, %d of %d workers", s.Limit, s.Workers)
	}
	if s.Foreign > 0 {
		b.State += fmt.Sprintf("; %d objects of files that are gone stay, for somebody else wrote them: see the log", s.Foreign)
	}
	return b
}

func (f *folder) health() FolderHealth {
	s := f.watch.Stats()
	h := FolderHealth{Path: f.cfg.Path, OK: true, Watches: s.Watches, Dirty: s.Dirty + int(f.graves.paths.Load()), Unwatched: s.Unwatched,
		Refused: s.Refused, Cure: s.Cure, Unreadable: s.Unreadable, Reasons: s.Reasons, Overflows: s.Overflows}
	last := f.lastScan.Load()
	switch {
	case s.RootGone:
		h.OK, h.State = false, "the folder is gone or not readable; nothing is deleted, and it goes on when it is back"
	case s.RootDenied != nil:
		h.OK, h.State = false, "the folder cannot be read, and nothing is deleted: "+s.RootDenied.Error()
	case last == nil:
		h.State = "the first scan is under way"
	case last.Err != nil:
		h.OK, h.State = false, "the folder cannot be compared, and nothing is deleted: "+last.Err.Error()
	case f.scanning.Load() > 0:
		h.State = "watched; a scan is under way"
	default:
		h.State = fmt.Sprintf("watched; scanned at %s", last.At.Format(time.DateTime))
	}
	h.State += polled(s)
	if places := f.blind.Load(); places != nil && len(*places) > 0 {
		h.State += "; " + BlindText(*places, f.every)
		for _, p := range *places {
			h.Blind = append(h.Blind, p.String())
		}
	}
	if s.Busy > 0 {
		h.Busy, h.Busiest, h.BusySince = s.Busy, s.Oldest, &s.OldestSince
		h.State += fmt.Sprintf("; %d files are being written and wait for it to end, %q since %s", s.Busy, s.Oldest, s.OldestSince.Format(time.DateTime))
		if f.cfg.Unresting == unrestingPrefix {
			h.State += fmt.Sprintf(" (what they hold is uploaded every %v)", f.cfg.MinInterval.D())
		}
	}
	for _, z := range f.feed.Frozen() {
		h.Frozen = append(h.Frozen, FrozenHealth{Path: z.Path, Why: z.Why, Since: z.Since, Kept: z.Kept})
		h.State += fmt.Sprintf("; nothing below %s is deleted since %s: %s (%s kept)",
			z.Path, z.Since.Format(time.DateTime), z.Why, counted(z.Kept, "object", ""))
	}
	return h
}

// counted says how many there are: "1 folder is", "2 folders are" with the verb " is", and without a verb if that is empty.
func counted(n int64, one, verb string) string {
	if n == 1 {
		return "1 " + one + verb
	}
	return fmt.Sprintf("%d %ss%s", n, one, strings.Replace(verb, " is", " are", 1))
}

// polled says in words which folders are polled, and why.
func polled(s watcher.Stats) string {
	var b strings.Builder
	if s.Refused > 0 {
		fmt.Fprintf(&b, "; %s polled, for the system grants no more watches", counted(int64(s.Refused), "folder", " is"))
		if s.Cure != "" {
			fmt.Fprintf(&b, " (the cure: %s)", s.Cure)
		}
	}
	if s.Unreadable > 0 && s.RootDenied == nil {
		fmt.Fprintf(&b, "; %s cannot be read, and nothing below is deleted", counted(int64(s.Unreadable), "folder", ""))
	}
	if n := s.Unwatched - s.Refused - s.Unreadable; n > 0 {
		fmt.Fprintf(&b, "; %s cannot be watched, only polled", counted(int64(n), "folder", ""))
	}
	return b.String()
}
