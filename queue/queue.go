package queue

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"s3apu/protocol"
)

// Options of [Open]. The zero value is fine.
type Options struct {
	Log *slog.Logger     // nil: none
	Now func() time.Time // the wall's clock; nil: time.Now

	// MaxRetries is the number of attempts after which a failure of KindItem is final, also if its Result does not say
	// so (a client of the socket cannot). 0: the queue never decides that.
	MaxRetries int

	// MaxBackfill is the number of pending backfill instructions above which [Queue.Put] lets backfill wait. 0: 100,000,
	// a guess: minutes of work, and some tens of MiB of disk.
	MaxBackfill int64

	// Heal keeps the queue alive over a disk that refuses: see [Queue.Run]. Without it a broken store stays broken.
	Heal bool

	boot     booted        // for tests; nil: sinceBoot, or none if Now is set
	fs       vfs.FS        // for tests; nil: the disk
	memTable uint64        // for tests; 0: memTableBytes
	healGap  time.Duration // for tests; 0: firstHealGap
	filter   int           // for tests; 0: filterTags
}

// Queue is the open store. All methods may be called at the same time. Errors are *[protocol.Error]; but a context's own
// error is returned as it is.
type Queue struct {
	opt   Options
	log   *slog.Logger
	dir   string
	db    *pebble.DB  // nil: the store could not be opened yet. Used between enter and exit
	lock  io.Closer   // nil: not taken yet
	place os.FileInfo // of the lock's file, on a real disk
	puts  [protocol.Del + 1]atomic.Int64
	store atomic.Pointer[store]

	uploads atomic.Bool // there has been a row of a multipart upload since the store was opened
	rebuilt uint64      // the first number of a store that takes the place of a damaged one; 0: of none
	doubted bool        // a store that showed damage turned out whole; only once is that believed

	openings atomic.Uint64 // see Opening

	gate     sync.Mutex // guards the next four
	closed   bool
	inside   int
	empty    *sync.Cond
	reopened chan struct{} // closed when a broken store is open again
	closing  chan struct{} // closed when Close begins

	mu         sync.Mutex // the state machine: held from reading the store until a change is applied, not for the fsync
	clock      clock
	opened     int64
	clockSaved int64  // the clock as it was last written down
	name       string // of the store: see [protocol.Delivery]
	next       uint64 // the next number of the sequence
	limit      uint64 // reserved up to here
	total      counts
	lines      map[string]*line
	filter     *filter // of the keys of the records
	leased     leasedRecords
	later      []wakeup
	deadline   int64         // no lease ends by itself before; 0: none does
	unsynced   bool          // something was committed without an fsync
	room       chan struct{} // closed when the backfill's backlog falls to its bound; made by the first who waits
	alarm      chan struct{} // tells Run that deadline or unsynced changed; capacity 1
}

// store is one opening of the store: from then until the disk refuses.
type store struct {
	guard  *guardFS
	broken chan struct{} // closed when it breaks
	failed atomic.Pointer[protocol.Error]
	done   chan struct{} // closed when it is to be let go

	// For syncPause.
	urgent atomic.Int32 // calls that wait for a sync and may not wait for longer than that takes
	ready  atomic.Int64 // instructions that are ready, due or not, in all buckets; 0 until the first change
}

// ErrClosed is the cause of errors after [Queue.Close].
var ErrClosed = errors.New("the queue is closed")

// enter lets a call use the store; exit must follow unless it returns an error.
func (q *Queue) enter() error {
	q.gate.Lock()
	defer q.gate.Unlock()
	if err := q.Err(); err != nil { // under the gate: who re-opens the store waits until nobody is inside
		return err
	}
	if q.closed {
		return q.closedError("use the queue")
	}
	q.inside++
	return nil
}

func (q *Queue) closedError(op string) error {
	return &protocol.Error{Op: op, Object: q.dir, Kind: protocol.KindUsage, Err: ErrClosed}
}

func (q *Queue) exit() {
	q.gate.Lock()
	defer q.gate.Unlock()
	if q.inside--; q.inside == 0 {
		q.empty.Broadcast()
	}
}

