package queue

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatMajorVersion is pinned: a newer Pebble must not change the files so that an older agent cannot read them.
// V6 has checksums in the footers of tables, and logs that tell a torn end from damage.
const formatMajorVersion = pebble.FormatTableFormatV6

// The memory that Pebble may take, so that the agent stays below 64 MiB. Pebble takes the memtables out of the cache:
// with two of them 2 MiB remain for blocks.
const (
	cacheBytes    = 10 << 20
	memTableBytes = 4 << 20
	openFiles     = 256
	bloomBits     = 10        // per key: one look-up in a hundred reads a table in vain
	indexBytes    = 256 << 10 // one block for most tables, so that a look-up reads one index and not two
)

// How many sublevels of tables level 0 may have. A compaction of level 0 writes nearly all that is pending once more, since the keys of every
// flush are spread over the whole range. With Pebble's defaults, 4 and 12, that was a third of what a flood of instructions cost, and on
// two cores the clients waited for it. The price is that a look-up asks up to so many bloom filters; leases take no longer
// (docs/design/0015, measured).
const (
	compactTables = 16                // Pebble counts each sublevel twice here, so it compacts from 8 on (calculateL0FillFactor in v2.1.7)
	stopTables    = 3 * compactTables // at so many writes wait for that; the ratio is Pebble's
)

// openDB opens a database. Pebble panics on some kinds of damage; that becomes an error.
func (q *Queue) openDB(st *store, path string, f vfs.FS, readOnly bool) (db *pebble.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errEncoding, p)
		}
	}()
	background := func(err error) { st.background(q.dir, err) }
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	o := &pebble.Options{
		FS: f, ReadOnly: readOnly, Cache: cache,
		FormatMajorVersion: formatMajorVersion,
		MemTableSize:       q.opt.memTable,
		MaxOpenFiles:       openFiles,

		L0CompactionThreshold: compactTables, L0StopWritesThreshold: stopTables,

		Logger: pebbleLog{q.log, background},
		EventListener: &pebble.EventListener{
			BackgroundError: background,
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				background(fmt.Errorf("%w: %w", errEncoding, i.Details))
			},
		},
		// A second compaction at once where the first cannot follow: 2 cores.
		CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
	}
	o.WALMinSyncInterval = st.syncPause
	o.Experimental.CompactionScheduler = &compactions{} // Pebble's own wakes ten times a second
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
		o.Levels[i].IndexBlockSize = indexBytes
	}
	return pebble.Open(path, o)
}

// background is told of errors that no call of ours returns. What cannot be compacted or flushed now will fill the disk
// or stop all writes later, so the store is frozen at once.
func (s *store) background(dir string, err error) {
	if s.guard.failure() == nil {
		s.breakWith(storeError("keep the queue", dir, err))
		s.guard.freeze(err)
	}
}

// pebbleLog passes on what Pebble says, for those who want to know.
type pebbleLog struct {
	log  *slog.Logger
	fail func(error)
}

func (l pebbleLog) Infof(f string, a ...any)  { l.debug(fmt.Sprintf(f, a...)) }
func (l pebbleLog) Errorf(f string, a ...any) { l.debug(fmt.Sprintf(f, a...)) }

func (l pebbleLog) debug(text string) { l.log.Debug("pebble", "text", text) }

// Fatalf does not exit: it freezes the store, and Pebble's callers then return their error; see guardFS.
func (l pebbleLog) Fatalf(f string, a ...any) { l.fail(fmt.Errorf(f, a...)) }

// readFS lets Pebble read and take its lock, nothing else.
type readFS struct{ vfs.FS }

var errReadOnly = errors.New("a change while reading")

func (readFS) Create(string, vfs.DiskWriteCategory) (vfs.File, error) { return nil, errReadOnly }
func (readFS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, errReadOnly
}
func (readFS) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errReadOnly
}
func (readFS) Link(string, string) error   { return errReadOnly }
func (readFS) Rename(string, string) error { return errReadOnly }
func (readFS) Remove(string) error         { return errReadOnly }
func (readFS) RemoveAll(string) error      { return errReadOnly }
func (f readFS) Unwrap() vfs.FS            { return f.FS }
