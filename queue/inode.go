package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"s3apu/protocol"
)

// writeRow makes e, or nothing, the ledger's row of id, and brings the row by inode up to that.
func (t *tx) writeRow(id protocol.ObjectID, e *protocol.Entry) error {
	was, err := t.inodeWas(id)
	if err != nil {
		return err
	}
	t.key = idKey(t.key[:0], spaceLedger, id)
	var is []byte
	if e == nil {
		t.del(t.key)
	} else {
		t.val = appendEntry(t.val[:0], e)
		t.set(t.key, t.val)
		if byInode(e) {
			is = inodeKey(id.Bucket, e.Dev, e.Ino)
		}
	}
	if is != nil {
		t.set(is, []byte(id.Key))
	}
	if was == nil || bytes.Equal(was, is) {
		return nil
	}
	v, done, err := t.get(was)
	if err != nil {
		return err
	}
	if string(v) == string(id.Key) {
		t.del(was)
	}
	done()
	return nil
}

// inodeWas returns the key of the row by inode of a row of the ledger that is about to be written.
func (t *tx) inodeWas(id protocol.ObjectID) ([]byte, error) {
	if key, known := t.q.leased.ledgerWritten(id); known {
		return key, nil
	}
	t.key = idKey(t.key[:0], spaceLedger, id)
	v, done, err := t.get(t.key)
	if err != nil {
		return nil, err
	}
	defer done()
	key, err := inodeRow(id, v)
	if err != nil {
		return nil, fmt.Errorf("%w (row %s of the ledger)", err, id)
	}
	return key, nil
}

// byInode reports whether a row is found by the file that it was made from.
func byInode(e *protocol.Entry) bool {
	return e.Ino != 0 && (e.Verb == protocol.Upl || e.Verb == protocol.Mkd)
}

// inodeRow returns the key of the inode row for a row of the ledger, or nil if there is none or val is nil.
func inodeRow(id protocol.ObjectID, val []byte) ([]byte, error) {
	if val == nil {
		return nil, nil
	}
	e, err := decodeEntry(id, val)
	if err != nil {
		return nil, err
	}
	return inodeOf(id, e), nil
}

// inodeOf is inodeRow for a row that may be nil.
func inodeOf(id protocol.ObjectID, e *protocol.Entry) []byte {
	if e == nil || !byInode(e) {
		return nil
	}
	return inodeKey(id.Bucket, e.Dev, e.Ino)
}

// MadeFrom returns the row of the ledger for a bucket that was made from the file or folder with this device and inode
// number, or nil. Of a file with several names it is the row that was written last; once that is gone, none. Numbers are
// used again, so the row may be of another file: its other fields tell. (One row a file and not one a name: a look-up
// that finds nothing, as nearly all do, is then answered by the store's filters.)
func (q *Queue) MadeFrom(bucket string, dev, ino uint64) (row *protocol.Entry, err error) {
	err = q.fetch("read the ledger by inode", inodeKey(bucket, dev, ino), func(key []byte) error {
		e, err := q.entry(protocol.ObjectID{Bucket: bucket, Key: protocol.Key(key)})
		if e != nil && e.Dev == dev && e.Ino == ino && byInode(e) {
			row = e
		}
		return err
	})
	return row, err
}

// inodeBatch is how many rows of the ledger are indexed in one change when the index is made; a guess.
const inodeBatch = 10_000

// indexInodes makes the rows by inode of a store that was made before there were any. It may be broken off and begun
// anew at any point.
func indexInodes(db *pebble.DB) error {
	if _, c, err := db.Get(ownInodes); !errors.Is(err, pebble.ErrNotFound) {
		if err == nil {
			err = c.Close()
		}
		return err
	}
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceLedger}, UpperBound: []byte{spaceLedger + 1}})
	if err != nil {
		return err
	}
	b := db.NewBatch()
	for valid := it.First(); valid && err == nil; valid = it.Next() {
		id, ok := parseID(it.Key()[1:])
		if !ok {
			err = fmt.Errorf("%w: the key of a row of the ledger", errEncoding)
			break
		}
		var key []byte
		if key, err = inodeRow(id, it.Value()); key != nil {
			err = b.Set(key, []byte(id.Key), nil)
		}
		if err == nil && b.Count() >= inodeBatch {
			err = db.Apply(b, pebble.NoSync)
			b.Reset()
		}
	}
	err = errors.Join(err, it.Error(), it.Close())
	if err == nil {
		err = b.Set(ownInodes, binary.BigEndian.AppendUint64(nil, 1), nil)
	}
	if err == nil {
		err = db.Apply(b, pebble.Sync)
	}
	return errors.Join(err, b.Close())
}