// Close ends all waiting calls, waits for the running ones, writes everything to disk and releases the store. Calling it
// again does nothing. Iterators that are still being ranged over end with an error at their next step; Close waits for
// that.
func (q *Queue) Close() error {
	q.gate.Lock()
	if q.closed {
		q.gate.Unlock()
		return nil
	}
	q.closed = true
	close(q.closing)
	for q.inside > 0 {
		q.empty.Wait()
	}
	q.gate.Unlock()

	var err error
	if q.Err() == nil {
		err = q.saveClock()
	}
	err = errors.Join(err, q.letGo())
	if q.lock != nil {
		err = errors.Join(err, q.lock.Close())
	}
	if broken := q.Err(); broken != nil {
		return broken
	}
	if err != nil {
		return storeError("close the queue", q.dir, err)
	}
	return nil
}

// letGo closes the database. Nobody is inside.
func (q *Queue) letGo() error {
	if q.db == nil {
		return nil
	}
	close(q.store.Load().done)
	err := q.db.Close()
	q.db = nil
	return err
}

// saveClock writes the clock down and syncs what was committed without an fsync.
func (q *Queue) saveClock() error {
	t := q.begin()
	t.setClock()
	return q.db.Apply(t.b, pebble.Sync)
}

// Err tells why the store takes nothing now: the disk refuses (KindLocal) or what was read cannot be what was written
// (KindDamaged). It is nil as long as all is well. Without [Options.Heal] the agent should then stop with this message.
func (q *Queue) Err() error {
	if e := q.store.Load().failure(); e != nil {
		return e
	}
	return nil
}

const opWrite = "write the queue"

// failure returns why the store is broken, or nil.
func (s *store) failure() *protocol.Error {
	if e := s.failed.Load(); e != nil {
		return e
	}
	if err := s.guard.failure(); err != nil { // frozen this moment: breakWith follows
		return storeError(opWrite, s.guard.dir, err)
	}
	return nil
}

// breakWith notes the error that ends the use of the store. It may be called from any goroutine, under any lock.
func (s *store) breakWith(e *protocol.Error) {
	if s.failed.CompareAndSwap(nil, e) {
		close(s.broken)
	}
}

// ring tells Run to look at the time again.
func (q *Queue) ring() {
	select {
	case q.alarm <- struct{}{}:
	default:
	}
}

// deadlineAt notes that a lease ends at t.
func (q *Queue) deadlineAt(t int64) {
	if q.deadline == 0 || t < q.deadline {
		q.deadline = t
		q.ring()
	}
}

// syncEvery bounds for how long backfill may be lost in a power cut; a guess.
const syncEvery = time.Second

// Run takes back leases that end by themselves and puts on disk what was committed without an fsync, until ctx ends.
// Then it returns nil. It should run as long as the queue is open; without it leases are taken back by the next Lease
// only.
//
// If the store breaks Run returns the error; with [Options.Heal] it opens the store again as soon as that can be done
// (heal.go) and goes on. It then fails only with what a person has to settle first: a store of a newer version.
func (q *Queue) Run(ctx context.Context) error {
	for {
		err := q.tend(ctx)
		if err == nil || !q.opt.Heal || q.Err() == nil {
			return err
		}
		if err := q.heal(ctx); err != nil {
			return err
		}
	}
}

// tend is Run while the store is well.
func (q *Queue) tend(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-q.closing:
			return nil
		case <-q.store.Load().broken:
			return q.Err()
		case <-q.alarm:
		case <-timer.C:
			err := q.do(ctx, "take back leases", lazily, func(t *tx) error { return t.expire() })
			if err == nil {
				err = q.syncLazy()
			}
			if err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) {
				return err
			}
		}
		timer.Reset(q.pause())
	}
}

// pause returns how long Run has nothing to do.
func (q *Queue) pause() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := farAway
	if q.deadline != 0 {
		d = time.Duration(q.deadline - q.clock.read())
	}
	if q.unsynced {
		d = min(d, syncEvery)
	}
	return max(d, time.Millisecond)
}

// syncLazy puts on disk what was committed without an fsync.
func (q *Queue) syncLazy() error {
	q.mu.Lock()
	need := q.unsynced
	q.unsynced = false
	q.mu.Unlock()
	if !need {
		return nil
	}
	if err := q.enter(); err != nil {
		return err
	}
	defer q.exit()
	err := q.db.LogData(nil, pebble.Sync)
	if broken := q.Err(); broken != nil {
		return broken
	}
	return q.opError("write the queue to disk", err)
}
