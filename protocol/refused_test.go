package protocol

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestInvalidRequests(t *testing.T) {
	q := newFakeQueue()
	logs := &logBuffer{}
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, Log: logs.logger(), CheckSource: anySource}))
	raw := []string{
		"!!!not base64!!!", "b2s", "b2s==", "bWtkf GE=", "bWtk\rfGE=", "b2t=", // the last one has bits in its padding
		"\x00", "mkd|a", "====", " ", "\t",
	}
	for _, r := range raw {
		w.send(r + "\n")
		if got := w.recv(); got != "aW52YWxpZA==" {
			t.Errorf("%q was answered %q", r, got)
		}
	}
	texts := []string{
		"nope", "MKD|a", "mkd", "mkd|", "mkd|a|b", "mkd|/a", "upl|/s", "upl|/s|", "upl||k", "upl|s|k", "upl|/s|k|x", "upl|/s|/k",
		"upl|/s/../t|k", "upl|/s/%2e%2E/t|k", "upl|/s%00|k", "upl|/s\x00|k", "del|..", "del|a/../b", "del|%2Fa", "del|\xff",
		"cpo|b/k|k", "cpo|/b|k", "cpo|/b/k|/k", "del|" + strings.Repeat("k", 1025), "get", "get|", "get|0", "get|-1", "get|x", "get|1.5", "get|1|2",
		"get|+5", "inf|", "inf|x", "lse|1", "lse|0|5", "lse|1|0", "lse|1|43201", "lse|x|5", "lse|1|99999999999999999999", "ack", "ack|", "ack|x", "ack|1.1.1.upl.YQ|x",
		"nak|1.1.1.upl.YQ", "nak|x|y", "nak|1.1.1.upl.YQ|a|b", "nak|1.1.1.upl.YQ|%", "fld", "fld|0", "fld|1|%", "fld|1|a|b", "rty", "rty|", "rty|%", "rty|/b", "tok", "tok|a|b", "hlx|1",
	}
	for _, x := range texts {
		if got := w.ask(x); got != "invalid" {
			t.Errorf("%.60q was answered %q", x, got)
		}
	}
	if got := w.ask("del|fine"); got != "ok" {
		t.Errorf("a good request after all that was answered %q", got)
	}
	if ready, _, _ := q.counts(); ready != 1 {
		t.Errorf("%d instructions came through", ready)
	}
	if n := strings.Count(logs.String(), "level=WARN"); n < len(raw)+len(texts) {
		t.Errorf("%d of %d are in the log", n, len(raw)+len(texts))
	}
	for _, want := range []string{`msg="invalid request"`, "peer=\"tcp 127.0.0.1:", `request=mkd|/a`, `err="the key begins with a slash"`} {
		if !strings.Contains(logs.String(), want) {
			t.Errorf("the log does not hold %s", want)
		}
	}
}

func TestNumberOfItems(t *testing.T) {
	q := newFakeQueue()
	s := &Server{Handler: q, CheckSource: anySource}
	w := dialWire(t, "tcp", startServer(t, s))
	for i := range 120 {
		w.ask(fmt.Sprintf("del|k%d", i))
	}
	for request, want := range map[string]int{"get|1": 1, "get|007": 7, "get|30": 30, "get|31": 30, "get|99999999999999999999": 30} {
		if got := len(strings.Split(w.ask(request), ";")); got != want {
			t.Errorf("%s handed out %d", request, got)
		}
	}
	if got := s.asked.Load(); got != 98 {
		t.Errorf("%d items count as asked for", got)
	}
}

func TestLongLines(t *testing.T) {
	q := newFakeQueue()
	logs := &logBuffer{}
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, Log: logs.logger(), CheckSource: anySource}))
	go w.conn.Write([]byte(strings.Repeat("A", 1<<20) + "\n" + b64("del|good") + "\n"))
	if got := w.text(); got != "invalid" {
		t.Errorf("1 MiB was answered %q", got)
	}
	if got := w.text(); got != "ok" {
		t.Errorf("the line behind it was answered %q", got)
	}
	if len(logs.String()) > 2000 {
		t.Errorf("the log took %d bytes of it", len(logs.String()))
	}
	// The longest line that is taken: MaxLine bytes of base64, here of an unknown verb.
	for size, want := range map[int]string{MaxLine - 4: "the longest", MaxLine: "the longest", MaxLine + 4: "too long"} {
		before := strings.Count(logs.String(), "longer than")
		w.send(strings.Repeat("A", size) + "\r\n")
		if got := w.text(); got != "invalid" {
			t.Errorf("%d bytes were answered %q", size, got)
		}
		if long := strings.Count(logs.String(), "longer than") > before; long != (want == "too long") {
			t.Errorf("%d bytes: %s expected, too long is %v", size, want, long)
		}
	}
	// The longest instruction there is.
	long := "upl|/" + strings.Repeat("%FF", MaxSourceBytes-1) + "|" + strings.Repeat("%C3%A9", MaxKeyBytes/2)
	if got := w.ask(long); got != "ok" {
		t.Errorf("the longest instruction was answered %q", got)
	}
}

