package queue

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"s3apu/protocol"
)

// compactor behaves towards a scheduler as pebble.DB does: one lock, and a note that something waits, which only
// TrySchedule's refusal makes and only being asked strikes out.
type compactor struct {
	t *testing.T
	c *compactions

	mu      sync.Mutex
	backlog int // compactions that could be picked
	waiting bool
	running int
	done    int
	allowed int
	closed  bool
	work    sync.WaitGroup
	none    func() // called, without a lock, when the scheduler was told that nothing waits

	limit sync.Mutex // guards allowed; after mu and after the scheduler's
}

func newCompactor(t *testing.T, allowed int) *compactor {
	d := &compactor{t: t, c: &compactions{}, allowed: allowed}
	d.c.Register(2, d)
	return d
}

func (d *compactor) GetAllowedWithoutPermission() int {
	d.limit.Lock()
	defer d.limit.Unlock()
	return d.allowed
}

func (d *compactor) allow(n int) {
	d.limit.Lock()
	defer d.limit.Unlock()
	d.allowed = n
}

func (d *compactor) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	d.mu.Lock()
	d.open()
	d.waiting = d.waiting && d.backlog > 0
	waits, none := d.waiting, d.none
	d.mu.Unlock()
	if !waits && none != nil {
		none()
	}
	return waits, pebble.WaitingCompaction{}
}

func (d *compactor) Schedule(h pebble.CompactionGrantHandle) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open()
	if d.waiting = d.waiting && d.backlog > 0; d.waiting {
		d.run(h)
	}
	return d.waiting
}

// open fails the test if the scheduler calls after Unregister.
func (d *compactor) open() {
	if d.closed {
		d.t.Error("it was called after Unregister")
	}
}

// run starts a compaction, as DB.runPickedCompaction and DB.compact do. The caller holds mu.
func (d *compactor) run(h pebble.CompactionGrantHandle) {
	d.backlog--
	d.running++
	d.work.Go(func() {
		if rand.IntN(2) == 0 {
			runtime.Gosched()
		}
		d.mu.Lock()
		d.running--
		d.done++
		d.mu.Unlock()
		h.Done()
		d.mu.Lock()
		defer d.mu.Unlock()
		d.maybe()
	})
}

// maybe is DB.maybeScheduleCompaction.
func (d *compactor) maybe() {
	for !d.waiting && d.backlog > 0 && !d.closed {
		ok, h := d.c.TrySchedule()
		if !ok {
			d.waiting = true
			return
		}
		d.run(h)
	}
}

// flush is the end of a flush that brings n compactions and lets that many run: DB.flush.
func (d *compactor) flush(n, allowed int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.backlog += n
	d.allow(allowed)
	d.c.UpdateGetAllowedWithoutPermission()
	d.maybe()
}

// eventually waits until is says yes, and fails the test with what it says else.
func eventually(t *testing.T, is func() (bool, string)) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		ok, text := is()
		if ok {
			return
		}
		select {
		case <-deadline:
			t.Fatal(text)
		case <-time.After(100 * time.Microsecond):
		}
	}
}

// wait waits until n compactions are carried out.
func (d *compactor) wait(n int) {
	d.t.Helper()
	eventually(d.t, func() (bool, string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.done == n, fmt.Sprintf("%d of %d compactions were carried out; %d run, %d wait", d.done, n, d.running, d.backlog)
	})
}

// rests waits until no call of grant is under way.
func (d *compactor) rests() {
	d.t.Helper()
	eventually(d.t, func() (bool, string) {
		d.c.mu.Lock()
		defer d.c.mu.Unlock()
		return !d.c.granting, "grant does not end"
	})
}

func (d *compactor) close() {
	d.c.Unregister()
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.work.Wait()
}

// TestNoCompactionIsForgotten: without a tick everything is carried out that ever waited, whatever happens at once.
func TestNoCompactionIsForgotten(t *testing.T) {
	for range 200 {
		d := newCompactor(t, 1)
		const hands, flushes = 4, 50
		total := 0
		var hold sync.WaitGroup
		for h := range hands {
			n := h + 1
			total += n * flushes
			hold.Go(func() {
				for range flushes {
					d.flush(n, 1+rand.IntN(2))
				}
			})
		}
		hold.Wait()
		d.wait(total)
		d.rests()
		d.close()
		if d.c.running != 0 || d.c.granting {
			t.Fatalf("%d are counted as running, granting: %v", d.c.running, d.c.granting)
		}
	}
}

