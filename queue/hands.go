package queue

import "s3apu/protocol"

// handsMost is how many leased records are kept in memory, at some 500 bytes each: the most that the workers lease ahead, and as many
// for clients of the socket. A guess.
const handsMost = 2048

// hands keeps records that are leased in memory: what Lease has written a moment ago Settle needs again, and the look-ups cost a
// fifteenth of all that a small file costs (docs/design/0012). What is not in it is read from the store. Guarded by Queue.mu.
type hands map[protocol.ObjectID]*hand

// hand is a leased record, and what the ledger says of its key.
type hand struct {
	record *record // as it is in the store; not to be changed
	read   bool    // inode is that of the ledger's row
	wrote  bool    // the row may have been written since the lease
	inode  []byte  // the key of the row by inode, or nil if there is none
}

// leased notes what a change makes of record old, for the commit.
func (t *tx) leased(id protocol.ObjectID, old, r *record) {
	delete(t.q.hands, id)
	if r != nil && r.state == Leased {
		// Of a lease that goes on it is no longer known what was written meanwhile.
		t.handed = append(t.handed, &hand{record: r, wrote: old != nil && old.state == Leased})
		return
	}
	for i, h := range t.handed {
		if h != nil && h.record.id == id {
			t.handed[i] = nil
		}
	}
}

// take keeps what a change, which was applied, has put into hands. It may have put one key there several times: the last counts,
// also when no other has room.
func (h hands) take(handed []*hand) {
	for _, one := range handed {
		if one == nil {
			continue
		}
		if id := one.record.id; len(h) < handsMost || h[id] != nil {
			h[id] = one
		}
	}
}

// learn notes the rows that were read for deliveries behind their lease, unless they were written meanwhile.
func (h hands) learn(ds []protocol.Delivery) {
	for i := range ds {
		if one := h[ds[i].ID()]; one != nil && one.record.token == ds[i].Token && !one.wrote {
			one.read, one.inode = true, inodeOf(ds[i].ID(), ds[i].Known)
		}
	}
}

// rowWritten notes that the ledger's row of id is about to be written, and returns the key of the row by inode that belongs to
// it until then. known is false if that has to be looked up.
func (h hands) rowWritten(id protocol.ObjectID) (inode []byte, known bool) {
	one := h[id]
	if one == nil {
		return nil, false
	}
	inode, known = one.inode, one.read
	one.read, one.wrote = false, true
	return inode, known
}