// One instruction that the queue refuses does not take the others with it.
func TestHandlerRefusesOne(t *testing.T) {
	q := newFakeQueue()
	q.putErr = func(ins []Instruction) error {
		for _, in := range ins {
			switch in.Key {
			case "bad":
				return &Error{Op: "put", Kind: KindItem, Err: errors.New("no such folder")}
			case "unlucky":
				if len(ins) == 1 {
					return errors.New("disk")
				}
			}
		}
		return nil
	}
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, CheckSource: anySource}))
	w.send(b64("del|a") + "\n" + b64("x") + "\n" + b64("del|bad") + "\n" + b64("del|unlucky") + "\n" + b64("del|b") + "\n")
	for i, want := range []string{"ok", "invalid", "invalid", "fail", "ok"} {
		if got := w.text(); got != want {
			t.Errorf("answer %d is %q, want %q", i, got, want)
		}
	}
	if got := w.ask("del|bad"); got != "invalid" {
		t.Errorf("alone: %q", got)
	}
}

func TestSourcesAreChecked(t *testing.T) {
	q := newFakeQueue()
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, CheckSource: func(p string) error {
		if !strings.HasPrefix(p, "/in/") {
			return errors.New("outside")
		}
		return nil
	}}))
	for x, want := range map[string]string{"upl|/in/a|k": "ok", "upl|/etc/shadow|k": "invalid", "cpo|/etc/shadow|k": "ok", "upl|%2Fetc%2Fshadow|k": "invalid"} {
		if got := w.ask(x); got != want {
			t.Errorf("%s was answered %q", x, got)
		}
	}
	w = dialWire(t, "tcp", startServer(t, &Server{Handler: q}))
	if got := w.ask("upl|/in/a|k"); got != "invalid" {
		t.Errorf("without a rule a source was answered %q", got)
	}
}

// A browser can be made to send lines to this machine; they come inside of an HTTP request.
func TestHTTPIsCutOff(t *testing.T) {
	for _, head := range []string{
		"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
		"POST /" + strings.Repeat("a", 2*MaxLine) + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
		"Host: x\r\n",
		"OPTIONS * HTTP/1.1\r\n",
	} {
		q := newFakeQueue()
		w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, CheckSource: anySource}))
		w.conn.Write([]byte(head + b64("del|k") + "\n")) // the server may hang up before it has all
		if got := w.text(); got != "invalid" {
			t.Errorf("%.20q: %q", head, got)
		}
		if !w.ended() {
			t.Errorf("%.20q: the connection goes on", head)
		}
		if ready, _, _ := q.counts(); ready != 0 {
			t.Errorf("%.20q: the body was carried out", head)
		}
	}
}

func TestInvalidFloodIsNotLogged(t *testing.T) {
	logs := &logBuffer{}
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: newFakeQueue(), Log: logs.logger()}))
	go w.conn.Write([]byte(strings.Repeat("!\n", 20_000)))
	for range 20_000 {
		if w.recv() != "aW52YWxpZA==" {
			t.Fatal("an invalid line got another answer")
		}
	}
	if n := strings.Count(logs.String(), "\n"); n < logsPerSecond || n > 5*logsPerSecond {
		t.Errorf("%d records for 20,000 lines", n)
	}
}

func TestLimiter(t *testing.T) {
	var l limiter
	now := time.Now()
	for range logsPerSecond {
		if ok, _ := l.allow(now); !ok {
			t.Fatal("too strict")
		}
	}
	for range 7 {
		if ok, _ := l.allow(now.Add(time.Second / 2)); ok {
			t.Fatal("no limit")
		}
	}
	if ok, dropped := l.allow(now.Add(time.Second)); !ok || dropped != 7 {
		t.Errorf("the next second: %v, %d", ok, dropped)
	}
}
