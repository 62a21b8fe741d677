package protocol

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func dialClient(t testing.TB, network, addr, token string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), network, addr, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestClient(t *testing.T) {
	q := newFakeQueue()
	c := dialClient(t, "tcp", startServer(t, &Server{Handler: q, CheckSource: anySource}), "")
	ctx := t.Context()
	ins := []Instruction{{Verb: Upl, Source: "/s |;\n", Key: "a b"}, {Verb: Mkd, Key: "f"}, {Verb: Cpo, Source: "/b/é", Key: "c"}, {Verb: Del, Key: "d"}}
	if err := c.Put(ctx, ins); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(ctx, nil); err != nil {
		t.Error(err)
	}
	got, err := c.Get(ctx, 2)
	if err != nil || !slices.Equal(got, ins[:2]) {
		t.Errorf("got %+v, %v", got, err)
	}
	ls, err := c.Lease(ctx, 30, 1500*time.Millisecond)
	if err != nil || len(ls) != 2 || ls[0].Instruction != ins[2] || ls[1].Instruction != ins[3] {
		t.Fatalf("leased %+v, %v", ls, err)
	}
	if err := c.Ack(ctx, ls[0].ID); err != nil {
		t.Error(err)
	}
	if err := c.Ack(ctx, ls[0].ID); !errors.Is(err, ErrGone) {
		t.Errorf("a second ack: %v", err)
	}
	if err := c.Nak(ctx, ls[1].ID, "no | space;"); err != nil {
		t.Error(err)
	}
	if err := c.Nak(ctx, ls[1].ID, ""); !errors.Is(err, ErrGone) {
		t.Errorf("a second nak: %v", err)
	}
	if err := c.Ack(ctx, "rubbish"); !errors.Is(err, ErrInvalid) || KindOf(err) != KindItem {
		t.Errorf("rubbish: %v", err)
	}
	q.state(func() {
		if r := q.returned[len(q.returned)-1]; r.Err.Err.Error() != "no | space;" {
			t.Errorf("the reason came as %q", r.Err.Err)
		}
		q.failed = []Failure{{Instruction: ins[0], Dead: true, Attempts: 2, Since: time.UnixMilli(5), Reason: "r"}, {Instruction: ins[3], Next: time.UnixMilli(7)}}
	})
	i, err := c.Info(ctx)
	if err != nil || i.QSize != 1 || i.ThCount != 1 || i.GetCmd != 32 {
		t.Errorf("%+v, %v", i, err)
	}
	list, err := c.Failed(ctx, ObjectID{}, 10)
	if err != nil || len(list) != 2 || !sameFailure(list[0], q.failed[0]) || !sameFailure(list[1], q.failed[1]) {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := c.Failed(ctx, list[0].ID(), 10); err != nil || len(list) != 1 {
		t.Errorf("behind the first: %+v, %v", list, err)
	}
	if list, err := c.Failed(ctx, list[1].ID(), 10); err != nil || len(list) != 0 {
		t.Errorf("behind the last: %+v, %v", list, err)
	}
	if n, err := c.Retry(ctx, []ObjectID{{"", "a b"}, {"b", "k"}}); n != 2 || err != nil {
		t.Errorf("retried %d, %v", n, err)
	}
	if n, err := c.Retry(ctx, nil); n != 2 || err != nil {
		t.Errorf("retried all: %d, %v", n, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Info(ctx); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestClientPutMany(t *testing.T) {
	q := newFakeQueue()
	c := dialClient(t, "tcp", startServer(t, &Server{Handler: q, CheckSource: anySource}), "")
	const n = 20_000
	ins := make([]Instruction, n)
	for i := range ins {
		ins[i] = Instruction{Verb: Upl, Source: fmt.Sprintf("/s/%d", i), Key: Key(fmt.Sprintf("k/%d", i))}
	}
	if err := c.Put(t.Context(), ins); err != nil {
		t.Fatal(err)
	}
	q.state(func() {
		if len(q.ready) != n || q.ready[n-1].Key != ins[n-1].Key {
			t.Errorf("%d arrived", len(q.ready))
		}
		t.Logf("%d instructions in %d Puts", n, len(q.batches))
	})
}

func TestClientPutRefused(t *testing.T) {
	q := newFakeQueue()
	full := false
	q.putErr = func([]Instruction) error {
		if full {
			return errors.New("disk full")
		}
		return nil
	}
	c := dialClient(t, "tcp", startServer(t, &Server{Handler: q, CheckSource: func(p string) error {
		if p == "/out" {
			return errors.New("outside")
		}
		return nil
	}}), "")
	good := Instruction{Verb: Del, Key: "k"}
	err := c.Put(t.Context(), []Instruction{good, {Verb: Upl, Source: "/out", Key: "k"}, {Verb: Del, Key: "/never sent"}, good})
	var pe *PutError
	if !errors.As(err, &pe) || pe.Total != 4 || len(pe.Refused) != 2 || pe.Refused[0].Index != 1 || pe.Refused[1].Index != 2 || !errors.Is(err, ErrInvalid) || errors.Is(err, ErrFail) {
		t.Errorf("%v", err)
	}
	q.state(func() { full = true })
	if err := c.Put(t.Context(), []Instruction{good}); !errors.Is(err, ErrFail) || !strings.Contains(err.Error(), "1 of 1") {
		t.Errorf("%v", err)
	}
	q.state(func() { full = false })
	if err := c.Put(t.Context(), []Instruction{good}); err != nil {
		t.Errorf("the connection does not go on: %v", err)
	}
}

func TestClientIsLetIn(t *testing.T) {
	addr := startServer(t, &Server{Handler: newFakeQueue(), Peers: Peers{UID: asUser(stranger), Token: "to|ken"}})
	if _, err := dialClient(t, "tcp", addr, "to|ken").Info(t.Context()); err != nil {
		t.Error(err)
	}
	for _, token := range []string{"", "wrong"} {
		_, err := Dial(t.Context(), "tcp", addr, token)
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindUsage || !strings.Contains(e.Hint, "token_file") || strings.Contains(err.Error(), "to|ken") {
			t.Errorf("token %q: %v", token, err)
		}
	}
	addr = startServer(t, &Server{Handler: newFakeQueue(), Peers: Peers{UID: asUser(stranger)}})
	if _, err := Dial(t.Context(), "tcp", addr, ""); KindOf(err) != KindUsage {
		t.Errorf("a stranger: %v", err)
	}
}

func TestClientCannotConnect(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	for network, at := range map[string]string{"tcp": addr, "unix": filepath.Join(shortDir(t), "none")} {
		_, err := Dial(t.Context(), network, at, "")
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindUnreachable || !strings.Contains(e.Hint, "running") {
			t.Errorf("%s: %v", network, err)
		}
	}
}

func TestClientContext(t *testing.T) {
	q := newFakeQueue()
	c := dialClient(t, "tcp", startServer(t, &Server{Handler: q}), "")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		eventually(t, "the client waits", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return q.waiting == 1 })
	}()
	if _, err := c.Get(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled get: %v", err)
	}
	// The answer may still come: it must not be taken for that of another request.
	if _, err := c.Info(t.Context()); KindOf(err) != KindUnreachable {
		t.Errorf("the next call: %v", err)
	}
	if err := c.Put(t.Context(), []Instruction{{Verb: Del, Key: "k"}}); KindOf(err) != KindUnreachable {
		t.Errorf("the next put: %v", err)
	}
}

func TestCloseWhileGetWaits(t *testing.T) {
	q := newFakeQueue()
	s := &Server{Handler: q}
	c := dialClient(t, "tcp", startServer(t, s), "")
	over := make(chan error)
	go func() {
		_, err := c.Get(t.Context(), 1)
		over <- err
	}()
	eventually(t, "the client waits", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return q.waiting == 1 })
	c.Close()
	if err := <-over; err == nil {
		t.Error("the get ended well")
	}
	eventually(t, "the server notices", func() bool { return s.Clients() == 0 })
}

// strangeServer answers every line of one connection as it is told to, and closes after the last answer.
func strangeServer(t *testing.T, answers ...string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		for _, a := range answers {
			if _, err := in.ReadString('\n'); err != nil {
				return
			}
			c.Write([]byte(a))
		}
	}()
	t.Cleanup(func() { ln.Close(); <-over })
	return ln.Addr().String()
}

