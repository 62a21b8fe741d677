package watcher

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// marksModel knows what was noted and not yet handed out, and which creations nobody has looked at.
type marksModel struct {
	m       *marks
	now     tick
	owed    map[string]bool // paths noted since they were last covered by a hint
	rescans map[string]bool // folder → deep wanted
	created map[string]tick
	held    string
	picked  *mark
	seen    mark
}

// paid takes a hint off what is owed.
func (s *marksModel) paid(e Event) {
	for p := range s.owed {
		if p == e.Path || e.Rescan && (parent(p) == e.Path || e.Deep && within(p, e.Path)) {
			delete(s.owed, p)
		}
	}
	for p, deep := range s.rescans {
		if e.Rescan && (p == e.Path && (e.Deep || !deep) || e.Deep && within(p, e.Path)) {
			delete(s.rescans, p)
		}
	}
}

// consistent checks the counts and the bounds.
func (s *marksModel) consistent(t *rapid.T) {
	m := s.m
	names, deeps, timed := 0, 0, 0
	for p, d := range m.folders {
		if d.path != p || len(d.names) == 0 && d.all == nil || len(d.names) > 0 && d.all != nil {
			t.Fatalf("folder %q: %d names, rescan %v", p, len(d.names), d.all)
		}
		if len(d.names) > m.limits.names {
			t.Fatalf("folder %q has %d names", p, len(d.names))
		}
		names += len(d.names)
		marks := []*mark{}
		for _, k := range d.names {
			marks = append(marks, k)
		}
		if d.all != nil {
			marks = append(marks, d.all)
			if d.all.deep {
				deeps++
			}
		}
		for _, k := range marks {
			if k.dead || k.home != d {
				t.Fatalf("%q is dead or elsewhere", k.path)
			}
			waits, elsewhere := k.pos >= 0, k.ready || k.looking || k.held
			aside := m.round.left > 0 && slices.Contains(m.round.aside, k) // back on the clock when the round ends
			if waits && elsewhere || !waits && !elsewhere && !aside {
				t.Fatalf("%q: on the clock %v, ready %v, looking %v, held %v, aside %v", k.path, waits, k.ready, k.looking, k.held, aside)
			}
			if k.pos >= 0 {
				timed++
			}
			if k.ready && !k.queued {
				t.Fatalf("%q is ready and not queued", k.path)
			}
		}
	}
	if names != m.names || deeps != m.deeps || timed != len(m.heap) {
		t.Fatalf("names %d %d, deeps %d %d, timed %d %d", names, m.names, deeps, m.deeps, timed, len(m.heap))
	}
	if len(m.folders) > m.limits.folders+4 || names > m.total {
		t.Fatalf("%d folders, %d names", len(m.folders), names)
	}
}

// Whatever happens, everything noted is handed out later, itself or by a Rescan above it, and every creation is looked
// at or asked to be looked for.
func TestMarksLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &marksModel{now: 1, owed: map[string]bool{}, rescans: map[string]bool{}, created: map[string]tick{}}
		s.m = newMarks(limits{names: 3, folders: 4, total: 8, debounce: 2 * time.Millisecond, maxDelay: time.Minute})
		s.m.unseen = func(folder string) {
			for p := range s.created {
				if parent(p) == folder {
					delete(s.created, p)
				}
			}
		}
		path := rapid.Custom(func(t *rapid.T) string {
			parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "a-"}), 1, 4).Draw(t, "parts")
			return strings.Join(parts, "/")
		})
		finish := func(v verdict) {
			if s.picked == nil {
				return
			}
			p := s.picked.path
			if s.created[p] <= s.seen.looked {
				delete(s.created, p) // the settler looked
			}
			if v.drop && !s.picked.dead {
				delete(s.owed, p)
				if s.picked.last > s.seen.looked {
					v = verdict{ready: true} // the settler drops only what another hand took over
					s.owed[p] = true
				}
			}
			s.m.finish(s.picked, v)
			s.picked = nil
		}
		take := func(n int) {
			for _, e := range s.m.take(s.now, n) {
				s.paid(e)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"event": func(t *rapid.T) {
				p := path.Draw(t, "path")
				s.m.event(p, s.now)
				s.owed[p] = true
			},
			"create": func(t *rapid.T) {
				p := path.Draw(t, "path")
				s.created[p] = s.now
				s.owed[p] = true
				s.m.create(p, s.now)
			},
			"ask": func(t *rapid.T) {
				p := path.Draw(t, "path")
				s.m.ask(p, s.now)
				s.owed[p] = true
			},
			"rescan": func(t *rapid.T) {
				p, deep := path.Draw(t, "path"), rapid.Bool().Draw(t, "deep")
				if rapid.IntRange(0, 5).Draw(t, "root") == 0 {
					p = ""
				}
				s.m.rescan(p, deep, "test", s.now)
				s.rescans[p] = s.rescans[p] || deep
			},
			"hold": func(t *rapid.T) {
				if s.held == "" {
					s.held = path.Draw(t, "path")
					s.m.hold(s.held, "test", s.now)
				}
			},
			"release": func(t *rapid.T) {
				if s.held != "" {
					s.m.release(s.held, "test", s.now)
					s.rescans[s.held] = true
					s.held = ""
				}
			},
			"time": func(t *rapid.T) { s.now += time.Duration(rapid.IntRange(1, 2000).Draw(t, "ms")) * time.Millisecond },
			"pick": func(t *rapid.T) {
				if s.picked == nil {
					s.picked, s.seen, _ = s.m.pick(s.now)
				}
			},
			"finish": func(t *rapid.T) {
				switch rapid.IntRange(0, 3).Draw(t, "verdict") {
				case 0:
					finish(verdict{by: s.now + time.Second})
				case 1:
					finish(verdict{drop: true})
				case 2:
					finish(verdict{ready: true, missing: s.now})
				default:
					finish(verdict{ready: true})
				}
			},
			"take": func(t *rapid.T) { take(rapid.IntRange(1, 5).Draw(t, "n")) },
			"":     s.consistent,
		})
		if s.held != "" {
			s.m.release(s.held, "test", s.now)
			s.rescans[s.held] = true
		}
		finish(verdict{ready: true})
		for range 1000 {
			s.now += time.Second
			if s.picked, s.seen, _ = s.m.pick(s.now); s.picked != nil {
				finish(verdict{ready: true})
			}
			take(100)
			if len(s.m.folders) == 0 {
				break
			}
		}
		s.consistent(t)
		if len(s.owed) > 0 || len(s.rescans) > 0 || len(s.created) > 0 || len(s.m.folders) > 0 || s.m.names != 0 {
			t.Fatalf("lost: %v, rescans %v, creations %v; left %d folders", s.owed, s.rescans, s.created, len(s.m.folders))
		}
	})
}

