// Package queuetest is the contract of a queue as tests: every backend runs [Run] and [Model] against itself. A backend
// is whatever satisfies [Queue]; the first one is package queue on Pebble.
package queuetest

import (
	"context"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"s3apu/protocol"
	"s3apu/queue"
)

// Queue is what a backend offers. The comments of [queue.Queue] say what each method promises.
type Queue interface {
	Put(ctx context.Context, items ...queue.Item) error
	Lease(ctx context.Context, bucket string, n int, wait, hold time.Duration) ([]protocol.Delivery, error)
	Settle(ctx context.Context, results []protocol.Result) ([]protocol.Outcome, error)
	Pop(ctx context.Context, bucket string, n int, wait time.Duration) ([]protocol.Instruction, error)
	Pending(id protocol.ObjectID) (queue.Record, bool, error)
	Records(ctx context.Context, bucket string, prefix, after protocol.Key) iter.Seq2[queue.Record, error]
	Fail(ctx context.Context, item queue.Item, reason *protocol.Error) error
	Failed(ctx context.Context, after protocol.ObjectID, n int) ([]protocol.Failure, error)
	Retry(ctx context.Context, ids []protocol.ObjectID) (int, error)
	Held(ctx context.Context, after protocol.ObjectID, n int) ([]queue.Record, error)
	Release(ctx context.Context, ids []protocol.ObjectID) (int, error)
	Drop(ctx context.Context, ids []protocol.ObjectID) (int, error)

	Entry(id protocol.ObjectID) (*protocol.Entry, error)
	Ledger(ctx context.Context, bucket string, prefix, after protocol.Key) iter.Seq2[*protocol.Entry, error]
	MadeFrom(bucket string, dev, ino uint64) (*protocol.Entry, error)
	Adopt(ctx context.Context, entries ...*protocol.Entry) error
	Forget(ctx context.Context, ids ...protocol.ObjectID) error
	LoadUpload(id protocol.ObjectID) (*protocol.Upload, error)
	SaveUpload(ctx context.Context, u *protocol.Upload) error
	DropUpload(ctx context.Context, id protocol.ObjectID) error
	Uploads(ctx context.Context) iter.Seq2[*protocol.Upload, error]
	Memo(name string) ([]byte, error)
	SetMemo(ctx context.Context, name string, value []byte) error

	Stats() queue.Stats
	Info() protocol.Info
	Err() error
	Run(ctx context.Context) error
	Close() error
}

var _ Queue = (*queue.Queue)(nil)

// Store is one place that a queue lives in, empty at first.
type Store interface {
	// Open opens the queue that lives there. The queue that was opened before has been closed, or cut off by Crash.
	Open(opt queue.Options) (Queue, error)
	// Crash takes the power from the open queue: what it acknowledged stays, anything else may be lost. The queue itself
	// must not be used any more. A backend that cannot do that returns false and leaves all as it is.
	Crash() bool
}

// Run runs every test of the contract, each on a new store.
func Run(t *testing.T, newStore func(t testing.TB) Store) {
	groups := []struct {
		name  string
		tests map[string]func(w *world)
	}{
		{"Put", putTests}, {"Lease", leaseTests}, {"Settle", settleTests}, {"Order", orderTests},
		{"Rename", renameTests}, {"Person", personTests}, {"Ledger", ledgerTests}, {"Time", timeTests},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for name, f := range g.tests {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, newStore(t))
					f(w)
				})
			}
		})
	}
}

// fakeClock is a wall clock in the hand of a test.
type fakeClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *fakeClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// world is a queue under test, and words to talk to it.
type world struct {
	*testing.T
	store Store
	q     Queue
	opt   queue.Options
	clk   *fakeClock
	ctx   context.Context
}

// bucket is where everything happens unless a test says otherwise.
const bucket = "bucket"

