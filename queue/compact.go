package queue

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// compactions is the scheduler that tells Pebble when a compaction may run. Pebble's own asks ten times a second, day and night, whether
// more of them are allowed than before, which is all that an idle agent would do. This one asks only when something has happened that
// may change the answer: a compaction or a flush has ended.
//
// Why no compaction is forgotten, by the source of Pebble v2.1.7:
//
//   - A compaction waits only after TrySchedule has refused it (pickedCompactionCache.add in DB.maybeScheduleCompaction;
//     DB.GetWaitingCompaction adds only to what waits already).
//   - TrySchedule refuses only while as many run as are allowed, and at least one is allowed: compactionPickerByScore.
//     getCompactionConcurrency returns no less than the lower end of CompactionConcurrencyRange. So whenever one waits another runs,
//     or grant is under way.
//   - DB.compact calls Done after each that ran, failed or not, when it has let go of what it held. Done calls grant, which ends
//     only when as many run as are allowed or nothing waits.
//
// Why none waits longer than with the tick: how many are allowed changes only with a new version of the levels
// (versionSet.setCompactionPicker). Flushes and compactions make one, and both tell us (DB.flush calls
// UpdateGetAllowedWithoutPermission, DB.compact calls Done). An ingestion would make one and tell nobody, but nothing ingests here,
// and nobody compacts by hand.
//
// Each opening of the store needs one of its own. Order of locks: DB.mu before mu. TrySchedule and UpdateGetAllowedWithoutPermission
// are called under DB.mu; GetWaitingCompaction and Schedule take it, so they are called without mu.
type compactions struct {
	db pebble.DBForCompaction // set by Register, before all other calls

	mu       sync.Mutex
	running  int            // granted and not done
	refused  bool           // something may wait: one was refused, or started by grant, since grant last asked what waits
	granting bool           // a call of grant is under way, or about to begin
	gone     bool           // unregistered: nothing of db may be called any more
	grants   sync.WaitGroup // of calls of grant
}

var (
	_ pebble.CompactionScheduler   = (*compactions)(nil)
	_ pebble.CompactionGrantHandle = (*compactions)(nil)
)

// Register is called while the store is being opened. It starts nothing, for Pebble does not call Unregister when the
// opening fails later.
func (c *compactions) Register(_ int, db pebble.DBForCompaction) { c.db = db }

// Unregister waits for the call of grant that is under way, if there is one; none follows.
func (c *compactions) Unregister() {
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
	c.grants.Wait()
}

// TrySchedule grants a compaction if one more is allowed.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return false, nil
	}
	if c.running >= c.db.GetAllowedWithoutPermission() {
		c.refused = true
		return false, nil
	}
	c.running++
	return true, c
}

// UpdateGetAllowedWithoutPermission is called at the end of a flush, under DB.mu, which grant takes: so another goroutine calls it.
func (c *compactions) UpdateGetAllowedWithoutPermission() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claim() {
		go c.grant()
	}
}

// Done is called after each compaction that was granted, without a lock.
func (c *compactions) Done() {
	c.mu.Lock()
	c.running--
	claimed := c.claim()
	c.mu.Unlock()
	if claimed {
		c.grant()
	}
}

// claim reports whether the caller has to see to it that grant is called. If a call is under way there is no need: it looks again, under
// mu, before it ends. The caller holds mu.
func (c *compactions) claim() bool {
	if c.granting || !c.more() {
		return false
	}
	c.granting = true
	c.grants.Add(1) // not after gone was set, so not while Unregister waits
	return true
}

// more reports whether something may wait that is allowed to run. The caller holds mu.
func (c *compactions) more() bool {
	return !c.gone && c.refused && c.running < c.db.GetAllowedWithoutPermission()
}

// grant starts what waits, as long as more is allowed. Only who was told to by claim may call it.
func (c *compactions) grant() {
	defer c.grants.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.more() {
		// running and refused are set before Pebble is asked: what TrySchedule refuses meanwhile, perhaps only because
		// running is one too many, sets refused again and is found by the next turn of this loop.
		c.running++
		c.refused = false
		c.mu.Unlock()
		started := false
		if waits, _ := c.db.GetWaitingCompaction(); waits {
			started = c.db.Schedule(c)
		}
		c.mu.Lock()
		if started {
			c.refused = true // Pebble goes on waiting until it is asked and has no more
		} else {
			c.running--
		}
	}
	c.granting = false
}

// Started, MeasureCPU and CumulativeStats are for schedulers that weigh what a compaction costs.
func (c *compactions) Started()                                          {}
func (c *compactions) MeasureCPU(pebble.CompactionGoroutineKind)         {}
func (c *compactions) CumulativeStats(pebble.CompactionGrantHandleStats) {}
