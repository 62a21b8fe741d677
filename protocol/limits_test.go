package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestManyClients(t *testing.T) {
	const clients, each = 110, 20
	q := newFakeQueue()
	s := &Server{Handler: q, CheckSource: anySource}
	addr := startServer(t, s)
	var ws []*wire
	for range clients {
		ws = append(ws, dialWire(t, "tcp", addr))
	}
	eventually(t, "all are being served", func() bool { return s.Clients() == clients })
	if got := ws[0].ask("inf"); !strings.HasPrefix(got, "qsize:0|th_count:110|") {
		t.Error(got)
	}
	var all sync.WaitGroup
	for i, w := range ws {
		all.Go(func() {
			for j := range each {
				if got := w.ask(fmt.Sprintf("upl|/s/%d|k/%d/%d", j, i, j)); got != "ok" {
					t.Errorf("client %d: %q", i, got)
				}
			}
			w.send("\n")
			if !w.ended() {
				t.Errorf("client %d was not let go", i)
			}
		})
	}
	all.Wait()
	if ready, _, _ := q.counts(); ready != clients*each {
		t.Errorf("%d instructions", ready)
	}
	eventually(t, "all have gone", func() bool { return s.Clients() == 0 })
}

func TestTooManyClients(t *testing.T) {
	logs := &logBuffer{}
	s := &Server{Handler: newFakeQueue(), MaxClients: 5, Log: logs.logger()} // means 100, S3 APU's
	addr := startServer(t, s)
	var ws []*wire
	for range leastClients {
		ws = append(ws, dialWire(t, "tcp", addr))
	}
	eventually(t, "all are being served", func() bool { return s.Clients() == leastClients })
	w := dialWire(t, "tcp", addr)
	w.send(b64("del|a") + "\n")
	if got := w.text(); got != "fail" || !w.ended() {
		t.Errorf("the client above the limit was answered %q", got)
	}
	if !strings.Contains(logs.String(), "too many clients") {
		t.Errorf("the log: %s", logs)
	}
	ws[0].send("\n")
	ws[0].ended()
	ws[0].conn.Close()
	eventually(t, "there is room again", func() bool { return s.Clients() == leastClients-1 })
	if got := dialWire(t, "tcp", addr).ask("del|a"); got != "ok" {
		t.Errorf("after one has gone: %q", got)
	}
	if (&Server{}).maxClients() != 1024 || (&Server{MaxClients: 300}).maxClients() != 300 {
		t.Error("the limits")
	}
}

func TestIdleAndTrickle(t *testing.T) {
	bubble(t, nil, func(t *testing.T, _ *fakeQueue, l *pipeListener, _ func()) {
		idle, trickle := l.dial(t), l.dial(t)
		began := time.Now()
		gone := make(chan time.Duration)
		go func() {
			for {
				if _, err := trickle.conn.Write([]byte("A")); err != nil {
					break
				}
				<-time.After(time.Minute)
			}
			gone <- time.Since(began)
		}()
		if _, err := idle.line(); !errors.Is(err, io.EOF) || time.Since(began) != idleTimeout {
			t.Errorf("a silent client: %v after %v", err, time.Since(began))
		}
		if took := <-gone; took > idleTimeout+time.Minute {
			t.Errorf("a client that never ends its line was let go after %v", took)
		}
	})
	bubble(t, func(s *Server) { s.IdleTimeout = time.Minute }, func(t *testing.T, _ *fakeQueue, l *pipeListener, _ func()) {
		w := l.dial(t)
		for range 5 { // each line begins a new wait
			<-time.After(50 * time.Second)
			w.send(b64("inf") + "\n")
			if _, err := w.line(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A reader that takes nothing is let go; meanwhile others are served.
func TestSlowReader(t *testing.T) {
	q := newFakeQueue()
	s := &Server{Handler: q, WriteTimeout: 300 * time.Millisecond}
	addr := listenFor(t, s, "unix") // whose buffers in the kernel are small
	slow, other := dialWire(t, "unix", addr), dialWire(t, "unix", addr)
	ended := make(chan error, 1)
	go func() {
		line := []byte(strings.Repeat(b64("inf")+"\n", 4096))
		for {
			if _, err := slow.conn.Write(line); err != nil {
				ended <- err
				return
			}
		}
	}()
	for range 50 {
		if got := other.ask("del|a"); got != "ok" {
			t.Fatalf("the other client: %q", got)
		}
	}
	select {
	case <-ended:
	case <-time.After(15 * time.Second):
		t.Fatal("the slow reader is still there")
	}
	eventually(t, "its goroutine ends", func() bool { return s.Clients() == 1 })
}

func TestStop(t *testing.T) {
	q := newFakeQueue()
	s := &Server{Handler: q, CheckSource: anySource}
	ln, err := Listen("tcp", "127.0.0.1:0", Peers{})
	if err != nil {
		t.Skip("the system cannot tell users: ", err)
	}
	stop := serve(t, s, ln)
	addr := ln.Addr().String()
	waiting, idle, busy := dialWire(t, "tcp", addr), dialWire(t, "tcp", addr), dialWire(t, "tcp", addr)
	entered, gate := make(chan struct{}), make(chan struct{})
	q.state(func() { q.putErr = func([]Instruction) error { close(entered); <-gate; return nil } })
	waiting.send(b64("get|1") + "\n")
	eventually(t, "one waits", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return q.waiting == 1 })
	idle.send(b64("inf") + "\n")
	idle.text()
	busy.send(b64("del|a") + "\n")
	<-entered
	over := make(chan struct{})
	go func() { defer close(over); stop() }()
	if !idle.ended() {
		t.Error("the idle client is still connected")
	}
	close(gate)
	if got := busy.text(); got != "ok" || !busy.ended() {
		t.Errorf("what was under way was answered %q", got)
	}
	if got := waiting.text(); got != "" || !waiting.ended() {
		t.Errorf("the waiting client was answered %q", got)
	}
	<-over
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("the listener is still open")
	}
}

// A request that hangs is cut after the grace.
func TestStopGrace(t *testing.T) {
	bubble(t, nil, func(t *testing.T, _ *fakeQueue, _ *pipeListener, _ func()) {
		ctx, cancel := context.WithCancel(t.Context())
		work, stop := workContext(ctx)
		cancel()
		began := time.Now()
		<-work.Done()
		if took := time.Since(began); took != stopGrace {
			t.Errorf("cut after %v", took)
		}
		stop()
		work, stop = workContext(t.Context())
		stop()
		if work.Err() == nil {
			t.Error("the end does not end it")
		}
	})
}

// badListener fails in a given order.
type badListener struct {
	net.Listener
	errs []error
}

func (l *badListener) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

func TestAcceptErrors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	logs := &logBuffer{}
	s := &Server{Handler: newFakeQueue(), Log: logs.logger(), Peers: Peers{UID: func(net.Conn) (uint32, error) { return 0, nil }}}
	serve(t, s, &badListener{ln, []error{syscall.EMFILE, syscall.ECONNABORTED}})
	if got := dialWire(t, "tcp", ln.Addr().String()).ask("del|a"); got != "ok" {
		t.Errorf("after two failures: %q", got)
	}
	if strings.Count(logs.String(), "no new client") != 1 {
		t.Errorf("the log: %s", logs)
	}
	ln2, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(t.Context(), &badListener{ln2, []error{errors.New("broken")}}); KindOf(err) != KindLocal {
		t.Errorf("a broken listener: %v", err)
	}
}

// newReader is a lineReader on a pipe.
func newReader(t *testing.T) (*lineReader, net.Conn) {
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close(); there.Close() })
	return &lineReader{conn: there, stopped: func() bool { return false }}, here
}

