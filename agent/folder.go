package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"s3apu/feeder"
	"s3apu/protocol"
	"s3apu/watcher"
)

// Sizes and times of a folder's work.
const (
	eventBatch     = 1000             // events taken from the watcher at a time (a guess: one commit of the queue)
	retryPause     = time.Second      // after the queue or the disk refused (a guess)
	mostRescans    = 4096             // folders waiting for a deep scan before they become one scan of the root (a guess)
	reconcileSpray = 0.1              // share of the interval by which reconciles are spread (a guess)
	listMemo       = "listed "        // name of the queue's value that says when a folder was last compared with the listing
	mostPause      = time.Minute      // the longest pause of those that double (a guess: a disk is back, and a person waits)
	listRetry      = 10 * time.Minute // until the next attempt at a listing that failed (a guess)
	quietScans     = 10 * time.Minute // scans that follow each other faster, and find nothing, are no news (a guess)
)

// folder is one watched folder at work: its watcher tells what may differ, its feeder makes instructions of it, and a
// scan at the start and on a schedule finds what events did not tell.
type folder struct {
	cfg    Folder
	bucket string
	watch  *watcher.Watcher
	feed   *feeder.Feeder
	memo   memo
	every  Reconcile
	log    *slog.Logger
	now    func() time.Time

	ready   chan struct{} // closed after the first scan that ended
	once    sync.Once     // of closing it
	rescans rescans
	graves  graves

	scanning atomic.Int32 // scans of the whole folder under way
	lastScan atomic.Pointer[scanned]
	trouble  atomic.Pointer[string] // the failure that was said last; nil: none
	kept     kept

	match     *Match
	blindLook func(root string) []BlindPlace
	blind     atomic.Pointer[[]BlindPlace] // as last seen; nil: not yet

	hold  atomic.Pointer[hold]
	noted atomic.Int64 // the number of the hold that was noted last
}

// memo is the queue as a folder sees it beside its feeder: where it remembers across restarts when it was last listed,
// and what tells whether anything can be put at all.
type memo interface {
	Memo(name string) ([]byte, error)
	SetMemo(ctx context.Context, name string, value []byte) error
	Err() error                   // why nothing can be put now
	Up(ctx context.Context) error // waits until something can
	Time() time.Duration          // the queue's own time, which no step of the wall's clock changes
	Reopened() <-chan struct{}    // closed when that is so again: backfill may have been lost
}

// scanned is what is told about a scan.
type scanned struct {
	At     time.Time
	Report feeder.Report
	Err    error
}

// newFolder wires one folder: watcher → feeder → queue.
func (a *Agent) newFolder(cfg Folder) (*folder, error) {
	match, err := NewMatch(cfg.Include, cfg.Exclude)
	if err != nil {
		return nil, usage("check the configuration", cfg.Path, err)
	}
	log := a.log.With("folder", cfg.Path)
	f := &folder{cfg: cfg, bucket: a.cfg.BucketOf(cfg), memo: a.queue, every: a.cfg.Reconcile, log: log, now: time.Now,
		ready: make(chan struct{}), rescans: rescans{wake: make(chan struct{}, 1)},
		graves: graves{batches: make(chan grave, graveBatches)}}
	f.match, f.blindLook = match, BlindPlaces
	f.rescans.fit = func() error { return f.feed.Fit() }
	var unresting time.Duration
	if cfg.Unresting == unrestingPrefix {
		unresting = cfg.MinInterval.D()
	}
	away, err := f.away(a.cfg)
	if err != nil {
		return nil, err
	}
	f.watch, err = watcher.New(watcher.Config{
		Root: cfg.Path, Skip: func(rel string, folder bool) bool { return !match.Has(rel, folder) }, Depth: cfg.Recursion,
		Settle: cfg.Settle.D(), MaxDelay: cfg.MaxDelay.D(), Unresting: unresting, Log: a.log, Away: away,
	})
	if err != nil {
		return nil, &protocol.Error{Op: "watch", Object: cfg.Path, Kind: protocol.KindLocal, Err: err}
	}
	var list feeder.Lister
	for _, t := range a.targets {
		if t.name == f.bucket {
			list = t.bucket
		}
	}
	settle := cfg.Settle.D()
	rests := &resting{settle: settle}
	unasked := func(st protocol.Stat) bool { return rests.mayLeave(st) && !f.watch.Crowded() }
	if unresting > 0 { // which files may be uploaded, and when, the feeder asks
		unasked = nil
	}
	atRest := func(path string, st protocol.Stat) bool {
		if rests.atRest(path, st) {
			return true
		}
		rel, err := filepath.Rel(cfg.Path, path)
		if err != nil || !f.watch.TakeUnresting(filepath.ToSlash(rel)) {
			return false
		}
		f.watch.Mark(filepath.ToSlash(rel)) // its end gives no event
		return true
	}
	f.feed, err = feeder.New(feeder.Folder{
		Root: cfg.Path, Bucket: f.bucket, Prefix: cfg.Prefix, Match: match.Has, Depth: cfg.Recursion,
		Marker: cfg.Marker, Delete: cfg.Deletes(), FolderObjects: a.cfg.S3.FolderObjects, Settle: settle, Unasked: unasked, PartSize: partSizeOf,
		Links: cfg.Symlinks, Rescan: f.rescans.add, Away: away,
	}, feederQueue{a.queue, log}, list, atRest, func(rel string) { f.watch.Mark(rel) }, a.log)
	return f, err
}

