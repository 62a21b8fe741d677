package watcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of [Config]. Sources where there are any; the rest are guesses that a test may contradict.
const (
	defaultSettle   = 2 * time.Second        // the customer's default (configuration key settle)
	defaultMaxDelay = 60 * time.Second       // the customer's default (configuration key max_delay)
	defaultGone     = 500 * time.Millisecond // a guess: longer than any "write aside, unlink, rename"
	defaultWatchers = 4                      // a guess: 4 kernel queues of 16,384 events
	defaultDebounce = 2 * time.Millisecond   // a guess: most files are written within it, and 5 ms is the goal
	defaultPoll     = 30 * time.Second       // a guess: folders without a watch
	defaultCheck    = 5 * time.Second        // the root: unmounting it gives no event
	defaultRetry    = time.Second            // a root that is gone
	defaultGrace    = time.Second            // a guess: after a rename, the watches below are compared once more
	defaultNames    = 128                    // dirty names in one folder before it becomes a Rescan
	defaultFolders  = 8192                   // dirty folders before they climb to a common parent; twice as many take 20 MB more (docs/design/0004)
	defaultTotal    = 65536                  // a guess: dirty names in all, about 20 MB
)

// Config says what to watch and how long to wait. The zero value of every field but Root is usable.
type Config struct {
	Root string // absolute path of a real folder, not a symbolic link

	// Skip excludes: what it returns true for is neither watched nor reported, and nothing below an excluded folder
	// is. rel is slash-separated and below Root. A path that is gone is left out only if both forms are excluded. It
	// is called from several goroutines. nil excludes nothing.
	Skip func(rel string, folder bool) bool

	// Away says that the root may be away at the start, too: it is looked for then, as one that went later is.
	Away bool

	Depth int // 0 all the way, 1 only the root's own entries, n that deep

	Settle   time.Duration // where no lease can be had: a file is at rest when quiet for so long (2 s)
	MaxDelay time.Duration // where no lease can be had: reported at the latest then, quiet or not (60 s)
	Gone     time.Duration // how long a name stays gone before that is reported (500 ms, a guess)

	// Unresting is how long a file must have been written without a rest to be handed out all the same, and the time between
	// two such hints; it is for files of which a prefix is wanted ([Watcher.TakeUnresting]). 0: they wait for their rest.
	Unresting time.Duration

	Watchers int          // the number of kernel queues the tree is spread over, 1 to 255 (4)
	Log      *slog.Logger // nil: slog.Default()

	// The rest is for tests and for odd machines.

	Debounce   time.Duration // quiet after the last event before a file is looked at (2 ms)
	Poll       time.Duration // between two Rescans of a folder without a watch (30 s, a guess)
	Check      time.Duration // between two looks at the root and the mount table (5 s)
	Retry      time.Duration // between two looks for a root that is gone (1 s)
	Grace      time.Duration // after a rename, until the watches are compared with the disk again (1 s)
	MaxNames   int           // dirty names in a folder that turn into its Rescan (128)
	MaxFolders int           // dirty folders that climb into deep Rescans (8,192)
	Queue      int           // above 0: keep so few events per kernel queue, the rest is an overflow

	open func() (source, error)         // tests: instead of fsnotify
	rest func(path string) (Rest, bool) // tests: instead of the lease; false: the file is not there
	gate func(ctx context.Context)      // tests: runs before each receive of an event loop
	gap  time.Duration                  // tests: the first gap between two rescans after overflows
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&c.Settle, defaultSettle}, {&c.MaxDelay, defaultMaxDelay}, {&c.Gone, defaultGone},
		{&c.Debounce, defaultDebounce}, {&c.Poll, defaultPoll}, {&c.Check, defaultCheck},
		{&c.Retry, defaultRetry}, {&c.Grace, defaultGrace},
	} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&c.Watchers, defaultWatchers}, {&c.MaxNames, defaultNames}, {&c.MaxFolders, defaultFolders}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	c.Watchers = min(c.Watchers, 255)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.gap <= 0 {
		c.gap = overflowGap
	}
	if c.open == nil {
		c.open = func() (source, error) { return openSource(c.Queue) }
	}
	if c.rest == nil {
		c.rest = restOf
	}
	return c
}

