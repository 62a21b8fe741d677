package queue

import (
	"errors"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"s3apu/protocol"
)

// counts are numbers of records, kept in memory and counted anew by Open.
type counts struct {
	n       [states][2]int64 // by state and class of the first wish
	failing int64            // with a failure behind them, not dead
	copies  int64            // pending wishes that read an object
	deletes int64            // records with a pending delete
}

// add counts a record, which may be nil, sign times.
func (c *counts) add(r *record, sign int64) {
	if r == nil {
		return
	}
	c.n[r.state][r.head().class] += sign
	if r.state == Dead {
		return
	}
	if r.err {
		c.failing += sign
	}
	if _, ok := r.firstDelete(); ok {
		c.deletes += sign
	}
	for i := range r.wishes {
		if _, reads := r.wishes[i].reads(); reads {
			c.copies += sign
		}
	}
}

// sum adds another count.
func (c *counts) sum(o *counts) {
	for s := range c.n {
		for k := range c.n[s] {
			c.n[s][k] += o.n[s][k]
		}
	}
	c.failing += o.failing
	c.copies += o.copies
	c.deletes += o.deletes
}

func (c *counts) state(s State) int64 { return c.n[s][protocol.Live] + c.n[s][protocol.Backfill] }
func (c *counts) blocked() int64      { return c.state(Blocked) }

// records is how many records there are, in any state.
func (c *counts) records() (n int64) {
	for s := range c.n {
		n += c.state(State(s))
	}
	return n
}

// backlog is the number of records that the bound of the backfill counts.
func (c *counts) backlog() int64 {
	return c.n[Ready][protocol.Backfill] + c.n[Blocked][protocol.Backfill] + c.n[Leased][protocol.Backfill]
}

// Count says how many records there are. Live and Backfill are those that are to be carried out: ready, blocked or
// leased. Failing are the ones among all but the dead that have a failure behind them.
type Count struct {
	Ready, Blocked, Leased, Held, Dead int64
	Live, Backfill                     int64
	Failing                            int64
}

// Pending is what is not dead.
func (c Count) Pending() int64 { return c.Ready + c.Blocked + c.Leased + c.Held }

func (c *counts) public() Count {
	live := c.n[Ready][protocol.Live] + c.n[Blocked][protocol.Live] + c.n[Leased][protocol.Live]
	return Count{
		Ready: c.state(Ready), Blocked: c.state(Blocked), Leased: c.state(Leased), Held: c.state(Held),
		Dead: c.state(Dead), Live: live, Backfill: c.backlog(), Failing: c.failing,
	}
}

// Stats is what the queue tells about itself. It costs the same at any number of records.
type Stats struct {
	Count
	Buckets map[string]Count
	Put     map[protocol.Verb]int64 // instructions taken since Open
	// Waits is how long the oldest due instruction has been due; 0 if nothing is due.
	Waits  time.Duration
	Uptime time.Duration // since Open
	// Disk is the room that the store takes, in bytes.
	Disk int64
	// Err is why the store takes nothing any more, or nil; see [Queue.Err].
	Err error
}

// Stats returns the counts of this moment.
func (q *Queue) Stats() Stats {
	s := Stats{Buckets: map[string]Count{}, Put: map[protocol.Verb]int64{}, Err: q.Err()}
	for v := protocol.Mkd; v <= protocol.Del; v++ {
		s.Put[v] = q.puts[v].Load()
	}
	if q.enter() != nil {
		return s
	}
	defer q.exit()
	s.Disk = int64(q.db.Metrics().DiskSpaceUsage())
	type start struct {
		bucket string
		class  protocol.Class
		at     place
	}
	var starts []start
	q.mu.Lock()
	s.Count = q.total.public()
	now := q.clock.read()
	s.Uptime = time.Duration(now - q.opened)
	for name, l := range q.lines {
		if c := l.counts.public(); c != (Count{}) {
			s.Buckets[name] = c
		}
		for class := range l.cursor {
			if l.counts.n[Ready][class] > 0 {
				starts = append(starts, start{name, protocol.Class(class), l.cursor[class]})
			}
		}
	}
	q.mu.Unlock()
	oldest := int64(math.MaxInt64)
	for _, st := range starts {
		if p, ok := q.firstReady(st.bucket, st.class, st.at); ok {
			oldest = min(oldest, p.due)
		}
	}
	if oldest < now {
		s.Waits = time.Duration(now - oldest)
	}
	return s
}

// firstReady returns the place of the first ready row of a line, from a place on.
func (q *Queue) firstReady(bucket string, class protocol.Class, from place) (place, bool) {
	prefix := readyPrefix(nil, bucket, class)
	it, err := q.db.NewIter(&pebble.IterOptions{
		LowerBound: appendPlace(readyPrefix(nil, bucket, class), from), UpperBound: prefixEnd(prefix),
	})
	if err != nil {
		return place{}, false
	}
	var p place
	ok := it.First()
	if ok {
		p, ok = parsePlace(it.Key())
	}
	return p, errors.Join(it.Error(), it.Close()) == nil && ok
}

// Info counts as inf tells it: QSize is everything that is not dead. The numbers of the socket's server are zero;
// TotalCmd counts what was put.
func (q *Queue) Info() protocol.Info {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := protocol.Info{
		QSize:  q.total.public().Pending(),
		MkdCmd: q.puts[protocol.Mkd].Load(), UplCmd: q.puts[protocol.Upl].Load(),
		CpoCmd: q.puts[protocol.Cpo].Load(), DelCmd: q.puts[protocol.Del].Load(),
		Uptime: time.Duration(q.clock.read() - q.opened),
	}
	i.TotalCmd = i.MkdCmd + i.UplCmd + i.CpoCmd + i.DelCmd
	return i
}
