package watcher

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// still is a Watcher in a bubble of fake time, over a real folder, fed by hand.
type still struct {
	w    *Watcher
	f    *fakeSource
	root string
	rest atomic.Uint32
	out  chan Event
	none atomic.Bool // the lease finds no file
}

// bubble runs test with a Watcher whose files rest as the test says.
func bubble(t *testing.T, cfg Config, test func(s *still)) {
	t.Helper()
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := &still{f: newFakeSource(nil), root: root, out: make(chan Event, 1000)}
		cfg.Root, cfg.Watchers, cfg.Check = root, 1, 1000*time.Hour
		cfg.Log = slog.New(slog.DiscardHandler)
		cfg.open = func() (source, error) { return s.f, nil }
		cfg.rest = func(string) (Rest, bool) { return Rest(s.rest.Load()), !s.none.Load() }
		w, err := New(cfg)
		must(t, err)
		s.w = w
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{}, 2)
		go func() { _ = w.Run(ctx); done <- struct{}{} }()
		<-w.Ready()
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				events, err := w.Next(ctx, 100)
				if err != nil {
					return
				}
				for _, e := range events {
					s.out <- e
				}
			}
		}()
		test(s)
		cancel()
		<-done
		<-done
	})
}

func (s *still) event(rel string, op fsnotify.Op) {
	s.f.events <- fsnotify.Event{Name: filepath.Join(s.root, rel), Op: op}
}

// within waits for word of rel and checks when it came, from now on.
func (s *still) within(t *testing.T, rel string, least, most time.Duration) {
	t.Helper()
	began := time.Now()
	select {
	case e := <-s.out:
		if took := time.Since(began); e.Path != rel || took < least || took > most {
			t.Errorf("%+v after %v, want %s after %v to %v", e, took, rel, least, most)
		}
	case <-time.After(24 * time.Hour):
		t.Errorf("no word of %s", rel)
	}
}

// quietFor checks that nothing is reported for so long.
func (s *still) quietFor(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case e := <-s.out:
		t.Errorf("too early: %+v", e)
	case <-time.After(d):
	}
}

func TestSettleByLease(t *testing.T) {
	bubble(t, Config{}, func(s *still) {
		write(t, s.root, "f", "x")
		s.rest.Store(uint32(Yes))
		s.event("f", fsnotify.Create)
		s.within(t, "f", 2*time.Millisecond, 3*time.Millisecond)

		s.rest.Store(uint32(Busy))
		for _, open := range []time.Duration{30 * time.Millisecond, time.Second, time.Minute, 3 * time.Hour} {
			s.event("f", fsnotify.Write)
			s.quietFor(t, open) // whatever MaxDelay says
			s.rest.Store(uint32(Yes))
			s.within(t, "f", 0, max(3*time.Millisecond, min(open/busyShare+open/200, time.Minute)))
			s.rest.Store(uint32(Busy))
		}
	})
}

func TestAWriterWithoutPauseIsSeenAtTimes(t *testing.T) {
	bubble(t, Config{}, func(s *still) {
		write(t, s.root, "f", "x")
		s.rest.Store(uint32(Yes))
		began := time.Now()
		for time.Since(began) < time.Second { // open, append, close, again and again
			s.event("f", fsnotify.Write)
			pass(time.Millisecond) // fake time
		}
		synctest.Wait()
		if n := len(s.out); n < 6 || n > 12 {
			t.Errorf("reported %d times in a second, want about 10", n)
		}
	})
}

func TestSettleByQuiet(t *testing.T) {
	bubble(t, Config{Settle: 2 * time.Second, MaxDelay: time.Minute}, func(s *still) {
		write(t, s.root, "f", "x")
		s.rest.Store(uint32(Unknown))
		s.event("f", fsnotify.Create)
		s.within(t, "f", 2*time.Second, 2100*time.Millisecond)

		s.event("f", fsnotify.Write)
		for range 10 {
			s.quietFor(t, time.Second)
			s.event("f", fsnotify.Write)
		}
		s.within(t, "f", 2*time.Second, 2100*time.Millisecond)

		t.Log("changes without an event")
		s.event("f", fsnotify.Write)
		for i := range 5 {
			s.quietFor(t, 1900*time.Millisecond)
			must(t, os.Chtimes(filepath.Join(s.root, "f"), time.Now(), time.Unix(int64(i), 0)))
		}
		s.within(t, "f", 100*time.Millisecond, 4*time.Second) // it is seen to have changed at the next look only

		t.Log("never quiet")
		began := time.Now()
		for len(s.out) == 0 && time.Since(began) < time.Hour {
			s.event("f", fsnotify.Write)
			pass(500 * time.Millisecond) // fake time
		}
		if took := time.Since(began); took < time.Minute || took > 61*time.Second {
			t.Errorf("MaxDelay came after %v", took)
		}
	})
}

