package protocol

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The tests of the server speak lines only, as a client of 2010 would.

func TestOldProduceGetInfo(t *testing.T) {
	q := newFakeQueue()
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, CheckSource: anySource}))
	for line, answer := range map[string]string{
		"bWtkfG5ld2ZvbGRlcg==\n":             "b2s=", // mkd|newfolder
		"dXBsfC9zb3VyY2V8ZGVzdGluYXRpb24=\n": "b2s=", // upl|/source|destination
		"Y3BvfC9idWNrZXQvb2JqfG5ldw==\n":     "b2s=", // cpo|/bucket/obj|new
		"ZGVsfGtleS90by9kZWxldGU=\n":         "b2s=", // del|key/to/delete
	} {
		w.send(line)
		if got := w.recv(); got != answer {
			t.Errorf("%q was answered %q", line, got)
		}
	}
	w.send("aW5m\n") // inf
	info := w.text()
	if !strings.HasPrefix(info, "qsize:4|th_count:1|total_cmd:4|mkd_cmd:1|upl_cmd:1|cpo_cmd:1|del_cmd:1|get_cmd:0|uptime:") {
		t.Error(info)
	}
	w.send("Z2V0fDI=\n") // get|2
	items := strings.Split(w.text(), ";")
	w.send("Z2V0fDMw\n") // get|30
	items = append(items, strings.Split(w.text(), ";")...)
	slices.Sort(items)
	if want := []string{"cpo|/bucket/obj|new", "del|key/to/delete", "mkd|newfolder", "upl|/source|destination"}; !slices.Equal(items, want) {
		t.Errorf("handed out %q", items)
	}
	w.send("aW5m\n")
	if info := w.text(); !strings.HasPrefix(info, "qsize:0|th_count:1|total_cmd:32|mkd_cmd:0|upl_cmd:0|cpo_cmd:0|del_cmd:0|get_cmd:32|uptime:") {
		t.Error(info)
	}
	w.send("\n")
	if !w.ended() {
		t.Error("the empty line did not end the connection")
	}
}

func TestPipelining(t *testing.T) {
	q := newFakeQueue()
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, CheckSource: anySource}))
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "%s\n", b64(fmt.Sprintf("upl|/source/%d|key/%d", i, i)))
	}
	w.send(b.String())
	for i := range 1000 {
		if got := w.recv(); got != "b2s=" {
			t.Fatalf("answer %d is %q", i, got)
		}
	}
	q.state(func() {
		if len(q.ready) != 1000 || q.ready[0].Key != "key/0" || q.ready[999].Key != "key/999" {
			t.Errorf("%d instructions arrived, or not in order", len(q.ready))
		}
		if len(q.batches) > 50 {
			t.Errorf("they took %d Puts", len(q.batches))
		}
	})
}

// Answers keep the order of requests when instructions, invalid lines and questions alternate.
func TestOrderOfAnswers(t *testing.T) {
	q := newFakeQueue()
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, CheckSource: anySource}))
	w.send(b64("del|a") + "\n!!!\n" + b64("del|b") + "\n" + b64("lse|2|60") + "\n" + b64("nope") + "\n" + b64("del|c") + "\n" + b64("ack|x") + "\n" + b64("get|1") + "\n\n")
	want := []string{"ok", "invalid", "ok", "*", "invalid", "ok", "invalid", "del|c"}
	for i, x := range want {
		if got := w.text(); got != x && x != "*" {
			t.Errorf("answer %d is %q, want %q", i, got, x)
		}
	}
	if !w.ended() {
		t.Error("there is more")
	}
}

func TestCRLFAndEnds(t *testing.T) {
	q := newFakeQueue()
	addr := startServer(t, &Server{Handler: q, CheckSource: anySource})
	w := dialWire(t, "tcp", addr)
	w.send(b64("del|a") + "\r\n")
	if got := w.text(); got != "ok" {
		t.Errorf("CR LF was answered %q", got)
	}
	w.send("\r\n")
	if !w.ended() {
		t.Error("an empty line with CR did not end the connection")
	}
	// A line that was cut off is not carried out: del|a is not what del|abc asked for.
	w = dialWire(t, "tcp", addr)
	w.send(b64("del|b") + "\n" + b64("del|cut"))
	w.conn.(interface{ CloseWrite() error }).CloseWrite()
	if got := w.text(); got != "ok" || !w.ended() {
		t.Errorf("the whole line was answered %q, or the half one at all", got)
	}
	if ready, _, _ := q.counts(); ready != 2 {
		t.Errorf("%d instructions", ready)
	}
}