func TestClientAgainstOthers(t *testing.T) {
	ok := b64("ok") + "\n"
	for name, first := range map[string]string{"something else": b64("hello") + "\n", "not base64": "!!!\n", "http": "HTTP/1.1 400 Bad Request\r\n", "nothing": "", "an endless line": strings.Repeat("A", 2<<20)} {
		if _, err := Dial(t.Context(), "tcp", strangeServer(t, first), ""); KindOf(err) != KindUnreachable {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, answer := range []string{b64("what") + "\n", "!\n", ""} {
		c := dialClient(t, "tcp", strangeServer(t, ok, answer), "")
		if err := c.Put(t.Context(), []Instruction{{Verb: Del, Key: "a"}, {Verb: Del, Key: "b"}}); err == nil || errors.As(err, new(*PutError)) {
			t.Errorf("put answered %q: %v", answer, err)
		}
	}
	for call, f := range map[string]func(*Client) error{
		"get":    func(c *Client) error { _, err := c.Get(t.Context(), 1); return err },
		"lease":  func(c *Client) error { _, err := c.Lease(t.Context(), 1, time.Second); return err },
		"ack":    func(c *Client) error { return c.Ack(t.Context(), "x") },
		"info":   func(c *Client) error { _, err := c.Info(t.Context()); return err },
		"failed": func(c *Client) error { _, err := c.Failed(t.Context(), ObjectID{}, 1); return err },
		"retry":  func(c *Client) error { _, err := c.Retry(t.Context(), nil); return err },
	} {
		c := dialClient(t, "tcp", strangeServer(t, ok, b64("what")+"\n"), "")
		if err := f(c); err == nil {
			t.Errorf("%s took rubbish", call)
		}
	}
	// What can be read is not lost with what cannot.
	c := dialClient(t, "tcp", strangeServer(t, ok, b64("del|a;what;del|b")+"\n"), "")
	if ins, err := c.Get(t.Context(), 3); len(ins) != 2 || err == nil {
		t.Errorf("%+v, %v", ins, err)
	}
}

// The server goes away in the middle of a long put: an error, and no hanging.
func TestPutToAServerThatStops(t *testing.T) {
	q := newFakeQueue()
	s := &Server{Handler: q, CheckSource: anySource, Peers: Peers{UID: asUser(0)}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := serve(t, s, ln)
	c := dialClient(t, "tcp", ln.Addr().String(), "")
	ins := make([]Instruction, 100_000)
	for i := range ins {
		ins[i] = Instruction{Verb: Del, Key: Key(fmt.Sprint(i))}
	}
	over := make(chan error)
	go func() { over <- c.Put(t.Context(), ins) }()
	eventually(t, "some have arrived", func() bool { ready, _, _ := q.counts(); return ready > 1000 })
	stop()
	if err := <-over; err == nil || errors.As(err, new(*PutError)) {
		t.Errorf("%v", err)
	}
}
