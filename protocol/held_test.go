package protocol

import "testing"

func TestHeldDeletes(t *testing.T) {
	addr := startServer(t, &Server{Handler: newFakeQueue()})
	w := dialWire(t, "tcp", addr)
	for request, want := range map[string]string{
		"rel|a": "ok|101", "rel|*": "ok|100", "drp|a": "ok|201", "drp|*": "ok|200", "rel|": "invalid", "drp|/": "invalid", "hld|0": "invalid",
	} {
		if got := w.ask(request); got != want {
			t.Errorf("%s: %q, want %q", request, got, want)
		}
	}
	c, err := Dial(t.Context(), "tcp", addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	held, err := c.Held(t.Context(), ObjectID{}, 10)
	if err != nil || len(held) != 1 || !held[0].Held || held[0].Dead || held[0].Key != "held key" {
		t.Errorf("%+v %v", held, err)
	}
	if n, err := c.Release(t.Context(), nil); n != 100 || err != nil {
		t.Errorf("release: %d %v", n, err)
	}
	if n, err := c.Drop(t.Context(), []ObjectID{{Key: "a"}}); n != 201 || err != nil {
		t.Errorf("drop: %d %v", n, err)
	}
}