func (l *lineReader) mustNext(t *testing.T) (string, bool) {
	t.Helper()
	for {
		if line, long, ok := l.next(); ok {
			return string(line), long
		}
		if err := l.fill(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLineReader(t *testing.T) {
	l, peer := newReader(t)
	sizes := []int{0, 1, startBuffer - 1, startBuffer, startBuffer + 1, 3, MaxLine - 1, MaxLine, 0, MaxLine + 1, MaxLine + 2, 5 * MaxLine, 7}
	go func() {
		for i, n := range sizes {
			end := "\n"
			if i%2 == 1 {
				end = "\r\n"
			}
			io.WriteString(peer, strings.Repeat("x", n)+end)
		}
	}()
	for _, n := range sizes {
		line, long := l.mustNext(t)
		if long != (n > MaxLine) || !long && len(line) != n || long && len(line) > maxPrinted+1 {
			t.Errorf("%d bytes came as %d, too long %v", n, len(line), long)
		}
		if len(l.buf) > maxBuffer {
			t.Errorf("a buffer of %d bytes", len(l.buf))
		}
	}
}

// The buffer follows what is read: large for a burst, small again in silence.
func TestLineReaderRests(t *testing.T) {
	bubble(t, nil, func(t *testing.T, _ *fakeQueue, _ *pipeListener, _ func()) {
		l, peer := newReader(t)
		go func() {
			io.WriteString(peer, strings.Repeat("x", MaxLine)+"\n")
			<-time.After(3 * restAfter)
			io.WriteString(peer, "y\n")
		}()
		if line, _ := l.mustNext(t); len(line) != MaxLine || len(l.buf) != maxBuffer {
			t.Errorf("%d bytes in a buffer of %d", len(line), len(l.buf))
		}
		if line, _ := l.mustNext(t); line != "y" || len(l.buf) != startBuffer {
			t.Errorf("%q in a buffer of %d", line, len(l.buf))
		}
	})
}

// However bytes are cut into reads, the same lines come out.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nbb\r\n\nccc\n"), uint8(1))
	f.Add([]byte("\r\r\n\n"), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		here, there := net.Pipe()
		defer here.Close()
		over := make(chan struct{})
		go func() {
			defer close(over)
			defer there.Close()
			for rest := data; len(rest) > 0; {
				n := min(len(rest), int(step)+1)
				there.Write(rest[:n])
				rest = rest[n:]
			}
		}()
		l := &lineReader{conn: here, stopped: func() bool { return false }}
		want := strings.Split(string(data), "\n")
		want = want[:len(want)-1]
		for i := 0; ; {
			if line, long, ok := l.next(); ok {
				w := strings.TrimSuffix(want[i], "\r")
				if long != (len(w) > MaxLine) || !long && string(line) != w {
					t.Fatalf("line %d is %q, want %q", i, line, w)
				}
				i++
				continue
			}
			if err := l.fill(time.Now().Add(time.Minute)); err != nil {
				if i != len(want) {
					t.Fatalf("%d of %d lines", i, len(want))
				}
				break
			}
		}
		<-over
	})
}

// Connections that have sent long lines and fallen silent hold little memory.
func TestIdleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 3 s")
	}
	const clients = 100
	s := &Server{Handler: newFakeQueue()}
	addr := listenFor(t, s, "unix")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	long := []byte(strings.Repeat("A", MaxLine) + "\n")
	for range clients {
		w := dialWire(t, "unix", addr)
		go w.conn.Write(long)
		w.text()
	}
	<-time.After(restAfter + 500*time.Millisecond)
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)) / clients
	t.Logf("%d bytes for each connection, both ends", each)
	if each > 48<<10 {
		t.Errorf("%d bytes for each idle connection, both ends", each)
	}
}