// Event is one hint. Path is relative to Root and slash-separated; "" is the root.
//
// Rescan false: this path (a file, a folder or anything else) is at rest and may differ, or is gone: lstat tells.
// For a folder it means the folder's own entry, not what is in it; but one that is gone took everything below it along,
// and that need not be told apart.
//
// Rescan true: look at the folder's own entry and at the entries in it, with Deep at everything below it. Why says
// what led to it, for logs.
//
// Folders come and go while they are looked at, so a consumer may know of what is in one without knowing of the folder.
// Such a folder counts as an entry that is known: if it is not there, what is known below it is gone.
type Event struct {
	Path   string
	Rescan bool
	Deep   bool
	Why    string
}

// ErrStopped is returned by [Watcher.Next] when Run has ended and nothing is left to hand out.
var ErrStopped = errors.New("watcher: stopped")

// Watcher watches one tree. Make it with [New]; all methods may be called at the same time.
type Watcher struct {
	cfg    Config
	epoch  time.Time // of ticks
	marks  *marks
	table  *table
	keeper *keeper
	counts counters

	writing busyFiles // what waits for its writer

	ready   chan struct{}
	done    chan struct{}
	started atomic.Bool
	sources []source // set by Run before anything reads it
}

// tick is the monotonic time since the Watcher was made; 0 means never. Steps of the wall clock do not move it.
type tick = time.Duration

func (w *Watcher) now() tick { return max(1, time.Since(w.epoch)) }

// New checks the configuration and the root; nothing runs yet.
func New(cfg Config) (*Watcher, error) {
	if !filepath.IsAbs(cfg.Root) {
		return nil, fmt.Errorf("watcher: the root %q is not an absolute path", cfg.Root)
	}
	if cfg.Depth < 0 {
		return nil, fmt.Errorf("watcher: the depth %d is negative", cfg.Depth)
	}
	cfg.Root = filepath.Clean(cfg.Root)
	if err := checkRoot(cfg.Root); err != nil && !cfg.Away {
		return nil, err
	}
	w := &Watcher{
		cfg:   cfg.withDefaults(),
		epoch: time.Now(),
		ready: make(chan struct{}),
		done:  make(chan struct{}),
	}
	w.table = newTable()
	w.marks = newMarks(limits{names: w.cfg.MaxNames, folders: w.cfg.MaxFolders, total: defaultTotal,
		debounce: w.cfg.Debounce, maxDelay: w.cfg.MaxDelay})
	w.keeper = newKeeper(w)
	w.marks.unseen = w.keeper.peek
	return w, nil
}

// checkRoot says whether root is a folder that can be listed.
func checkRoot(root string) error {
	fi, err := os.Lstat(root)
	if err != nil {
		return fmt.Errorf("watcher: root: %w", err)
	}
	if !fi.IsDir() {
		return fmt.Errorf("watcher: root: %w", &fs.PathError{Op: "watch", Path: root, Err: errors.New("not a folder")})
	}
	f, err := os.Open(root)
	if err != nil {
		return fmt.Errorf("watcher: root: %w", err)
	}
	return f.Close()
}

// Run adds the watches, closes [Watcher.Ready], and then keeps watching until ctx ends, which is not an error. Scan
// after Ready: what changes from then on is reported. It fails when the root is not a readable folder at the start.
// Run may be called once.
func (w *Watcher) Run(ctx context.Context) error {
	if w.started.Swap(true) {
		return errors.New("watcher: Run was called twice")
	}
	defer close(w.done)
	if err := checkRoot(w.cfg.Root); err != nil && !w.cfg.Away {
		return err
	}
	w.openSources()
	var running sync.WaitGroup
	for i, s := range w.sources {
		running.Go(func() { w.listen(ctx, i, s) })
	}
	running.Go(func() { w.settle(ctx) })
	w.keeper.run(ctx)
	running.Wait()
	for _, s := range w.sources {
		if err := s.Close(); err != nil {
			w.cfg.Log.Warn("closing a kernel queue", "folder", w.cfg.Root, "err", err)
		}
	}
	return nil
}