func TestHandlerFails(t *testing.T) {
	q := newFakeQueue()
	logs := &logBuffer{}
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, Log: logs.logger(), CheckSource: anySource}))
	full := &Error{Op: "write the queue", Kind: KindLocal, Err: errors.New("no space left")}
	q.putErr = func([]Instruction) error { return full }
	q.leaseErr = full
	for _, x := range []string{"del|a", "get|1", "lse|1|5"} {
		if got := w.ask(x); got != "fail" {
			t.Errorf("%s was answered %q", x, got)
		}
	}
	if !strings.Contains(logs.String(), "level=ERROR") || !strings.Contains(logs.String(), "no space left") || !strings.Contains(logs.String(), "request=del|a") {
		t.Errorf("the log: %s", logs)
	}
	q.state(func() { q.putErr, q.leaseErr = nil, nil })
	if got := w.ask("del|a"); got != "ok" {
		t.Errorf("after the failure: %q", got)
	}
}

func TestOddNamesTravel(t *testing.T) {
	q := newFakeQueue()
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, CheckSource: anySource}))
	for _, name := range []string{"a b", "a|b", "a;b", "a%b", "a#b", "a?b", "a+b", "a&b", "a\nb", "é", "日本", "a~b"} {
		text, err := EncodeInstruction(Instruction{Verb: Upl, Source: "/in/" + name, Key: Key("k/" + name)})
		if err != nil {
			t.Fatal(err)
		}
		if got := w.ask(text); got != "ok" {
			t.Errorf("%q: %q", name, got)
		}
		if got := w.ask("get|1"); got != text {
			t.Errorf("%q came back as %q, sent as %q", name, got, text)
		}
	}
	// Unencoded as far as that is unambiguous; handed out encoded.
	if w.ask("del|é 日本") != "ok" || w.ask("get|1") != "del|%C3%A9%20%E6%97%A5%E6%9C%AC" {
		t.Error("unencoded UTF-8 did not come through")
	}
}

// An answer to get fits into the 8,192 bytes that a client of S3 APU reads, and what did not fit comes with the next.
func TestGetAnswersStayShort(t *testing.T) {
	q := newFakeQueue()
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, CheckSource: anySource}))
	const n = 60
	var want []string
	for i := range n {
		text := fmt.Sprintf("upl|/s/%s/%d|%s/%d", strings.Repeat("s", 10+i*20), i, strings.Repeat("k", 5+i*10), i)
		want = append(want, text)
		w.ask(text)
	}
	var got []string
	for len(got) < n {
		w.send("Z2V0fDMw\n")
		line := w.recv()
		if len(line)+1 > 8192 {
			t.Fatalf("an answer of %d bytes", len(line)+1)
		}
		text, _ := base64.StdEncoding.DecodeString(line)
		if len(text) == 0 {
			t.Fatal("an empty answer")
		}
		got = append(got, strings.Split(string(text), ";")...)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Error("not what was put in")
	}
	eventually(t, "all are settled", func() bool { ready, leased, done := q.counts(); return ready == 0 && leased == 0 && done == n })
	q.state(func() {
		for _, r := range q.returned {
			if !r.Uncounted || r.Delay != 0 || r.Err == nil {
				t.Fatalf("what did not fit was returned as %+v", r)
			}
		}
	})
	// One instruction that alone is longer goes alone.
	long := "upl|/" + strings.Repeat("%20", 3000) + "|k"
	w.ask("del|a")
	w.ask(long)
	if got := w.ask("get|30"); got != "del|a" {
		t.Errorf("the short one came as %.60q", got)
	}
	if got := w.ask("get|30"); got != long {
		t.Errorf("the long one came as %.60q", got)
	}
}

// What the queue should never hand out is given back instead of being lost.
func TestUnfitInstructionIsReturned(t *testing.T) {
	q := newFakeQueue()
	q.ready = []Delivery{{Instruction: Instruction{Verb: Del, Bucket: "other", Key: "x"}, Gen: 1}, {Instruction: Instruction{Verb: Del, Key: "fine"}, Gen: 1}}
	logs := &logBuffer{}
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, Log: logs.logger()}))
	if got := w.ask("get|5"); got != "del|fine" {
		t.Errorf("got %q", got)
	}
	eventually(t, "it is returned", func() bool { _, leased, _ := q.counts(); return leased == 0 })
	q.state(func() {
		if len(q.returned) != 1 || q.returned[0].Delivery.Key != "x" || q.returned[0].Delay != unfitDelay || !q.returned[0].Uncounted {
			t.Errorf("returned: %+v", q.returned)
		}
	})
	if !strings.Contains(logs.String(), "cannot be handed to clients") {
		t.Errorf("the log: %s", logs)
	}
}