func TestHandOutOrder(t *testing.T) {
	m := newMarks(limits{names: 100, folders: 100, total: 1000, debounce: 1, maxDelay: time.Minute})
	for _, p := range []string{"b/c", "a/gone", "b", "a", "b-", "z/gone", "b/c/d"} {
		m.event(p, 1)
	}
	for {
		k, seen, _ := m.pick(1000)
		if k == nil {
			break
		}
		v := verdict{ready: true}
		if strings.HasSuffix(seen.path, "gone") {
			v.missing = 1
		}
		m.finish(k, v)
	}
	got := []string{}
	for _, e := range m.take(1001, 100) {
		got = append(got, e.Path)
	}
	if s := fmt.Sprint(got); s != "[a b b- b/c b/c/d a/gone z/gone]" {
		t.Error(s)
	}
}

// A folder that collapses again and again gets its Rescans ever more seldom, up to a bound.
func TestStormsSlowDown(t *testing.T) {
	m := newMarks(limits{names: 2, folders: 100, total: 1000, debounce: time.Millisecond, maxDelay: time.Minute})
	var now, last tick = 1, 0
	var gaps []time.Duration
	for i := 0; now < 5*time.Minute; i++ {
		now += time.Millisecond
		m.event(fmt.Sprintf("d/%d", i), now)
		if k, _, _ := m.pick(now); k != nil {
			m.finish(k, verdict{by: now + time.Second})
		}
		for _, e := range m.take(now, 10) {
			if e.Rescan {
				gaps, last = append(gaps, now-last), now
			}
		}
	}
	if n := len(gaps); n < 10 || n > 60 || gaps[n-1] < 9*time.Second || gaps[n-1] > 11*time.Second {
		t.Errorf("%d Rescans with gaps %v", n, gaps)
	}
}

// Folders that are too many again and again, such as those in which a file stays open for writing, are scanned ever more seldom, up to a
// bound; somebody who looks for himself is told.
func TestClimbsSlowDown(t *testing.T) {
	m := newMarks(limits{names: 2, folders: 100, total: 1000, debounce: time.Millisecond, maxDelay: time.Minute})
	if m.crowded(1) {
		t.Error("it is crowded from the start")
	}
	var now, last tick = 1, 0
	var gaps []time.Duration
	for now < 5*time.Minute {
		for i := range 150 {
			m.event(fmt.Sprintf("d/%d/open", i), now)
		}
		if !m.crowded(now) {
			t.Fatal("it is not crowded")
		}
		for scanned := false; !scanned; {
			now += 10 * time.Millisecond
			for k, _, _ := m.pick(now); k != nil; k, _, _ = m.pick(now) {
				m.finish(k, verdict{by: now + time.Second})
			}
			for _, e := range m.take(now, 10) {
				if scanned = e.Rescan; scanned {
					gaps, last = append(gaps, now-last), now
					now += 5 * time.Second // the scan
				}
			}
		}
	}
	if n := len(gaps); n < 10 || n > 60 || gaps[n-1] < 14*time.Second || gaps[n-1] > 16*time.Second {
		t.Errorf("%d Rescans with gaps %v", n, gaps)
	}
	m.rescan("d/1", false, "at once", now)
	for i := range 150 {
		m.event(fmt.Sprintf("d/%d/open", i), now)
	}
	for k, _, _ := m.pick(now); k != nil; k, _, _ = m.pick(now) {
		m.finish(k, verdict{by: now + time.Second})
	}
	if got := m.take(now, 10); len(got) != 1 || got[0].Path != "d" || !got[0].Deep {
		t.Errorf("a Rescan that was due now, and then taken in by another: %+v", got)
	}
	if m.crowded(now + 2*crowdedFor) {
		t.Error("it stays crowded")
	}
}
