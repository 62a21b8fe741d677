package queue

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"s3apu/protocol"
)

const opOpen = "open the queue"

// The folder of a queue holds a lock, and the database under the name of its format. A new database is made under
// another name and renamed when it is whole, so that a half-made one is never taken for a damaged one.
const (
	lockName   = "LOCK"
	storeName  = "v1"
	newName    = "new"
	format     = 1
	maxBacklog = 100_000 // see Options.MaxBackfill
)

// Open opens the queue in dir, a folder of its own, and makes it if it is not there. Its files are 0600, its folders
// 0700.
//
// It fails with KindLocked if another process holds the queue, KindDamaged if the store cannot be what was written
// (nothing of it is then changed), KindUsage if a newer version of the program made it, KindLocal if the disk refuses.
// With [Options.Heal] a disk that refuses and a damaged store are no errors: see heal.go.
//
// Leases with hold 0 of an earlier process are ready again afterwards, with Again set.
func Open(dir string, opt Options) (*Queue, error) {
	q := newQueue(dir, opt)
	err := q.open()
	if err != nil && opt.Heal {
		err = q.openLater(err)
	}
	if err != nil {
		if q.lock != nil {
			_ = q.lock.Close() // the first error counts
		}
		return nil, err
	}
	return q, nil
}

// newQueue makes a queue that has no store yet.
func newQueue(dir string, opt Options) *Queue {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
		if opt.boot == nil {
			opt.boot = sinceBoot
		}
	}
	if opt.MaxBackfill <= 0 {
		opt.MaxBackfill = maxBacklog
	}
	if opt.fs == nil {
		opt.fs = vfs.Default
	}
	if opt.memTable == 0 {
		opt.memTable = memTableBytes
	}
	if opt.filter == 0 {
		opt.filter = filterTags
	}
	if opt.healGap == 0 {
		opt.healGap = firstHealGap
	}
	q := &Queue{
		opt: opt, log: opt.Log, dir: dir, lines: map[string]*line{},
		closing: make(chan struct{}), reopened: make(chan struct{}), alarm: make(chan struct{}, 1),
	}
	q.empty = sync.NewCond(&q.gate)
	q.clock = newClock(opt.Now, 0)
	q.opened = q.clock.t
	q.store.Store(q.newStore())
	return q
}

func (q *Queue) newStore() *store {
	st := &store{broken: make(chan struct{}), done: make(chan struct{})}
	st.guard = newGuardFS(q.opt.fs, q.dir, st.done, func(err error) { st.breakWith(storeError(opWrite, q.dir, err)) })
	return st
}

// open takes the lock, if it is not held yet, and opens the store, or leaves all as it was but for the lock.
func (q *Queue) open() (err error) {
	st := q.newStore()
	if q.lock == nil {
		if q.lock, err = lockDir(st.guard, q.dir); err != nil {
			q.lock = nil
			return err
		}
		if q.opt.fs == vfs.Default {
			if q.place, err = os.Stat(st.guard.PathJoin(q.dir, lockName)); err != nil {
				return storeError(opOpen, q.dir, err)
			}
		}
	}
	defer func() {
		if err != nil {
			err = storeError(opOpen, q.dir, err)
		}
	}()
	path := st.guard.PathJoin(q.dir, storeName)
	found, err := findStore(q.opt.fs, q.dir)
	if err != nil {
		return err
	}
	if !found {
		if err := q.create(st, path); err != nil {
			return err
		}
	}
	seen, err := q.inspect(st, path, false)
	if err != nil {
		return err
	}
	db, err := q.openDB(st, path, st.guard, false)
	if err != nil {
		return err
	}
	if err = st.guard.failure(); err == nil {
		err = indexInodes(db)
	}
	if err == nil {
		err = q.begun(st, db, seen)
	}
	if err != nil {
		close(st.done)
		err = errors.Join(err, db.Close())
	}
	return err
}

// begun puts an opened database in the place of what was there. Nobody enters before its state is whole.
func (q *Queue) begun(st *store, db *pebble.DB, s seen) error {
	q.gate.Lock()
	defer q.gate.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	old := q.store.Swap(st)
	q.db = db
	if err := q.recover(s); err != nil {
		q.db = nil
		q.store.Store(old)
		return err
	}
	return nil
}

