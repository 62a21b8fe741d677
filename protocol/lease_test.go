package protocol

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

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
