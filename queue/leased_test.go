package queue

import (
	"fmt"
	"testing"

	"s3apu/protocol"
)

const leasedBucket = "bucket"

func leasedItem(key string) Item {
	return Item{Instruction: protocol.Instruction{Verb: protocol.Upl, Bucket: leasedBucket, Key: protocol.Key(key), Source: "/src/" + key}}
}

func leasedRow(key string, ino uint64) *protocol.Entry {
	return &protocol.Entry{Bucket: leasedBucket, Key: protocol.Key(key), Verb: protocol.Upl, Source: "/src/" + key, Stat: protocol.Stat{Dev: 1, Ino: ino}}
}

// leasedQueue opens a queue for a test, and returns what ends the test if there is an error.
func leasedQueue(t *testing.T) (q *Queue, check func(error)) {
	t.Helper()
	check = func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	q, err := Open(t.TempDir(), Options{})
	check(err)
	t.Cleanup(func() { check(q.Close()) })
	return q, check
}

// TestRowWrittenDuringALease writes the ledger's row of a key that is leased: what is settled then takes the place of that
// row, and not of the one that was there when it was leased.
func TestRowWrittenDuringALease(t *testing.T) {
	for _, c := range []struct {
		name    string
		before  bool // there was a row when it was leased
		between func(*Queue) error
		gone    []uint64
	}{
		{"NewAndUntouched", false, nil, nil},
		{"OldAndUntouched", true, nil, []uint64{10}},
		{"NewAndAdopted", false, func(q *Queue) error { return q.Adopt(t.Context(), leasedRow("k", 20)) }, []uint64{20}},
		{"OldAndAdopted", true, func(q *Queue) error { return q.Adopt(t.Context(), leasedRow("k", 20)) }, []uint64{10, 20}},
		{"OldAndForgotten", true, func(q *Queue) error { return q.Forget(t.Context(), protocol.ObjectID{Bucket: leasedBucket, Key: "k"}) }, []uint64{10}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q, check := leasedQueue(t)
			if c.before {
				check(q.Adopt(t.Context(), leasedRow("k", 10)))
			}
			check(q.Put(t.Context(), leasedItem("k")))
			ds, err := q.Lease(t.Context(), leasedBucket, 1, 0, 0)
			check(err)
			if len(ds) != 1 || (ds[0].Known != nil) != c.before {
				t.Fatalf("leased %+v", ds)
			}
			if c.between != nil {
				check(c.between(q))
			}
			out, err := q.Settle(t.Context(), []protocol.Result{{Delivery: ds[0], Entry: leasedRow("k", 30)}})
			check(err)
			if out[0] != protocol.Done {
				t.Fatalf("settled: %v", out[0])
			}
			for _, ino := range c.gone {
				if row, err := q.MadeFrom(leasedBucket, 1, ino); row != nil || err != nil {
					t.Errorf("a row is still found by inode %d: %+v, %v", ino, row, err)
				}
				if _, closer, err := q.db.Get(inodeKey(leasedBucket, 1, ino)); err == nil {
					_ = closer.Close()
					t.Errorf("the index row of inode %d was left", ino)
				}
			}
			if row, err := q.MadeFrom(leasedBucket, 1, 30); row == nil || err != nil {
				t.Errorf("the new row is not found by its inode: %v", err)
			}
			if len(q.leased) != 0 {
				t.Errorf("%d records are kept, and none is leased", len(q.leased))
			}
		})
	}
}

// TestLedgerReadAfterItWasWritten has a row written between the lease and the reading of rows for it.
func TestLedgerReadAfterItWasWritten(t *testing.T) {
	id := protocol.ObjectID{Bucket: leasedBucket, Key: "k"}
	c := leasedRecords{id: {record: &record{id: id, token: 7}}}
	if _, known := c.ledgerWritten(id); known {
		t.Fatal("the row is known before it was read")
	}
	c.ledgerRead([]protocol.Delivery{{Instruction: leasedItem("k").Instruction, Token: 7, Known: leasedRow("k", 10)}})
	if _, known := c.ledgerWritten(id); known {
		t.Error("a row is believed that was read before another was written")
	}
}

// TestLeasedRecordsAreBounded leases more than are kept.
func TestLeasedRecordsAreBounded(t *testing.T) {
	c := leasedRecords{}
	for n := range uint64(leasedMost + 10) {
		c.keep([]*leasedRecord{{record: &record{id: protocol.ObjectID{Bucket: leasedBucket, Key: protocol.Key(inodeKey("", 0, n))}}}})
	}
	if len(c) != leasedMost {
		t.Errorf("%d records are kept", len(c))
	}
}

// TestWishesForAFullCache has two wishes for a leased key come in one change while as many records are kept as may be: the newer counts.
func TestWishesForAFullCache(t *testing.T) {
	q, check := leasedQueue(t)
	items := make([]Item, leasedMost+1)
	for i := range items {
		items[i] = leasedItem(fmt.Sprintf("k%04d", i))
	}
	check(q.Put(t.Context(), items...))
	ds, err := q.Lease(t.Context(), leasedBucket, len(items), 0, 0)
	check(err)
	if len(ds) != len(items) || len(q.leased) != leasedMost {
		t.Fatalf("%d leased, %d kept", len(ds), len(q.leased))
	}
	gone := leasedItem("k0000")
	gone.Verb, gone.Source = protocol.Del, ""
	check(q.Put(t.Context(), gone, leasedItem("k0000")))
	_, err = q.Settle(t.Context(), []protocol.Result{{Delivery: ds[0], Entry: leasedRow("k0000", 30)}})
	check(err)
	next, err := q.Lease(t.Context(), leasedBucket, 1, 0, 0)
	check(err)
	if len(next) != 1 || next[0].Verb != protocol.Upl {
		t.Errorf("the newest wish is an upload, and leased is %+v", next)
	}
}

// TestLedgerReadBehindAWish has a row written and a wish come between a lease and the reading of rows for it.
func TestLedgerReadBehindAWish(t *testing.T) {
	q, check := leasedQueue(t)
	check(q.Put(t.Context(), leasedItem("k")))
	ds, err := q.Lease(t.Context(), leasedBucket, 1, 0, 0)
	check(err)
	check(q.Adopt(t.Context(), leasedRow("k", 20)))
	check(q.Put(t.Context(), leasedItem("k")))
	q.leased.ledgerRead(ds) // as a slow Lease does now
	_, err = q.Settle(t.Context(), []protocol.Result{{Delivery: ds[0], Entry: leasedRow("k", 30)}})
	check(err)
	if _, closer, err := q.db.Get(inodeKey(leasedBucket, 1, 20)); err == nil {
		_ = closer.Close()
		t.Error("the index row of an inode that no row has was left")
	}
}