// lockDir makes the folder if it is not there and locks it against other processes.
func lockDir(g *guardFS, dir string) (io.Closer, error) {
	err := makeDir(g.FS, dir)
	if err == nil {
		var l io.Closer
		if l, err = g.Lock(g.PathJoin(dir, lockName)); err == nil {
			return l, nil
		}
	}
	e := storeError(opOpen, dir, err)
	e.Kind = protocol.KindLocal
	var perr *fs.PathError
	var errno syscall.Errno
	// A lock that is taken shows as a bare errno of the lock call (EAGAIN or EACCES, fcntl(2); a sharing violation on
	// Windows), or as an error without one if it is this process that holds it.
	if taken := errors.As(err, &errno); !errors.As(err, &perr) && (!taken || errno != syscall.ENOLCK) {
		e.Kind = protocol.KindLocked
		e.Err = errors.New("another process has it open")
		e.Hint = "stop the other agent, or give this one a state_dir of its own"
	}
	return nil, e
}

var storePattern = regexp.MustCompile(`^v[0-9]+$`)

// findStore reports whether there is a store of our format, and fails if there is something else.
func findStore(f vfs.FS, dir string) (bool, error) {
	names, err := f.List(dir)
	if err != nil {
		return false, err
	}
	if slices.Contains(names, storeName) {
		return true, newerPebble(f, f.PathJoin(dir, storeName))
	}
	for _, n := range names {
		switch {
		case n == lockName || n == newName || n == probeName:
		case storePattern.MatchString(n):
			return false, &protocol.Error{Op: opOpen, Object: dir, Kind: protocol.KindUsage,
				Err:  fmt.Errorf("it has the format %s, which this version of the program does not know", n),
				Hint: hintNewer}
		default:
			return false, &protocol.Error{Op: opOpen, Object: dir, Kind: protocol.KindDamaged,
				Err:  fmt.Errorf("the folder holds %q and no queue", n),
				Hint: "move the folder aside, or give the agent another state_dir"}
		}
	}
	return false, nil
}

// versionMarker is the beginning of the name of the file by which Pebble marks the version of its files; a number that
// grows with each mark and the version follow, as in "marker.format-version.000008.021".
const versionMarker = "marker.format-version."

// newerPebble fails if a newer version of the program made the files: Pebble's own error for that has no type.
func newerPebble(f vfs.FS, path string) error {
	names, err := f.List(path)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, n := range slices.Backward(names) {
		rest, ok := strings.CutPrefix(n, versionMarker)
		if _, text, found := strings.Cut(rest, "."); ok && found {
			if v, err := strconv.ParseUint(text, 10, 64); err == nil && v > uint64(formatMajorVersion) {
				return fmt.Errorf("%w: its files have the version %d, this one writes %d", errNewer, v, formatMajorVersion)
			}
			return nil
		}
	}
	return nil
}

// create makes an empty store under another name and gives it its own when it is whole.
func (q *Queue) create(st *store, path string) error {
	g := st.guard
	tmp := g.PathJoin(q.dir, newName)
	if err := g.FS.RemoveAll(tmp); err != nil {
		return err
	}
	if err := g.FS.MkdirAll(tmp, 0o700); err != nil {
		return err
	}
	db, err := q.openDB(st, tmp, g, false)
	if err != nil {
		return err
	}
	err = db.Set(ownFormat, []byte{format}, pebble.Sync)
	err = errors.Join(err, db.Set(ownName, []byte(rand.Text()), pebble.Sync))
	if q.rebuilt > 0 {
		err = errors.Join(err, db.Set(ownNext, be64(q.rebuilt), pebble.Sync))
	}
	err = errors.Join(err, db.Close(), g.failure())
	if err != nil {
		return err
	}
	if err := g.FS.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(g.FS, q.dir)
}

// makeDir makes a folder and those above it that are missing, all of them durable.
func makeDir(f vfs.FS, dir string) error {
	up := f.PathDir(dir)
	if _, err := f.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if up != dir {
		if err := makeDir(f, up); err != nil {
			return err
		}
	}
	if err := f.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	err := syncDir(f, up)
	if errors.Is(err, fs.ErrPermission) {
		return nil // a folder that we may write but not read: the system will sync it in its own time
	}
	return err
}

func syncDir(f vfs.FS, dir string) error {
	d, err := f.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