// run watches, scans and feeds until ctx ends.
func (f *folder) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer func() { stop(); group.Wait() }()
	failed := make(chan error, 1)
	group.Go(func() { failed <- f.watch.Run(ctx) })
	select {
	case <-f.watch.Ready():
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
	if f.memo.Up(ctx) != nil { // meanwhile the watcher remembers, more coarsely the longer it takes
		return nil
	}
	f.recall()
	group.Go(func() { f.reconcile(ctx) })
	group.Go(func() { f.rescan(ctx) })
	group.Go(func() { f.events(ctx) })
	group.Go(func() { f.bury(ctx) })
	group.Go(func() { f.lookBlind(ctx) })
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// events carries what the watcher tells to the feeder, for as long as ctx lasts. What the queue refuses the feeder marks
// again: the disk keeps the truth, so trying later loses nothing.
func (f *folder) events(ctx context.Context) {
	var gather gatherer
	var next time.Time
	for f.memo.Up(ctx) == nil {
		if wait := time.Until(next); wait > 0 {
			pause(ctx, wait)
		}
		batch, err := f.watch.Next(ctx, eventBatch)
		if err != nil {
			if ctx.Err() == nil {
				f.log.Error("the watcher gave up", "err", err)
			}
			return
		}
		next = gather.took(len(batch), time.Now())
		var paths []string
		later := func(rels []string) { f.graves.add(ctx, rels, f.rescans.last()) }
		for _, e := range batch {
			switch {
			case !e.Rescan:
				paths = append(paths, e.Path)
			case e.Deep:
				f.log.Debug("scanning a folder", "path", e.Path, "why", e.Why)
				f.rescans.add(e.Path)
			default:
				if _, err := f.scan(ctx, e.Path, feeder.ScanOptions{Live: true, Gone: later}); err != nil {
					f.rescans.add(e.Path) // where it is tried again
				}
			}
		}
		if len(paths) > 0 {
			f.changed(ctx, paths, f.feed.ChangeBut(ctx, paths, later))
		}
	}
}

// changed deals with the end of a change.
func (f *folder) changed(ctx context.Context, paths []string, err error) {
	f.noteHold(ctx)
	switch {
	case err == nil || ctx.Err() != nil || f.memo.Err() != nil: // the feeder has marked what was not queued; the queue says why
	case errors.Is(err, feeder.ErrLeftOut):
		f.complain(ctx, "look for what may go", "", err)
		f.rescans.add("") // which finds them, once the folder is fit again
	default:
		f.log.Error("changes could not be queued whole; they are tried again", "paths", len(paths), "err", err)
		pause(ctx, retryPause) // the feeder has marked what was not queued
	}
}

// rescan scans the folders that the watcher could not tell in detail, one at a time, beside the stream of changes.
func (f *folder) rescan(ctx context.Context) {
	for {
		next, ok := f.rescans.take(ctx)
		if !ok || f.memo.Up(ctx) != nil {
			return
		}
		if _, err := f.scan(ctx, next.path, feeder.ScanOptions{Deep: true, Live: true}); err != nil {
			f.rescans.again(next)
		}
		f.rescans.done()
	}
}

// untilFit waits for that long, or until a folder that was not fit for deletes is: that it heals must not wait for the
// next attempt.
func (f *folder) untilFit(ctx context.Context, d time.Duration) {
	unfit := f.feed.Fit() != nil
	for end := time.Now().Add(d); ctx.Err() == nil && time.Until(end) > 0; {
		pause(ctx, min(time.Until(end), retryPause))
		if unfit && f.feed.Fit() == nil {
			return
		}
	}
}

// reconcile compares the whole folder with the ledger: at the start, then on a schedule. The first comparison ever, and
// one each [reconcile] list, also asks the bucket what it holds.
func (f *folder) reconcile(ctx context.Context) {
	for failures := 0; f.memo.Up(ctx) == nil; {
		again := f.memo.Reopened()
		next, err := f.reconcileOnce(ctx)
		if err != nil {
			f.untilFit(ctx, min(retryPause<<min(failures, 10), mostPause))
			failures++
			continue
		}
		failures = 0
		var due <-chan time.Time // never
		if next > 0 {
			due = time.After(next + time.Duration(rand.Float64()*reconcileSpray*float64(next))) //nolint:gosec // spreading load needs no secret
		}
		select {
		case <-due:
		case <-again:
			f.forget()
		case <-ctx.Done():
		}
	}
}

// reconcileOnce returns how long to wait for the next time; 0 means for ever.
func (f *folder) reconcileOnce(ctx context.Context) (time.Duration, error) {
	list := f.listDue()
	report, err := f.scan(ctx, "", feeder.ScanOptions{Deep: true, List: list})
	if err != nil {
		return 0, err
	}
	f.once.Do(func() { close(f.ready) })
	next := f.every.Interval.D()
	if every := f.every.List.D(); every > 0 && (next == 0 || every < next) {
		next = every
	}
	if list && report.Degraded != nil {
		f.log.Warn("the bucket could not be listed; what the ledger does not know is sent", "err", report.Degraded)
		if next == 0 || next > listRetry {
			next = listRetry
		}
	} else if list {
		f.rememberListing(ctx)
	}
	return next, nil
}

// scan runs one scan and remembers how it went. A failure is logged here: once as an error, until a scan of the whole
// folder succeeds again.
func (f *folder) scan(ctx context.Context, path string, opt feeder.ScanOptions) (feeder.Report, error) {
	whole := path == "" && opt.Deep
	if whole {
		f.scanning.Add(1)
		defer f.scanning.Add(-1)
	}
	r, err := f.feed.Scan(ctx, path, opt)
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	again := false
	if whole {
		last := f.lastScan.Load()
		again = last != nil && last.Err == nil && f.now().Sub(last.At) < quietScans
		f.lastScan.Store(&scanned{At: f.now(), Report: r, Err: err})
	}
	f.remember(ctx, whole && err == nil)
	f.noteHold(ctx)
	switch {
	case err != nil && f.memo.Err() != nil: // the queue says what is wrong
	case err != nil:
		f.complain(ctx, "scan", path, err)
	case whole:
		if f.trouble.Swap(nil) != nil {
			f.log.Info("the folder can be scanned again")
		}
		level := slog.LevelInfo
		if again && r.Sent+r.Deleted+r.Held == 0 {
			level = slog.LevelDebug // a blind file system is looked through all the time
		}
		f.log.Log(ctx, level, "scanned", "report", r.String(), "listed", opt.List && r.Degraded == nil)
	}
	return r, err
}

// complain logs a failure as an error, and the same one again only for who looks closely.
func (f *folder) complain(ctx context.Context, op, path string, err error) {
	text, level := err.Error(), slog.LevelError
	if last := f.trouble.Swap(&text); last != nil && *last == text {
		level = slog.LevelDebug
	}
	f.log.Log(ctx, level, "the folder cannot be compared; deletes are left out, and it is tried again until it can", "op", op,
		"path", path, "err", err)
}

// listDue reports whether the bucket's own listing is to be compared as well.
func (f *folder) listDue() bool {
	text, err := f.memo.Memo(f.listName())
	if err != nil || len(text) == 0 {
		return true
	}
	_, at, _ := strings.Cut(string(text), " ")
	then, err := strconv.ParseInt(at, 10, 64)
	every := f.every.List.D()
	return err != nil || every > 0 && f.memo.Time()-time.Duration(then) >= every
}

func (f *folder) rememberListing(ctx context.Context) {
	if err := f.memo.SetMemo(ctx, f.listName(), fmt.Appendf(nil, "%s %d", f.now().UTC().Format(time.RFC3339), f.memo.Time())); err != nil && ctx.Err() == nil {
		f.log.Warn("the time of the listing could not be kept; the next start lists again", "err", err)
	}
}

func (f *folder) listName() string { return listMemo + f.name() }

// name tells the folder from others in the queue's values.
func (f *folder) name() string {
	return strings.Join([]string{f.bucket, f.cfg.Prefix, f.cfg.Path}, "\x00")
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