func TestSettleOfAFileThatIsNotThereForTheLease(t *testing.T) {
	bubble(t, Config{}, func(s *still) {
		write(t, s.root, "f", "x")
		s.rest.Store(uint32(Yes))
		s.none.Store(true)
		s.event("f", fsnotify.Create)
		s.quietFor(t, 50*time.Millisecond)
		s.none.Store(false)
		s.within(t, "f", 0, 3*time.Millisecond)
	})
}

func TestGoneWaitsInFakeTime(t *testing.T) {
	bubble(t, Config{Gone: 500 * time.Millisecond}, func(s *still) {
		s.rest.Store(uint32(Yes))
		s.event("f", fsnotify.Remove)
		s.quietFor(t, 400*time.Millisecond)
		s.event("f", fsnotify.Remove) // it was there again and went again: from the start
		s.quietFor(t, 400*time.Millisecond)
		s.within(t, "f", 50*time.Millisecond, 150*time.Millisecond)

		s.event("f", fsnotify.Remove)
		s.quietFor(t, 400*time.Millisecond)
		write(t, s.root, "f", "x")
		s.event("f", fsnotify.Create)
		s.within(t, "f", 2*time.Millisecond, 3*time.Millisecond)
		s.quietFor(t, time.Hour)
	})
}

// An event after a path became due, but before anybody took it, makes it wait again.
func TestDueIsTakenBack(t *testing.T) {
	m := newMarks(limits{names: 10, folders: 10, total: 100, debounce: 2, maxDelay: time.Minute})
	m.event("f", 1)
	k, _, _ := m.pick(10)
	m.finish(k, verdict{ready: true})
	m.event("f", 11)
	if out := m.take(12, 10); len(out) != 0 {
		t.Fatalf("%+v", out)
	}
	k, _, _ = m.pick(20)
	m.event("f", 21) // during the look
	m.finish(k, verdict{ready: true})
	if out := m.take(22, 10); len(out) != 0 {
		t.Fatalf("%+v", out)
	}
	k, _, _ = m.pick(30)
	m.finish(k, verdict{ready: true})
	m.pick(31) // ends the round
	if out := m.take(32, 10); len(out) != 1 || len(m.folders) != 0 || m.names != 0 {
		t.Fatalf("%+v", out)
	}
}

// What becomes due together is handed out together, whatever is taken meanwhile.
func TestDueTogether(t *testing.T) {
	const ms = time.Millisecond
	m := newMarks(limits{names: 10, folders: 10, total: 100, debounce: 2 * ms, maxDelay: time.Minute})
	m.event("a", 10*ms)          // the old name, and the file that took it
	m.event("n", 10*ms+ms/2)     // the new name
	m.event("other", 10*ms+3*ms) // comes later
	m.event("written", 10*ms)    // is being written
	m.event("written", 10*ms+ms/2)
	for _, want := range []string{"a", "n"} {
		k, seen, _ := m.pick(12 * ms)
		if k == nil || seen.path != want {
			t.Fatalf("%q is looked at, want %q", seen.path, want)
		}
		m.finish(k, verdict{ready: true})
		if out := m.take(12*ms, 10); len(out) > 0 {
			t.Fatalf("%+v is handed out before its round has ended", out)
		}
	}
	if k, seen, _ := m.pick(12 * ms); k != nil {
		t.Fatalf("%q is looked at before it is due", seen.path)
	}
	if out := m.take(12*ms, 10); len(out) != 2 {
		t.Fatalf("%+v is handed out, want a and n", out)
	}
}

// Overflows that go on are answered with growing gaps, at most a minute.
func TestOverflowGapGrows(t *testing.T) {
	bubble(t, Config{}, func(s *still) {
		var at []time.Time
		began := time.Now()
		for time.Since(began) < 10*time.Minute {
			s.f.errs <- fsnotify.ErrEventOverflow
			pass(100 * time.Millisecond) // fake time
			for len(s.out) > 0 {
				if e := <-s.out; e.Path == "" && e.Rescan && e.Deep {
					at = append(at, time.Now())
				}
			}
		}
		var gaps []int
		for i := 1; i < len(at); i++ {
			gaps = append(gaps, int((at[i].Sub(at[i-1]) + 50*time.Millisecond).Seconds()))
		}
		if want := []int{1, 2, 4, 8, 16, 32, 60, 60}; len(gaps) < len(want) || !slices.Equal(gaps[:len(want)], want) {
			t.Errorf("gaps %v, want %v and so on", gaps, want)
		}
		pass(time.Hour) // fake time: calm
		for len(s.out) > 0 {
			<-s.out
		}
		s.f.errs <- fsnotify.ErrEventOverflow
		s.within(t, "", 0, 10*time.Millisecond)
	})
}

// Nothing ticks but the look at the root.
func TestIdleSleeps(t *testing.T) {
	bubble(t, Config{}, func(s *still) {
		looks := s.f.adds
		pass(100 * time.Hour) // fake time
		if s.f.adds != looks || len(s.out) != 0 {
			t.Error("it did something")
		}
	})
}
