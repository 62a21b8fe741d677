package protocol

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestGuestNames(t *testing.T) {
	many := make([]uint32, maxGroups+1)
	for _, tc := range []struct {
		uid   uint32
		gids  []uint32
		known bool
		want  Guest
	}{
		{1000, []uint32{1000, 4, 1<<32 - 2}, true, "1000:1000,4,4294967294"},
		{1000, []uint32{7}, false, "1000"},
		{1000, many, true, "1000"}, // too many to keep: not known
	} {
		g := NewGuest(tc.uid, tc.gids, tc.known)
		uid, gids, known, err := g.User()
		if g != tc.want || err != nil || uid != tc.uid || known != strings.Contains(string(tc.want), ":") || known && !slices.Equal(gids, tc.gids) {
			t.Errorf("%q: %d %v %v %v", g, uid, gids, known, err)
		}
	}
	for _, bad := range []Guest{"", "x", "1:", ":1", "1:2,", "1,2", "01", "-1", "1:2:3", "4294967296", "1:2 "} {
		if _, _, _, err := bad.User(); err == nil {
			t.Errorf("%q is a guest", bad)
		}
	}
	for _, in := range []Instruction{{Verb: Del, Key: "a", Guest: "1"}, {Verb: Upl, Key: "a", Source: "/a", Guest: "x"}} {
		if in.Check() == nil {
			t.Errorf("%+v is taken", in)
		}
	}
}

// TestGuests: who is neither root, nor the agent's own user, nor a holder of the token has few requests, and its uploads go
// under its name.
func TestGuests(t *testing.T) {
	var asked []Guest
	serve := func(work bool) (*fakeQueue, *wire) {
		q := newFakeQueue()
		s := &Server{Handler: q, GuestsWork: work, Peers: Peers{UID: asUser(stranger), AllowUsers: []uint32{stranger}, Token: "t0ken"},
			CheckGuest: func(g Guest, in Instruction) error {
				asked = append(asked, g)
				if strings.HasPrefix(string(in.Key), "no/") {
					return errors.New("not that one")
				}
				return nil
			},
			CheckSource: func(string) error { return nil }}
		return q, dialWire(t, "tcp", startServer(t, s))
	}
	q, w := serve(false)
	expect := func(want string, requests ...string) {
		t.Helper()
		for _, r := range requests {
			if got := w.ask(r); got != want {
				t.Errorf("%s was answered %q, want %q", r, got, want)
			}
		}
	}
	const guest = "4000000000"
	expect("ok", "mkd|d", "upl|/src/f|f", "cpo|/b/x|y", "del|z")
	expect("invalid", "upl|/src/f|no/f", "del|no/z")
	expect("invalid", "get|1", "lse|1|10", "ack|1", "nak|1|why", "fld|1", "hld|1", "rty|*", "rel|*", "drp|*", "tok|wrong", "tok|")
	if got := w.ask("inf"); !strings.HasPrefix(got, "qsize:4|") {
		t.Errorf("inf: %q", got)
	}
	for _, d := range q.ready {
		if want := map[bool]Guest{true: guest}[d.Verb == Upl]; d.Guest != want {
			t.Errorf("%s goes under %q, want %q", d.Verb, d.Guest, want)
		}
	}
	if len(asked) != 6 || asked[0] != guest {
		t.Errorf("asked for %q", asked)
	}
	// The token makes it somebody who may do all.
	expect("ok", "tok|t0ken", "upl|/src/g|no/g")
	expect("ok|0", "rty|*")
	if d := q.ready[len(q.ready)-1]; d.Guest != "" || len(asked) != 6 {
		t.Errorf("with the token %+v", d)
	}
	// With no workers of our own the work may be done by guests.
	_, w = serve(true)
	expect("ok", "del|z")
	expect("del|z", "get|1")
	expect("invalid", "fld|1")
}

// Without a rule guests may wish for nothing.
func TestGuestsWithoutRule(t *testing.T) {
	q := newFakeQueue()
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: q, Peers: Peers{UID: asUser(stranger), AllowUsers: []uint32{stranger}}}))
	if got := w.ask("del|a"); got != "invalid" {
		t.Errorf("answered %q", got)
	}
}
