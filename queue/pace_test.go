package queue

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"s3apu/protocol"
)

// machine has a wall clock that can be set and a clock that cannot.
type machine struct {
	wall  time.Time
	since time.Duration
	start string
}

func (m *machine) now() time.Time                { return m.wall }
func (m *machine) boot() (string, time.Duration) { return m.start, m.since }
func (m *machine) pass(d time.Duration)          { m.wall, m.since = m.wall.Add(d), m.since+d }
func (m *machine) open(t *testing.T, f vfs.FS) *Queue {
	t.Helper()
	q, err := Open("q", Options{Now: m.now, boot: m.boot, fs: f})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestClockBetweenTwoRuns: what waits for a minute waits for a minute, however the wall's clock is set while the store is
// closed; after a new start of the machine the wall alone tells.
func TestClockBetweenTwoRuns(t *testing.T) {
	const wait = time.Minute
	for name, tc := range map[string]struct {
		between func(m *machine)
		left    time.Duration // of the minute
	}{
		"ten seconds":                   {func(m *machine) { m.pass(10 * time.Second) }, 50 * time.Second},
		"forward by 5 h":                {func(m *machine) { m.pass(10 * time.Second); m.wall = m.wall.Add(5 * time.Hour) }, 50 * time.Second},
		"back by 5 h":                   {func(m *machine) { m.pass(10 * time.Second); m.wall = m.wall.Add(-5 * time.Hour) }, 50 * time.Second},
		"to 1970":                       {func(m *machine) { m.pass(10 * time.Second); m.wall = time.Unix(5, 0) }, 50 * time.Second},
		"a long time, back by 5 h":      {func(m *machine) { m.pass(2 * time.Hour); m.wall = m.wall.Add(-5 * time.Hour) }, 0},
		"a new start":                   {func(m *machine) { m.pass(10 * time.Second); m.start, m.since = "b", 1 }, 50 * time.Second},
		"a new start, forward by 5 h":   {func(m *machine) { m.wall, m.start = m.wall.Add(5*time.Hour), "b" }, 0},
		"a new start, back by 5 h":      {func(m *machine) { m.pass(10 * time.Second); m.wall, m.start = m.wall.Add(-5*time.Hour), "b" }, wait},
		"the same start, another clock": {func(m *machine) { m.pass(10 * time.Second); m.since = 1 }, 50 * time.Second},
		"no such clock":                 {func(m *machine) { m.pass(10 * time.Second); m.start = "" }, 50 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, f := context.Background(), vfs.NewMem()
			m := &machine{wall: time.Unix(1_800_000_000, 0), since: time.Hour, start: "a"}
			q := m.open(t, f)
			item := Item{Instruction: protocol.Instruction{Verb: protocol.Del, Bucket: "b", Key: "k"}, NotBefore: m.wall.Add(wait)}
			fine(t, q.Put(ctx, item))
			item.Key, item.NotBefore = "leased", time.Time{}
			fine(t, q.Put(ctx, item))
			lease(t, q, 1, wait)
			fine(t, q.Close())
			tc.between(m)
			q = m.open(t, f)
			defer func() { fine(t, q.Close()) }()
			if tc.left > 0 {
				lease(t, q, 0, 0)
				m.pass(tc.left - time.Second)
				lease(t, q, 0, 0)
				m.pass(time.Second)
			}
			lease(t, q, 2, 0)
		})
	}
}

// An older version of the program writes the queue's time and nothing else: that is then what counts.
func TestClockOfAnOlderVersion(t *testing.T) {
	f := vfs.NewMem()
	m := &machine{wall: time.Unix(1_800_000_000, 0), since: time.Hour, start: "a"}
	q := m.open(t, f)
	later := q.clock.t + int64(time.Hour)
	fine(t, q.Close())
	fine(t, q.open())
	fine(t, q.db.Set(ownClock, be64(uint64(later)), pebble.Sync))
	fine(t, q.letGo())
	q = m.open(t, f)
	defer func() { fine(t, q.Close()) }()
	if q.clock.t != later {
		t.Errorf("the clock is at %d, want %d", q.clock.t, later)
	}
}

func fine(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lease expects that so many are due, and takes them.
func lease(t *testing.T, q *Queue, want int, hold time.Duration) {
	t.Helper()
	ds, err := q.Lease(context.Background(), "b", 9, 0, hold)
	if err != nil || len(ds) != want {
		t.Fatalf("leased %d, %v; want %d", len(ds), err, want)
	}
}
