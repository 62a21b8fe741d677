package protocol

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
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

func TestLeaseAckNak(t *testing.T) {
	q := newFakeQueue()
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, CheckSource: anySource}))
	for _, x := range []string{"upl|/s|a%20b", "mkd|f/", "del|c~d"} {
		w.ask(x)
	}
	var ids, texts []string
	for item := range strings.SplitSeq(w.ask("lse|30|60"), ";") {
		id, text, _ := strings.Cut(item, "~")
		ids, texts = append(ids, id), append(texts, text)
	}
	if !slices.Equal(texts, []string{"upl|/s|a%20b", "mkd|f", "del|c~d"}) {
		t.Fatalf("leased %q", texts)
	}
	if got := w.ask("ack|" + ids[0]); got != "ok" {
		t.Errorf("ack: %q", got)
	}
	if got := w.ask("ack|" + ids[0]); got != "gone" {
		t.Errorf("a second ack: %q", got)
	}
	if got := w.ask("nak|" + ids[1] + "|disk%20%7C full"); got != "ok" {
		t.Errorf("nak: %q", got)
	}
	if got := w.ask("nak|" + ids[1] + "|again"); got != "gone" {
		t.Errorf("a second nak: %q", got)
	}
	if got := w.ask("nak|" + ids[2] + "|"); got != "ok" {
		t.Errorf("nak without a reason: %q", got)
	}
	q.state(func() {
		if len(q.done) != 1 || q.done[0].Key != "a b" {
			t.Errorf("done: %+v", q.done)
		}
		r := q.returned[0]
		if r.Err.Err.Error() != "disk | full" || r.Err.Kind != KindTransient || r.Delay != nakDelay || r.Uncounted || r.Dead || r.Delivery.Key != "f" || r.Delivery.Verb != Mkd {
			t.Errorf("returned as %+v, %v", r, r.Err)
		}
	})
	// The next hand waits longer.
	id, _, _ := strings.Cut(w.ask("lse|1|60"), "~")
	d, err := decodeLeaseID(id)
	if err != nil || d.Attempt != 2 {
		t.Fatalf("%q is %+v, %v", id, d, err)
	}
	w.ask("nak|" + id + "|x")
	q.state(func() {
		if r := q.returned[len(q.returned)-1]; r.Delay != 2*nakDelay {
			t.Errorf("the second delay is %v", r.Delay)
		}
	})
}

func TestNakDelay(t *testing.T) {
	for attempt, want := range map[int]time.Duration{0: nakDelay, 1: nakDelay, 2: 2 * nakDelay, 5: 16 * nakDelay, 8: maxNakDelay, 1 << 30: maxNakDelay} {
		id := string(appendLeaseID(nil, &Delivery{Instruction: Instruction{Verb: Del, Key: "k"}, Attempt: attempt}))
		r, err := decodeResult(false, id+"|r")
		if err != nil || r.Delay != want {
			t.Errorf("attempt %d: %v, %v", attempt, r.Delay, err)
		}
	}
}

// The ledger's row of what a foreign worker deleted is dropped, that of anything else is left alone.
func TestAckAndLedger(t *testing.T) {
	for verb, keep := range map[Verb]bool{Upl: true, Mkd: true, Cpo: true, Del: false} {
		id := string(appendLeaseID(nil, &Delivery{Instruction: Instruction{Verb: verb, Key: "k"}, Token: 9, Gen: 4, Attempt: 1}))
		r, err := decodeResult(true, id)
		if err != nil || r.Keep != keep || r.Entry != nil || r.Err != nil || r.Delivery.Token != 9 || r.Delivery.Gen != 4 || r.Delivery.Key != "k" {
			t.Errorf("%s: %+v, %v", verb, r, err)
		}
	}
}

func TestAcksArePipelined(t *testing.T) {
	q := newFakeQueue()
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q}))
	var b strings.Builder
	for i := range 30 {
		fmt.Fprintf(&b, "%s\n", b64(fmt.Sprintf("del|k%d", i)))
	}
	w.send(b.String())
	for range 30 {
		w.recv()
	}
	b.Reset()
	for item := range strings.SplitSeq(w.ask("lse|30|60"), ";") {
		id, _, _ := strings.Cut(item, "~")
		fmt.Fprintf(&b, "%s\n", b64("ack|"+id))
	}
	w.send(b.String())
	for i := range 30 {
		if got := w.text(); got != "ok" {
			t.Errorf("ack %d: %q", i, got)
		}
	}
	q.state(func() {
		if len(q.done) != 30 || len(q.settles) > 10 {
			t.Errorf("%d done in %d Settles", len(q.done), len(q.settles))
		}
	})
	q.state(func() { q.settleErr = errors.New("disk") })
	if got := w.ask("ack|1.1.1.del.YQ"); got != "fail" {
		t.Errorf("an ack that the queue could not take: %q", got)
	}
}

