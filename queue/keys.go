package queue

import (
	"encoding/binary"
	"strings"

	"s3apu/protocol"
)

// The layout of the store, format 1. The first byte of a key names its space; ID stands for bucket 0x00 key, so that
// within a bucket the rows of records and ledger are in the order of the keys, which is the order of LIST. Numbers are
// eight bytes, big end first.
const (
	spaceRecord  = 'k' // ID → record
	spaceReady   = 'r' // bucket 0x00 class due seq → key: what may be handed out, in line
	spaceLease   = 'l' // deadline token → ID: leases that end by themselves
	spaceFailed  = 'd' // ID → nothing: records with a failure behind them, dead or not
	spaceHeld    = 'h' // ID → nothing
	spaceBlocked = 'b' // length(ID) ID of the blocker, ID of the waiter → nothing
	spaceCopy    = 'c' // length(ID) ID of the source, order, ID of the destination → nothing: pending copies; 1: uploads with an origin
	spaceDelete  = 'x' // ID → order of the first pending delete in the record
	spaceWake    = 'w' // ID → nothing: a blocker that left, some of whose waiters are still to be woken
	spaceLedger  = 'g' // ID → entry
	spaceInode   = 'i' // bucket 0x00 device inode → key: the row of the ledger that was made from a file last
	spaceUpload  = 'u' // ID → upload
	spaceMemo    = 'm' // name → value
	spaceOwn     = 'o' // name → value: the store's own numbers
)

// maxIDBytes bounds bucket and key together. Keys of objects end at 1,024 bytes; the display form of a name that is no
// key can be four times as long as the longest path (PATH_MAX, 4,096 bytes). The rest is room.
const maxIDBytes = 32 << 10

var (
	ownFormat = []byte{spaceOwn, 'f'} // the format, one byte
	ownNext   = []byte{spaceOwn, 'n'} // numbers below this may have been given out
	ownInodes = []byte{spaceOwn, 'i'} // there if spaceInode is whole
	ownName   = []byte{spaceOwn, 's'} // the store's name, random; see [protocol.Delivery]
	ownPace   = []byte{spaceOwn, 'p'} // what the machine's clocks showed then: see pace
	ownClock  = []byte{spaceOwn, 'c'} // the queue's time when it was last written down
)

// appendID appends bucket 0x00 key.
func appendID(b []byte, id protocol.ObjectID) []byte {
	b = append(b, id.Bucket...)
	b = append(b, 0)
	return append(b, id.Key...)
}

// parseID is the inverse of [appendID].
func parseID(b []byte) (protocol.ObjectID, bool) {
	bucket, key, ok := strings.Cut(string(b), "\x00")
	return protocol.ObjectID{Bucket: bucket, Key: protocol.Key(key)}, ok
}

// idKey appends the key of the row of id in a space that holds one row per ID.
func idKey(b []byte, space byte, id protocol.ObjectID) []byte { return appendID(append(b, space), id) }

// readyPrefix appends the common part of the ready rows of a bucket and class.
func readyPrefix(b []byte, bucket string, class protocol.Class) []byte {
	b = append(append(b, spaceReady), bucket...)
	return append(b, 0, byte(class))
}

// place is where a ready record stands in its line.
type place struct {
	due int64
	seq uint64
}

func (p place) before(o place) bool { return p.due < o.due || p.due == o.due && p.seq < o.seq }

// appendPlace appends the last two parts of a ready key.
func appendPlace(b []byte, p place) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(p.due))
	return binary.BigEndian.AppendUint64(b, p.seq)
}

// parsePlace reads the last sixteen bytes of a ready key.
func parsePlace(key []byte) (place, bool) {
	if len(key) < 16 {
		return place{}, false
	}
	key = key[len(key)-16:]
	return place{int64(binary.BigEndian.Uint64(key)), binary.BigEndian.Uint64(key[8:])}, true
}

// leaseKey appends the key of a lease row.
func leaseKey(b []byte, deadline int64, token uint64) []byte {
	b = binary.BigEndian.AppendUint64(append(b, spaceLease), uint64(deadline))
	return binary.BigEndian.AppendUint64(b, token)
}

// pairPrefix appends the part of a blocked or copy key that its rows for one first ID have in common.
func pairPrefix(b []byte, space byte, first protocol.ObjectID) []byte {
	b = append(b, space)
	b = binary.BigEndian.AppendUint16(b, uint16(len(first.Bucket)+1+len(first.Key)))
	return appendID(b, first)
}

// blockedKey appends the key of the row of a waiter under its blocker.
func blockedKey(b []byte, blocker, waiter protocol.ObjectID) []byte {
	return appendID(pairPrefix(b, spaceBlocked, blocker), waiter)
}

// copyKey appends the key of the row of a pending copy under its source.
func copyKey(b []byte, source protocol.ObjectID, order uint64, dest protocol.ObjectID) []byte {
	b = binary.BigEndian.AppendUint64(pairPrefix(b, spaceCopy, source), order)
	return appendID(b, dest)
}

// inodeKey returns the key of the inode row of a file.
func inodeKey(bucket string, dev, ino uint64) []byte {
	b := make([]byte, 0, 1+len(bucket)+1+8+8)
	b = append(append(append(b, spaceInode), bucket...), 0)
	b = binary.BigEndian.AppendUint64(b, dev)
	return binary.BigEndian.AppendUint64(b, ino)
}

// prefixEnd returns the first key behind all keys that begin with prefix. No prefix of ours is all 0xff.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