// TestCompactionsAtOnce: as many as are allowed, and no more; one that waits starts when more are allowed.
func TestCompactionsAtOnce(t *testing.T) {
	d := newCompactor(t, 1)
	one, h := d.c.TrySchedule()
	two, _ := d.c.TrySchedule()
	if !one || two {
		t.Fatalf("of one allowed the first may: %v, the second: %v", one, two)
	}
	d.mu.Lock()
	d.backlog, d.waiting = 1, true // as after that refusal
	d.mu.Unlock()
	d.flush(0, 2) // which lets two run
	d.wait(1)
	h.Done()
	d.close()
	if ok, _ := d.c.TrySchedule(); ok {
		t.Error("a compaction is granted after Unregister")
	}
	d.c.UpdateGetAllowedWithoutPermission()
	if d.c.running != 0 {
		t.Errorf("%d are counted as running", d.c.running)
	}
}

// TestRefusedDuringAGrant: what is refused only because grant holds a place for nothing is started by that call.
func TestRefusedDuringAGrant(t *testing.T) {
	d := newCompactor(t, 1)
	_, h := d.c.TrySchedule()
	if ok, _ := d.c.TrySchedule(); ok {
		t.Fatal("two run where one may")
	}
	var once sync.Once
	d.none = func() {
		once.Do(func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.backlog++
			if d.maybe(); !d.waiting {
				t.Error("it was not refused: the test says nothing")
			}
		})
	}
	h.Done() // nothing waits yet
	d.wait(1)
	d.rests()
	d.close()
}

// TestLevelsDoNotPileUp: after a load of writes Pebble's first level has fewer sublevels than it compacts from (see compactTables).
func TestLevelsDoNotPileUp(t *testing.T) {
	q, err := Open(t.TempDir()+"/q", Options{memTable: 128 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}()
	const hands, puts, batch = 4, 15, 100
	most := int32(0)
	var writers sync.WaitGroup
	for h := range hands {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(h), 1))
			for range puts {
				var items []Item
				for range batch {
					key := fmt.Sprintf("%08x/%0100x", r.Uint32(), r.Uint64())
					items = append(items, Item{Instruction: protocol.Instruction{Verb: protocol.Upl, Bucket: "b",
						Key: protocol.Key(key), Source: "/" + key}, Hint: true})
				}
				if err := q.Put(t.Context(), items...); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { writers.Wait(); close(ended) }()
	for busy := true; busy; {
		select {
		case <-ended:
			busy = false
		case <-time.After(time.Millisecond):
		}
		most = max(most, q.db.Metrics().Levels[0].Sublevels)
	}
	t.Logf("at most %d sublevels; writes stop at %d", most, stopTables)
	eventually(t, func() (bool, string) {
		m := q.db.Metrics()
		l, n := m.Levels[0].Sublevels, m.Compact.NumInProgress
		return l < compactTables/2 && n == 0, fmt.Sprintf("%d sublevels stay, %d compactions run", l, n)
	})
	if m := q.db.Metrics().Compact; m.DefaultCount+m.MoveCount == 0 {
		t.Error("nothing was compacted: the test says nothing")
	}
}

// TestNothingTicks: an open store has no goroutine that wakes by itself.
func TestNothingTicks(t *testing.T) {
	q, err := Open(t.TempDir()+"/q", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}()
	buf := make([]byte, 1<<20)
	stacks := string(buf[:runtime.Stack(buf, true)])
	for _, s := range []string{"periodicGranter", "startTicker"} {
		if strings.Contains(stacks, s) {
			t.Errorf("%s runs", s)
		}
	}
}

// TestOpenedManyTimes: openings while compactions run leave nothing behind (goleak looks at the end of all tests), and
// one that fails or only reads does neither.
func TestOpenedManyTimes(t *testing.T) {
	dir := t.TempDir() + "/q"
	for i := range 20 {
		q, err := Open(dir, Options{memTable: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		for j := range 20 {
			var items []Item
			for n := range 20 {
				key := fmt.Sprintf("%02d/%08x/%0100d", n, i*7919+j, j)
				items = append(items, Item{Instruction: protocol.Instruction{Verb: protocol.Upl, Bucket: "b",
					Key: protocol.Key(key), Source: "/" + key}, Class: protocol.Backfill, Hint: true})
			}
			if err := q.Put(t.Context(), items...); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Open(dir, Options{}); err == nil {
			t.Fatal("it was opened twice")
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
	q, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := q.Stats().Pending(); n != 20*20*20 {
		t.Errorf("%d instructions are there", n)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}
