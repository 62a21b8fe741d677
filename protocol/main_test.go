package protocol

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	floodIfAsked()
	goleak.VerifyTestMain(m)
}

// fakeQueue is a Handler in memory: first in, first out, with leases.
type fakeQueue struct {
	mu      sync.Mutex
	ready   []Delivery
	leased  map[uint64]fakeLease
	token   uint64
	changed chan struct{} // closed at every change

	batches  []int // sizes of the slices given to Put
	settles  []int // and to Settle
	done     []Instruction
	returned []Result
	failed   []Failure
	retried  [][]ObjectID
	after    []ObjectID
	waiting  int // Lease calls that wait now
	started  time.Time

	putErr    func([]Instruction) error
	settleErr error
	leaseErr  error
}

type fakeLease struct {
	d     Delivery
	until time.Time
}

func newFakeQueue() *fakeQueue {
	return &fakeQueue{leased: map[uint64]fakeLease{}, changed: make(chan struct{}), started: time.Now()}
}

// wake tells all who wait; mu is held.
func (q *fakeQueue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *fakeQueue) Put(_ context.Context, ins []Instruction) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.batches = append(q.batches, len(ins))
	if q.putErr != nil {
		if err := q.putErr(ins); err != nil {
			return err
		}
	}
	for _, in := range ins {
		q.ready = append(q.ready, Delivery{Instruction: in, Gen: 1})
	}
	q.wake()
	return nil
}

func (q *fakeQueue) Pop(context.Context, int, time.Duration) ([]Instruction, error) {
	panic("the server hands out by leases")
}

func (q *fakeQueue) Lease(ctx context.Context, n int, wait, hold time.Duration) ([]Delivery, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.leaseErr != nil {
			return nil, q.leaseErr
		}
		for token, l := range q.leased {
			if !time.Now().Before(l.until) {
				delete(q.leased, token)
				q.ready = append(q.ready, l.d)
			}
		}
		if len(q.ready) > 0 {
			n = min(n, len(q.ready))
			out := slices.Clone(q.ready[:n])
			q.ready = slices.Clone(q.ready[n:])
			for i := range out {
				q.token++
				out[i].Token = q.token
				out[i].Attempt++
				q.leased[q.token] = fakeLease{out[i], time.Now().Add(hold)}
			}
			return out, nil
		}
		if wait <= 0 {
			return nil, nil
		}
		changed := q.changed
		q.waiting++
		q.mu.Unlock()
		var end bool
		var err error
		select {
		case <-changed:
		case <-timer.C:
			end = true
		case <-ctx.Done():
			end, err = true, ctx.Err()
		}
		q.mu.Lock()
		q.waiting--
		if end {
			return nil, err
		}
	}
}

func (q *fakeQueue) Settle(_ context.Context, rs []Result) ([]Outcome, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.settleErr != nil {
		return nil, q.settleErr
	}
	q.settles = append(q.settles, len(rs))
	var out []Outcome
	for _, r := range rs {
		l, ok := q.leased[r.Delivery.Token]
		if !ok || l.d.Gen != r.Delivery.Gen || l.d.Key != r.Delivery.Key || !time.Now().Before(l.until) {
			out = append(out, LeaseLost)
			continue
		}
		delete(q.leased, r.Delivery.Token)
		if r.Err == nil {
			q.done = append(q.done, l.d.Instruction)
			out = append(out, Done)
			continue
		}
		if r.Uncounted {
			l.d.Attempt--
		}
		q.returned = append(q.returned, r)
		q.ready = append([]Delivery{l.d}, q.ready...)
		out = append(out, Requeued)
	}
	q.wake()
	return out, nil
}

func (q *fakeQueue) Info() Info {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := Info{QSize: int64(len(q.ready) + len(q.leased)), Uptime: time.Since(q.started)}
	for _, d := range q.ready {
		i.TotalCmd++
		switch d.Verb {
		case Mkd:
			i.MkdCmd++
		case Upl:
			i.UplCmd++
		case Cpo:
			i.CpoCmd++
		case Del:
			i.DelCmd++
		}
	}
	return i
}

func (q *fakeQueue) Failed(_ context.Context, after ObjectID, n int) ([]Failure, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.after = append(q.after, after)
	var out []Failure
	for _, f := range q.failed {
		if f.Key > after.Key && len(out) < n {
			out = append(out, f)
		}
	}
	return out, nil
}

// Held, Release and Drop tell by their answers that it was they who were called.
func (q *fakeQueue) Held(context.Context, ObjectID, int) ([]Failure, error) {
	return []Failure{{Instruction: Instruction{Verb: Del, Key: "held key"}, Held: true, Reason: "waits"}}, nil
}

func (q *fakeQueue) Release(_ context.Context, ids []ObjectID) (int, error) {
	return 100 + len(ids), nil
}

func (q *fakeQueue) Drop(_ context.Context, ids []ObjectID) (int, error) {
	return 200 + len(ids), nil
}

func (q *fakeQueue) Retry(_ context.Context, ids []ObjectID) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.retried = append(q.retried, ids)
	if ids == nil {
		return len(q.failed), nil
	}
	return len(ids), nil
}

// state calls f under the lock.
func (q *fakeQueue) state(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f()
}

func (q *fakeQueue) counts() (ready, leased, done int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ready), len(q.leased), len(q.done)
}

// logBuffer collects log records as text.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// anySource lets every source through.
func anySource(string) error { return nil }

// startServer serves q on loopback TCP until the test ends, and returns the address.
func startServer(t testing.TB, s *Server) string {
	t.Helper()
	if s.Peers.UID == nil && !canTellUsers {
		s.Peers.UID = func(net.Conn) (uint32, error) { return 0, nil }
	}
	ln, err := Listen("tcp", "127.0.0.1:0", s.Peers)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, ln)
	return ln.Addr().String()
}

// serve runs s until the test ends, or until the returned function is called.
func serve(t testing.TB, s *Server, ln net.Listener) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- s.Serve(ctx, ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-over:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Serve did not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// wire is a client that knows nothing but lines.
type wire struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func dialWire(t testing.TB, network, addr string) *wire {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return newWire(t, c)
}

func newWire(t testing.TB, c net.Conn) *wire { return &wire{t, c, bufio.NewReader(c)} }

// send writes bytes as they are.
func (w *wire) send(raw string) {
	w.t.Helper()
	if _, err := w.conn.Write([]byte(raw)); err != nil {
		w.t.Fatalf("write: %v", err)
	}
}

// recv reads one line as it is, without LF.
func (w *wire) recv() string {
	w.t.Helper()
	w.conn.SetReadDeadline(time.Now().Add(15 * time.Second))
	line, err := w.in.ReadString('\n')
	if err != nil {
		w.t.Fatalf("read: %v (%q)", err, line)
	}
	return strings.TrimSuffix(line, "\n")
}

// ended reports that the server has closed, with nothing more to read.
func (w *wire) ended() bool {
	w.conn.SetReadDeadline(time.Now().Add(15 * time.Second))
	line, err := w.in.ReadString('\n')
	return line == "" && err != nil && !isTimeout(err)
}

// ask sends one request as text and returns the answer as text.
func (w *wire) ask(text string) string {
	w.t.Helper()
	w.send(b64(text) + "\n")
	return w.text()
}

// text reads one answer as text.
func (w *wire) text() string {
	w.t.Helper()
	line := w.recv()
	b, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		w.t.Fatalf("the answer %q is not base64", line)
	}
	return string(b)
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}
