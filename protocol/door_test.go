package protocol

import (
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// guest is a session of the door's tests, silent for so long, with a connection to close.
func guest(t *testing.T, ours, quiet bool, silent time.Duration) *session {
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close(); there.Close() })
	se := &session{conn: there, ours: ours}
	se.quiet.Store(quiet)
	se.heard.Store(ticks() - int64(silent))
	return se
}

func TestPlacesForTheOwner(t *testing.T) {
	var d door
	for n := 0; n < 1024-reservedPlaces; n++ {
		if !d.enter(&session{}, 1024) {
			t.Fatalf("the stranger %d was sent away", n)
		}
	}
	if d.enter(&session{}, 1024) {
		t.Error("a stranger took a place of the owner")
	}
	for n := range reservedPlaces {
		if !d.enter(&session{ours: true}, 1024) {
			t.Fatalf("the owner's connection %d was sent away", n)
		}
	}
	if d.enter(&session{ours: true}, 1024) || d.count() != 1024 {
		t.Errorf("%d places are taken", d.count())
	}
}

func TestTheLongestSilentMakesRoom(t *testing.T) {
	closed := func(se *session) bool {
		return errors.Is(se.conn.SetDeadline(time.Time{}), io.ErrClosedPipe)
	}
	var d door
	waits := guest(t, false, false, time.Hour) // in get
	owner := guest(t, true, true, 30*time.Minute)
	old := guest(t, false, true, 2*time.Minute)
	older := guest(t, false, true, 3*time.Minute)
	fresh := guest(t, false, true, silentAfter/2)
	for _, se := range []*session{waits, owner, old, older, fresh} {
		if !d.enter(se, 100) {
			t.Fatal("there is room")
		}
	}
	for i, want := range []*session{older, old} {
		if !d.enter(guest(t, false, true, 0), 5) || !closed(want) {
			t.Errorf("%d: the longest silent one is still there", i)
		}
	}
	if d.enter(guest(t, false, true, 0), 5) || closed(owner) || closed(waits) || closed(fresh) {
		t.Error("a stranger drove away the owner, one who waits, or one who has just spoken")
	}
	if !d.enter(guest(t, true, true, 0), 5) || !closed(owner) {
		t.Error("the owner cannot make room for itself")
	}
}

func TestTurnsAreTakenInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := &turns{started: true, free: 1}
		var first turn
		ts.enter(&first)
		order := make(chan int, 3)
		for i := range 3 {
			go func() {
				var mine turn
				ts.enter(&mine)
				order <- i
				ts.leave(&mine)
				ts.leave(&mine) // the second one is nothing
			}()
			synctest.Wait()
		}
		ts.leave(&first)
		for i := range 3 {
			if got := <-order; got != i {
				t.Errorf("%d came as number %d", got, i)
			}
		}
		synctest.Wait()
		if ts.free != 1 || len(ts.holding) != 0 {
			t.Errorf("%d free, %d held in the end", ts.free, len(ts.holding))
		}
	})
}

// A turn that hangs in a dead disk stops nobody, and does not count twice when it comes back.
func TestStuckTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := &turns{started: true, free: 1}
		var stuck, next, third turn
		ts.enter(&stuck)
		began := time.Now()
		ts.enter(&next)
		if took := time.Since(began); took != stuckAfter {
			t.Errorf("waited %v", took)
		}
		ts.leave(&stuck)
		ts.leave(&next)
		ts.enter(&third)
		ts.leave(&third)
		if ts.free != 1 {
			t.Errorf("%d turns are free, of one", ts.free)
		}
	})
}

func TestJunkIsPaced(t *testing.T) {
	var p pacer
	now := time.Now()
	if d := p.take(MaxLine, now); d != 0 {
		t.Errorf("one line waits %v", d)
	}
	var last time.Duration
	for range 2 * junkRate / MaxLine {
		last = p.take(MaxLine, now)
	}
	if last < 2*time.Second || last > 2*time.Second+time.Millisecond {
		t.Errorf("behind 256 MiB it waits %v", last)
	}
	if d := p.take(1, now.Add(time.Minute)); d != 0 {
		t.Errorf("after a minute it waits %v", d)
	}
}

func TestEndlessLine(t *testing.T) {
	s := &Server{Handler: newFakeQueue()}
	w := dialWire(t, "tcp", startServer(t, s))
	w.conn.(*net.TCPConn).SetWriteBuffer(kernelBuffer)
	sent := make(chan int, 1)
	go func() {
		n := 0
		for part := []byte(strings.Repeat("x", 32<<10)); ; {
			m, err := w.conn.Write(part)
			if n += m; err != nil {
				sent <- n
				return
			}
		}
	}()
	select {
	case n := <-sent:
		if most := endless + 16*kernelBuffer; n > most {
			t.Errorf("%d bytes of one line were taken", n)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the line goes on")
	}
	eventually(t, "the session ends", func() bool { return s.Clients() == 0 })
	bubble(t, nil, func(t *testing.T, _ *fakeQueue, l *pipeListener, _ func()) {
		slow := l.dial(t)
		began := time.Now()
		slow.send("A")
		slow.line()
		if took := time.Since(began); took != lineTime {
			t.Errorf("half a line was waited for %v", took)
		}
	})
}

// A client that sends without a pause does not keep another one waiting.
func TestBusyClientLeavesTheTurn(t *testing.T) {
	ts := &turns{started: true, free: 1}
	var busy, other turn
	stop, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for {
			select {
			case <-stop:
				ts.leave(&busy)
				return
			default:
				ts.enter(&busy)
			}
		}
	}()
	for range 20 {
		runtime.Gosched()
		ts.enter(&other)
		ts.leave(&other)
	}
	close(stop)
	<-over
	if ts.free != 1 {
		t.Errorf("%d turns are free, of one", ts.free)
	}
}