// Instructions and ends of leases that come in one write are carried out in turns, each by its own call.
func TestMixedPipeline(t *testing.T) {
	q := newFakeQueue()
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q}))
	w.ask("del|a")
	w.ask("del|b")
	var ids []string
	for item := range strings.SplitSeq(w.ask("lse|2|60"), ";") {
		id, _, _ := strings.Cut(item, "~")
		ids = append(ids, id)
	}
	w.send(b64("del|c") + "\n" + b64("ack|"+ids[0]) + "\n" + b64("ack|"+ids[0]) + "\n" + b64("del|d") + "\n" + b64("nak|"+ids[1]+"|x") + "\n" + b64("del|e") + "\n")
	for i, want := range []string{"ok", "ok", "gone", "ok", "ok", "ok"} {
		if got := w.text(); got != want {
			t.Errorf("answer %d is %q, want %q", i, got, want)
		}
	}
	q.state(func() {
		if len(q.ready) != 4 || q.ready[0].Key != "b" || q.ready[3].Key != "e" || len(q.done) != 1 || q.done[0].Key != "a" {
			t.Errorf("ready %+v, done %+v", q.ready, q.done)
		}
	})
}

func TestLeaseExpires(t *testing.T) {
	bubble(t, nil, func(t *testing.T, _ *fakeQueue, l *pipeListener, _ func()) {
		w := l.dial(t)
		ask := func(x string) string {
			w.send(b64(x) + "\n")
			line, err := w.line()
			if err != nil {
				t.Fatal(err)
			}
			text, _ := base64.StdEncoding.DecodeString(line)
			return string(text)
		}
		ask("del|a")
		first, _, _ := strings.Cut(ask("lse|1|5"), "~")
		<-time.After(5 * time.Second)
		if got := ask("ack|" + first); got != "gone" {
			t.Errorf("ack after the end of the lease: %q", got)
		}
		second, text, _ := strings.Cut(ask("lse|1|5"), "~")
		if text != "del|a" || second == first {
			t.Errorf("handed out again as %q~%q", second, text)
		}
		if got := ask("ack|" + second); got != "ok" {
			t.Errorf("ack: %q", got)
		}
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

func TestFailuresAndRetry(t *testing.T) {
	q := newFakeQueue()
	since := time.UnixMilli(1_790_000_000_000)
	for i := range 40 {
		q.failed = append(q.failed, Failure{Instruction: Instruction{Verb: Upl, Key: Key(fmt.Sprintf("k%02d", i)), Source: "/s"},
			Dead: true, Attempts: 3, Since: since, Reason: strings.Repeat("no | way; ", 300)})
	}
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q}))
	if got := w.ask("fld|1|k38"); !strings.HasPrefix(got, "dead|3|1790000000000|0|upl||k39|/s|no%20%7C%20way%3B") {
		t.Errorf("%.100q", got)
	}
	seen, after := 0, ""
	for {
		got := w.ask("fld|1000|" + after)
		if got == "" {
			break
		}
		if len(got) > longText {
			t.Errorf("an answer of %d bytes", len(got))
		}
		items := strings.Split(got, ";")
		seen += len(items)
		after = strings.Split(items[len(items)-1], "|")[6]
	}
	if seen != 40 {
		t.Errorf("%d failures listed", seen)
	}
	if got := w.ask("fld|2"); len(strings.Split(got, ";")) != 2 {
		t.Errorf("without a start: %.60q", got)
	}
	for request, want := range map[string]string{"rty|k%2001": "ok|1", "rty|/b/k": "ok|1", "rty|%2A": "ok|1", "rty|*": "ok|40"} {
		if got := w.ask(request); got != want {
			t.Errorf("%s: %q", request, got)
		}
	}
	q.state(func() {
		for _, ids := range q.retried {
			if len(ids) == 1 && ids[0] != (ObjectID{"", "k 01"}) && ids[0] != (ObjectID{"b", "k"}) && ids[0] != (ObjectID{"", "*"}) {
				t.Errorf("retried %+v", ids)
			}
		}
	})
}
