package queue

import (
	"log/slog"
	"testing"
)

// What Run has looked for and not found it does not look for again: once it did, a thousand times a second, for as long as
// nothing else was written.
func TestIdleQueueRests(t *testing.T) {
	q, err := Open(t.TempDir()+"/q", Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if err := q.do(t.Context(), "take back leases", lazily, func(t *tx) error { return t.expire() }); err != nil {
		t.Fatal(err)
	}
	if d := q.pause(); d < farAway {
		t.Fatalf("nothing is leased, and Run looks again in %v", d)
	}
}
