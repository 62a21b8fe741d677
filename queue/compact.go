package queue

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// compactions tells one opening of the store how many compactions may run at once, as Pebble's own scheduler does, but
// without that one's tick: ten times a second, day and night, it asks whether the number that is allowed has grown. Here the
// question is asked when something happened.
//
// Why nothing is forgotten for ever, by the source of Pebble v2.1.7: a compaction waits only after TrySchedule has refused
// it (pickedCompactionCache.add in DB.maybeScheduleCompaction; DB.GetWaitingCompaction adds only to what waits already).
// We refuse only while as many run as are allowed, and at least one is: compactionPickerByScore.getCompactionConcurrency
// returns no less than the lower end of CompactionConcurrencyRange. So whenever one waits another runs, or a round of
// ours is under way, and DB.compact calls Done behind each, failed or not, after it has let go of what it held. Done makes
// a round, and a round ends only when all that is allowed runs or nothing waits. What the tick adds is to see sooner
// that more is allowed. That number is stored with each new version of the levels only (versionSet.setCompactionPicker);
// those of flushes and of compactions tell us (DB.flush calls UpdateGetAllowedWithoutPermission, DB.compact calls Done),
// and there are no others here: nothing ingests and nobody asks for a compaction by hand.
//
// One may be used for one opening. Its lock comes after DB.mu, under which TrySchedule and UpdateGetAllowedWithoutPermission
// are called and which GetWaitingCompaction and Schedule take.
type compactions struct {
	db pebble.DBForCompaction // set by Register, before all other calls

	mu      sync.Mutex
	running int  // granted and not done
	refused bool // something may wait: one was refused, or started by a round, since a round last asked
	round   bool // somebody is in grant
	gone    bool // nothing of db may be called any more
	rounds  sync.WaitGroup
}

var (
	_ pebble.CompactionScheduler   = (*compactions)(nil)
	_ pebble.CompactionGrantHandle = (*compactions)(nil)
)

// Register is called while the store is being opened. It starts nothing, for Pebble does not call Unregister when the
// opening fails later.
func (c *compactions) Register(_ int, db pebble.DBForCompaction) { c.db = db }

// Unregister waits for the round that is under way, if there is one; none follows.
func (c *compactions) Unregister() {
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
	c.rounds.Wait()
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

// UpdateGetAllowedWithoutPermission is called at the end of a flush, under DB.mu: a round has to be made by another goroutine.
func (c *compactions) UpdateGetAllowedWithoutPermission() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claim() {
		go c.grant()
	}
}

// Done is called behind each compaction that was granted, without a lock.
func (c *compactions) Done() {
	c.mu.Lock()
	c.running--
	claimed := c.claim()
	c.mu.Unlock()
	if claimed {
		c.grant()
	}
}

// claim reports whether the caller has to see to it that grant is called. Who is in grant already looks at everything
// again, under mu, before it ends.
func (c *compactions) claim() bool {
	if c.round || !c.more() {
		return false
	}
	c.round = true
	c.rounds.Add(1) // not after gone was set, so not while Unregister waits
	return true
}

// more reports whether something may wait that is allowed to run.
func (c *compactions) more() bool {
	return !c.gone && c.refused && c.running < c.db.GetAllowedWithoutPermission()
}

// grant makes a round: it starts what waits, as long as more is allowed.
func (c *compactions) grant() {
	defer c.rounds.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.more() {
		// The place is taken and the note struck out before Pebble is asked: whom TrySchedule refuses meanwhile, perhaps
		// only because of that place, leaves the note again and is found by the next turn.
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
	c.round = false
}

// Started, MeasureCPU and CumulativeStats are for schedulers that weigh what a compaction costs.
func (c *compactions) Started()                                          {}
func (c *compactions) MeasureCPU(pebble.CompactionGoroutineKind)         {}
func (c *compactions) CumulativeStats(pebble.CompactionGrantHandleStats) {}