func newWorld(t *testing.T, s Store) *world {
	w := &world{T: t, store: s, clk: &fakeClock{t: time.Unix(1_800_000_000, 0)}, ctx: t.Context()}
	w.opt.Now = w.clk.now
	w.open()
	t.Cleanup(func() {
		if err := w.q.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return w
}

func (w *world) open() {
	w.Helper()
	q, err := w.store.Open(w.opt)
	if err != nil {
		w.Fatalf("open: %v", err)
	}
	w.q = q
}

// reopen closes the queue and opens it again.
func (w *world) reopen() {
	w.Helper()
	w.ok(w.q.Close())
	w.open()
}

// real makes the queue use the time of the system.
func (w *world) real() {
	w.Helper()
	w.opt.Now = nil
	w.reopen()
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("unexpected error: %v", err)
	}
}

func (w *world) refused(err error, kind protocol.Kind) {
	w.Helper()
	if err == nil {
		w.Fatalf("no error, want one of kind %v", kind)
	}
	if got := protocol.KindOf(err); got != kind {
		w.Fatalf("error of kind %v, want %v: %v", got, kind, err)
	}
}

func id(key string) protocol.ObjectID {
	return protocol.ObjectID{Bucket: bucket, Key: protocol.Key(key)}
}

// The four instructions, explicit and live.

func item(v protocol.Verb, key, source string) queue.Item {
	return queue.Item{Instruction: protocol.Instruction{Verb: v, Bucket: bucket, Key: protocol.Key(key), Source: source}}
}

func upl(key, source string) queue.Item { return item(protocol.Upl, key, "/src/"+source) }
func mkd(key string) queue.Item         { return item(protocol.Mkd, key, "") }
func del(key string) queue.Item         { return item(protocol.Del, key, "") }
func cpo(from, key string) queue.Item   { return item(protocol.Cpo, key, "/"+bucket+"/"+from) }

func hint(i queue.Item) queue.Item     { i.Hint = true; return i }
func guest(i queue.Item) queue.Item    { i.Guest = "1000:1000,4"; return i }
func held(i queue.Item) queue.Item     { i.Hint, i.Held = true, true; return i }
func backfill(i queue.Item) queue.Item { i.Hint, i.Class = true, protocol.Backfill; return i }
func at(i queue.Item, t time.Time) queue.Item {
	i.NotBefore = t
	return i
}

func (w *world) put(items ...queue.Item) {
	w.Helper()
	w.ok(w.q.Put(w.ctx, items...))
}

// lease takes what is due, without waiting, for as long as the queue is open.
func (w *world) lease(n int) []protocol.Delivery {
	w.Helper()
	return w.hold(n, 0)
}

func (w *world) hold(n int, d time.Duration) []protocol.Delivery {
	w.Helper()
	got, err := w.q.Lease(w.ctx, bucket, n, 0, d)
	w.ok(err)
	return got
}

// one leases exactly one instruction, that of a key.
func (w *world) one(key string) protocol.Delivery {
	w.Helper()
	got := w.lease(100)
	if len(got) != 1 || string(got[0].Key) != key {
		w.Fatalf("leased %v, want %s alone", names(got), key)
	}
	return got[0]
}

// leases checks that exactly these keys are due, in any order, and returns their deliveries in the order given.
func (w *world) leases(keys ...string) []protocol.Delivery {
	w.Helper()
	got := w.lease(100)
	out := make([]protocol.Delivery, 0, len(keys))
	for _, k := range keys {
		for _, d := range got {
			if string(d.Key) == k {
				out = append(out, d)
			}
		}
	}
	if len(out) != len(keys) || len(got) != len(keys) {
		w.Fatalf("leased %v, want %v", names(got), keys)
	}
	return out
}

func (w *world) nothingDue() {
	w.Helper()
	if got := w.lease(100); len(got) != 0 {
		w.Fatalf("leased %v, want nothing", names(got))
	}
}

func names(ds []protocol.Delivery) []string {
	out := make([]string, len(ds))
	for i, d := range ds {
		out[i] = d.Verb.String() + " " + string(d.Key)
	}
	return out
}

func (w *world) settle(want protocol.Outcome, r protocol.Result) {
	w.Helper()
	got, err := w.q.Settle(w.ctx, []protocol.Result{r})
	w.ok(err)
	if !slices.Equal(got, []protocol.Outcome{want}) {
		w.Fatalf("%s %s: outcome %v, want %v", r.Delivery.Verb, r.Delivery.Key, got, want)
	}
}

// done settles deliveries that were carried out, in one call.
func (w *world) done(ds ...protocol.Delivery) {
	w.Helper()
	rs := make([]protocol.Result, len(ds))
	for i, d := range ds {
		rs[i].Delivery = d
	}
	got, err := w.q.Settle(w.ctx, rs)
	w.ok(err)
	for i, o := range got {
		if o != protocol.Done {
			w.Fatalf("%s %s: outcome %v, want %v", ds[i].Verb, ds[i].Key, o, protocol.Done)
		}
	}
}

func failure(d protocol.Delivery, delay time.Duration) protocol.Result {
	return protocol.Result{Delivery: d, Delay: delay,
		Err: &protocol.Error{Op: "test", Kind: protocol.KindTransient}}
}

func (w *world) pending(key string) queue.Record {
	w.Helper()
	r, ok, err := w.q.Pending(id(key))
	w.ok(err)
	if !ok {
		w.Fatalf("no record for %s", key)
	}
	return r
}

func (w *world) state(key string, want queue.State) queue.Record {
	w.Helper()
	r := w.pending(key)
	if r.State != want {
		w.Fatalf("%s is %v, want %v", key, r.State, want)
	}
	return r
}

func (w *world) gone(key string) {
	w.Helper()
	if r, ok, err := w.q.Pending(id(key)); ok || err != nil {
		w.Fatalf("%s is still there: %+v, %v", key, r, err)
	}
}

func check[T comparable](w *world, what string, got, want T) {
	w.Helper()
	if got != want {
		w.Fatalf("%s: %v, want %v", what, got, want)
	}
}
