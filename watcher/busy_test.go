package watcher

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"pgregory.net/rapid"
)

// A file that is written for ever is never handed out, and never out of sight.
func TestFilesThatAreAlwaysBusy(t *testing.T) {
	bubble(t, Config{}, func(s *still) {
		write(t, s.root, "f", "x")
		write(t, s.root, "g", "x")
		s.rest.Store(uint32(Busy))
		began := time.Now()
		s.event("f", fsnotify.Write)
		pass(time.Minute)
		s.event("g", fsnotify.Write)
		s.quietFor(t, time.Hour)
		if st := s.w.Stats(); st.Busy != 2 || st.Oldest != "f" || st.OldestSince.Sub(began).Abs() > time.Second {
			t.Errorf("%d files, the oldest %q since %v", st.Busy, st.Oldest, st.OldestSince.Sub(began))
		}
		if s.w.Unresting("f") || s.w.TakeUnresting("f") {
			t.Error("it may be uploaded although nobody asked for that")
		}
		s.rest.Store(uint32(Yes))
		<-s.out
		<-s.out
		synctest.Wait()
		if st := s.w.Stats(); st.Busy != 0 || st.Oldest != "" {
			t.Errorf("at rest: %d files, the oldest %q", st.Busy, st.Oldest)
		}
	})
}

// With Unresting it is handed out after that long, and as often at most, however many events there are.
func TestUnrestingFilesAreHandedOut(t *testing.T) {
	bubble(t, Config{Unresting: 10 * time.Second}, func(s *still) {
		write(t, s.root, "f", "x")
		s.rest.Store(uint32(Busy))
		var out []time.Duration
		began := time.Now()
		for time.Since(began) < 65*time.Second {
			s.event("f", fsnotify.Write)
			pass(3 * time.Millisecond) // fake time
			select {
			case e := <-s.out:
				if e.Path != "f" || !s.w.Unresting("f") || !s.w.TakeUnresting("f") || s.w.TakeUnresting("f") {
					t.Fatalf("%+v without a permission, or with two", e)
				}
				out = append(out, time.Since(began).Round(time.Second))
				s.w.Mark("f")
			default:
			}
		}
		if len(out) != 6 || out[0] != 10*time.Second {
			t.Errorf("handed out at %v", out)
		}
		if s.w.Unresting("g") || s.w.TakeUnresting("g") {
			t.Error("another file has a permission, too")
		}
	})
}

// Thousands of files that stay open are looked at in turns, so seldom that it costs next to nothing, but never more than 5 % late.
func TestManyBusyFilesAreLookedAtSeldom(t *testing.T) {
	w, err := New(Config{Root: t.TempDir(), MaxDelay: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]time.Duration{1: time.Second, 500: time.Second, 3000: 6 * time.Second, 6000: 10 * time.Second}
	for n := 1; n <= 6000; n++ {
		w.writing.see(fmt.Sprint(n), w.now(), 0)
		gap, listed := want[n]
		if !listed {
			continue
		}
		if got := w.busyGap(5 * time.Minute); got != gap {
			t.Errorf("with %d files that are open for minutes the next look is after %v, want %v", n, got, gap)
		}
		if got := w.busyGap(2 * time.Second); got != 100*time.Millisecond {
			t.Errorf("with %d files, one that is open for 2 s is looked at after %v", n, got)
		}
	}
	if gap := w.busyGap(2 * time.Hour); gap != 10*time.Second {
		t.Errorf("a file that is open for hours is looked at after %v", gap)
	}
	if n := w.writing.count(w.now()+2*w.stale(), w.stale()); n != 0 {
		t.Errorf("%d files are counted that nobody looks at", n)
	}
}

// Times are moved to where others are, never later, and by an eighth of the gap at most.
func TestLooksTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gap := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "gap"))
		at := tick(rapid.Int64Range(int64(gap), int64(1000*time.Hour)).Draw(t, "at"))
		if got := together(at, gap); got > at || at-got > gap/8 {
			t.Fatalf("%v becomes %v", at, got)
		}
	})
	times := map[tick]bool{}
	for i := range tick(1000) {
		times[together(100*time.Second+i*time.Second/100, 10*time.Second+i*time.Millisecond)] = true
	}
	if len(times) > 12 {
		t.Errorf("1,000 times of 10 s are %d", len(times))
	}
}

// Where no writer can be told, a file that is never quiet is one that does not rest.
func TestNeverQuietIsBusy(t *testing.T) {
	bubble(t, Config{Settle: 2 * time.Second, MaxDelay: 10 * time.Second}, func(s *still) {
		write(t, s.root, "f", "x")
		s.rest.Store(uint32(Unknown))
		for began := time.Now(); time.Since(began) < 30*time.Second; pass(100 * time.Millisecond) {
			s.event("f", fsnotify.Write)
		}
		if st := s.w.Stats(); st.Busy != 1 || st.Oldest != "f" {
			t.Errorf("%d files, the oldest %q", st.Busy, st.Oldest)
		}
		pass(time.Second) // handed out at MaxDelay
		s.w.Mark("f")
		pass(12 * time.Second)
		if st := s.w.Stats(); st.Busy != 0 {
			t.Errorf("quiet: %d files", st.Busy)
		}
	})
}