// openSources opens as many kernel queues as it is given. With none the whole tree is polled.
func (w *Watcher) openSources() {
	for range w.cfg.Watchers {
		s, err := w.cfg.open()
		if err != nil {
			w.keeper.refused = err
			w.cfg.Log.Warn("fewer kernel queues than wanted", "folder", w.cfg.Root, "opened", len(w.sources),
				"wanted", w.cfg.Watchers, "hint", instanceHint(err), "err", err)
			return
		}
		w.sources = append(w.sources, s)
	}
}

// Ready is closed when the first watches stand.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// Next waits for the first hint that is due and returns it with others, n in all at the most. What is handed out is no longer
// dirty: who cannot act on it calls [Watcher.Mark]. Within one answer, what exists comes before what is gone, and a
// folder or file before the things below it. It fails with the error of ctx, or with [ErrStopped] after Run.
func (w *Watcher) Next(ctx context.Context, n int) ([]Event, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if out := w.marks.take(w.now(), n); len(out) > 0 {
			w.counts.handed.Add(uint64(len(out)))
			return out, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.marks.readyWake:
		case <-w.done:
			if out := w.marks.take(w.now(), n); len(out) > 0 {
				return out, nil
			}
			return nil, ErrStopped
		}
	}
}

// Mark asks that rel be settled and reported (again), or, for "", that the root's entries be looked through. It is for
// files that a scan found busy and for changes that could not be acted upon. The path is looked at after 50 ms at the
// earliest; who marks again and again because of a failure should wait longer between two attempts. A path that is
// excluded or too deep is not taken.
func (w *Watcher) Mark(rel string) (taken bool) {
	if rel == "." || rel == "" {
		w.marks.rescan("", false, "asked for", w.now())
		return true
	}
	rel = strings.Trim(filepath.ToSlash(rel), "/")
	if !w.reported(rel) || w.skip(rel, false) && w.skip(rel, true) {
		return false
	}
	for p := parent(rel); p != ""; p = parent(p) {
		if w.skip(p, true) {
			return false
		}
	}
	w.marks.ask(rel, w.now())
	return true
}

// skip reports whether the configuration excludes rel.
func (w *Watcher) skip(rel string, folder bool) bool {
	return w.cfg.Skip != nil && rel != "" && w.cfg.Skip(rel, folder)
}

// levels is how deep rel lies: 0 for the root, 1 for its entries.
func levels(rel string) int {
	if rel == "" {
		return 0
	}
	return strings.Count(rel, "/") + 1
}

// reported reports whether Depth lets rel be handed out.
func (w *Watcher) reported(rel string) bool { return w.cfg.Depth == 0 || levels(rel) <= w.cfg.Depth }

// watchable reports whether Depth lets the folder rel have a watch.
func (w *Watcher) watchable(rel string) bool { return w.cfg.Depth == 0 || levels(rel) < w.cfg.Depth }

// full is the path of rel on disk.
func (w *Watcher) full(rel string) string {
	if rel == "" {
		return w.cfg.Root
	}
	if w.cfg.Root == string(filepath.Separator) {
		return w.cfg.Root + filepath.FromSlash(rel)
	}
	return w.cfg.Root + string(filepath.Separator) + filepath.FromSlash(rel)
}

// parent is the folder that holds rel; of an entry of the root it is "".
func parent(rel string) string {
	if i := strings.LastIndexByte(rel, '/'); i >= 0 {
		return rel[:i]
	}
	return ""
}

// within reports whether rel is folder or lies below it.
func within(rel, folder string) bool {
	return folder == "" || rel == folder ||
		len(rel) > len(folder) && rel[len(folder)] == '/' && rel[:len(folder)] == folder
}

// join puts a name below a folder.
func join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}
