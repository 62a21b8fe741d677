package agent

import (
	"context"
	"testing"
	"time"
)

// shelfMemo is the queue's values and its time.
type shelfMemo struct {
	memo
	values map[string][]byte
	time   time.Duration
}

func (m *shelfMemo) Memo(name string) ([]byte, error) { return m.values[name], nil }
func (m *shelfMemo) SetMemo(_ context.Context, name string, value []byte) error {
	m.values[name] = value
	return nil
}
func (m *shelfMemo) Time() time.Duration { return m.time }

// A wall clock that steps makes no listing come early or late.
func TestListingIsDueByTheTimeOfTheQueue(t *testing.T) {
	m := &shelfMemo{values: map[string][]byte{}, time: 1_000_000 * time.Hour}
	wall := time.Unix(1_800_000_000, 0)
	f := &folder{memo: m, every: Reconcile{List: Duration(24 * time.Hour)}, now: func() time.Time { return wall }}
	if !f.listDue() {
		t.Error("the first listing is not due")
	}
	f.rememberListing(t.Context())
	for _, step := range []time.Duration{0, 5 * time.Hour, 30 * time.Hour, -50 * time.Hour} {
		wall = wall.Add(step)
		if m.time += time.Hour; f.listDue() {
			t.Errorf("due %v after the listing, when the wall's clock stepped by %v", m.time-1_000_000*time.Hour, step)
		}
	}
	if m.time += 20 * time.Hour; !f.listDue() {
		t.Error("not due after 24 h")
	}
}
