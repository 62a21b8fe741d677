package protocol

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestGetIsServedAtOnce(t *testing.T) {
	q := newFakeQueue()
	addr := startServer(t, &Server{Handler: q, CheckSource: anySource})
	worker, producer := dialWire(t, "tcp", addr), dialWire(t, "tcp", addr)
	worker.send("Z2V0fDU=\n") // get|5
	eventually(t, "the worker waits", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return q.waiting == 1 })
	began := time.Now()
	producer.send("ZGVsfGE=\n") // del|a
	if got := worker.text(); got != "del|a" {
		t.Errorf("got %q", got)
	}
	if took := time.Since(began); took > time.Second { // measured: far below 1 ms; loaded machines are not the matter here
		t.Errorf("it took %v", took)
	} else {
		t.Logf("put to answer of the waiting get: %v", took)
	}
}

// pipeListener hands out one end of net.Pipe, so that a server can run in a synctest bubble.
type pipeListener struct {
	conns chan net.Conn
	over  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), over: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.over); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (l *pipeListener) dial(t testing.TB) *wire {
	here, there := net.Pipe()
	l.conns <- there
	t.Cleanup(func() { here.Close() })
	return newWire(t, here)
}

// bubble runs a server on pipes in a bubble of false time. change may set the server up.
func bubble(t *testing.T, change func(*Server), f func(t *testing.T, q *fakeQueue, l *pipeListener, stop func())) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue() // its channels must be of this bubble
		s := &Server{Handler: q, Peers: Peers{UID: func(net.Conn) (uint32, error) { return 0, nil }}}
		if change != nil {
			change(s)
		}
		l := newPipeListener()
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error, 1)
		go func() { over <- s.Serve(ctx, l) }()
		f(t, q, l, cancel)
		cancel()
		if err := <-over; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func (w *wire) line() (string, error) {
	w.conn.SetReadDeadline(time.Time{})
	line, err := w.in.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

func TestGetWaitsTenSeconds(t *testing.T) {
	bubble(t, nil, func(t *testing.T, _ *fakeQueue, l *pipeListener, _ func()) {
		w := l.dial(t)
		for _, request := range []string{"get|3", "lse|3|60"} {
			began := time.Now()
			w.send(b64(request) + "\n")
			if line, err := w.line(); line != "" || err != nil {
				t.Errorf("%s: %q, %v", request, line, err)
			}
			if took := time.Since(began); took != 10*time.Second {
				t.Errorf("%s took %v", request, took)
			}
		}
	})
}

func TestGetWaitsForTheFirstOnly(t *testing.T) {
	bubble(t, nil, func(t *testing.T, _ *fakeQueue, l *pipeListener, _ func()) {
		w, p := l.dial(t), l.dial(t)
		began := time.Now()
		w.send(b64("get|30") + "\n")
		<-time.After(4 * time.Second)
		go p.send(b64("del|a") + "\n")
		if line, err := w.line(); line != b64("del|a") || err != nil || time.Since(began) != 4*time.Second {
			t.Errorf("%q, %v after %v", line, err, time.Since(began))
		}
		p.recv()
	})
}

// A client that goes away while it waits frees its goroutine at once, and nothing is handed to it.
func TestHangUpWhileWaiting(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			q := newFakeQueue()
			s := &Server{Handler: q, CheckSource: anySource}
			addr := listenFor(t, s, network)
			for _, request := range []string{"get|5", "lse|5|60"} {
				w := dialWire(t, network, addr)
				w.send(b64(request) + "\n")
				eventually(t, "the client waits", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return q.waiting == 1 })
				w.conn.Close()
				eventually(t, "its goroutine ends", func() bool { return s.Clients() == 0 })
			}
			w := dialWire(t, network, addr)
			w.ask("del|a")
			if got := w.ask("get|5"); got != "del|a" {
				t.Errorf("the next client got %q", got)
			}
		})
	}
}

// listenFor serves on a fresh socket of either kind.
func listenFor(t testing.TB, s *Server, network string) string {
	if network == "tcp" {
		return startServer(t, s)
	}
	path := shortDir(t) + "/s"
	ln, err := Listen("unix", path, s.Peers)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, ln)
	return path
}

