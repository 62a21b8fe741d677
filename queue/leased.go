package queue

import "s3apu/protocol"

// leasedMost is how many leased records are kept in memory, at some 500 bytes each: the most that the workers lease ahead, and as many
// for clients of the socket. A guess.
const leasedMost = 2048

// leasedRecords is a cache of records that are leased: Settle needs what Lease wrote a moment ago, and reading it from the store again
// costs a fifteenth of all that a small file costs (docs/design/0012). A record that is not in it is read from the store. Guarded by
// Queue.mu.
type leasedRecords map[protocol.ObjectID]*leasedRecord

// leasedRecord is a record, and the key of the ledger's row by inode that belongs to its object, so that this need not be looked up
// either when the row is written.
type leasedRecord struct {
	record     *record // as it is in the store; not to be changed
	inodeKnown bool    // inode is that of the ledger's row as it is now
	inode      []byte  // the key of the row by inode; nil: there is none
	written    bool    // the ledger's row may have been written since the lease, so what was read of it may be older
}

// noteLeased tells the cache that a change makes r of the record old of id. What was kept is forgotten at once, so that a change that is
// dropped leaves nothing wrong behind; what is leased now is kept once the change is applied.
func (t *tx) noteLeased(id protocol.ObjectID, old, r *record) {
	delete(t.q.leased, id)
	if r != nil && r.state == Leased {
		// Of a lease that goes on it is no longer known what was written meanwhile.
		t.leased = append(t.leased, &leasedRecord{record: r, written: old != nil && old.state == Leased})
		return
	}
	for i, l := range t.leased {
		if l != nil && l.record.id == id {
			t.leased[i] = nil
		}
	}
}

// keep adds the records that a change has leased, once it is applied; nil ones are passed over. There may be several of one key: the
// last counts, also when there is no room for another. What finds no room is left out.
func (c leasedRecords) keep(leased []*leasedRecord) {
	for _, l := range leased {
		if l == nil {
			continue
		}
		if id := l.record.id; len(c) < leasedMost || c[id] != nil {
			c[id] = l
		}
	}
}

// ledgerRead adds what Lease has read of the ledger for its deliveries after they were leased. Of a row that was written meanwhile
// nothing is taken: what was read may be older.
func (c leasedRecords) ledgerRead(ds []protocol.Delivery) {
	for i := range ds {
		if l := c[ds[i].ID()]; l != nil && l.record.token == ds[i].Token && !l.written {
			l.inodeKnown, l.inode = true, inodeOf(ds[i].ID(), ds[i].Known)
		}
	}
}

// ledgerWritten is told that the ledger's row of id is about to be written. It returns the key of the row by inode that belongs to the
// row until then, nil if there is none. known is false if that has to be looked up.
func (c leasedRecords) ledgerWritten(id protocol.ObjectID) (inode []byte, known bool) {
	l := c[id]
	if l == nil {
		return nil, false
	}
	inode, known = l.inode, l.inodeKnown
	l.inodeKnown, l.written = false, true
	return inode, known
}