// shortDir is a folder whose path fits into the 107 bytes of a unix socket's address.
func shortDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "s3apu") //nolint:usetesting // the name of the test would make the path too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Items are never handed to a client that has closed before the server looks at its request, even if they are there.
func TestHangUpBeforeGetLosesNothing(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("this system cannot look ahead in a connection")
	}
	for name, behind := range map[string]string{
		"nothing behind it":       "",
		"an empty line behind it": "\n",
		"more than one read":      strings.Repeat("A", 2*startBuffer),
	} {
		t.Run(name, func(t *testing.T) {
			q := newFakeQueue()
			q.ready = []Delivery{{Instruction: Instruction{Verb: Del, Key: "a"}, Gen: 1}}
			came, gate := make(chan struct{}), make(chan struct{})
			logs := &logBuffer{}
			s := &Server{Handler: q, Log: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
				Peers: Peers{UID: func(net.Conn) (uint32, error) { close(came); <-gate; return 0, nil }}}
			w := dialWire(t, "tcp", startServer(t, s))
			w.send(b64("get|1") + "\n" + behind)
			w.conn.Close()
			<-came
			close(gate)
			eventually(t, "the session ends", func() bool { return strings.Contains(logs.String(), "client went") })
			if ready, leased, done := q.counts(); ready != 1 || leased != 0 || done != 0 {
				t.Errorf("%d ready, %d leased, %d done", ready, leased, done)
			}
		})
	}
}

// A client that pipelines behind a waiting get is answered in order, and still seen when it goes.
func TestPipelineBehindWaitingGet(t *testing.T) {
	q := newFakeQueue()
	s := &Server{Handler: q, CheckSource: anySource}
	addr := startServer(t, s)
	w, p := dialWire(t, "tcp", addr), dialWire(t, "tcp", addr)
	w.send(b64("get|1") + "\n")
	eventually(t, "it waits", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return q.waiting == 1 })
	var b strings.Builder
	for i := range 3000 { // more than the buffer holds at first
		fmt.Fprintf(&b, "%s\n", b64(fmt.Sprintf("cpo|/b/k%d|to/%d", i, i)))
	}
	go w.conn.Write([]byte(b.String()))
	p.ask("del|first")
	if got := w.text(); got != "del|first" {
		t.Fatalf("get was answered %q", got)
	}
	for i := range 3000 {
		if got := w.recv(); got != "b2s=" {
			t.Fatalf("answer %d: %q", i, got)
		}
	}
	if ready, _, _ := q.counts(); ready != 3000 {
		t.Errorf("%d instructions", ready)
	}
}

func TestHalfClosedClient(t *testing.T) {
	q := newFakeQueue()
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q}))
	w.send(b64("del|a") + "\n" + b64("inf") + "\n" + b64("get|1") + "\n")
	w.conn.(*net.TCPConn).CloseWrite()
	if got := w.text(); got != "ok" {
		t.Errorf("the instruction of a half-closed client: %q", got)
	}
	if got := w.text(); !strings.HasPrefix(got, "qsize:1|") {
		t.Errorf("its question: %q", got)
	}
	// Whether the end was seen before the get is a race that the client has chosen; nothing is lost in either case.
	got := w.text()
	eventually(t, "the item is here or there", func() bool {
		ready, leased, done := q.counts()
		return leased == 0 && (got == "" && ready == 1 || got == "del|a" && done == 1)
	})
}

// When the answer cannot be written, what it held goes back.
func TestUnwrittenAnswerGoesBack(t *testing.T) {
	q := newFakeQueue()
	q.ready = []Delivery{{Instruction: Instruction{Verb: Del, Key: "a"}, Gen: 1}, {Instruction: Instruction{Verb: Del, Key: "b"}, Gen: 1}}
	s := &Server{Handler: q, WriteTimeout: 50 * time.Millisecond}
	here, there := net.Pipe() // nobody reads from it, and a pipe holds nothing
	defer here.Close()
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.Peers.UID = func(net.Conn) (uint32, error) { return 0, nil }
		s.receive(t.Context(), t.Context(), there, s.Peers.judge(there), make(chan struct{}, 1))
	}()
	here.Write([]byte(b64("get|5") + "\n"))
	<-over
	if ready, leased, done := q.counts(); ready != 2 || leased != 0 || done != 0 {
		t.Errorf("%d ready, %d leased, %d done", ready, leased, done)
	}
}
