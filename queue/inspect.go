package queue

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"s3apu/protocol"
)

// seen is what inspect found.
type seen struct {
	bound    []protocol.ObjectID // leased for as long as the store was open
	top      uint64              // the largest number in a record
	clock    int64
	pace     pace
	next     uint64
	name     string // "": of an older version
	deadline int64  // the first of the leases that end by themselves; 0: there is none
	uploads  bool   // there are rows of multipart uploads
	total    counts
	lines    map[string]*line
	filter   *filter // of the keys of the records
}

// inspect opens the store for reading and looks at every record: a store that is damaged is found here, before anything
// of it is changed. It counts on the way. The ledger may be large and is read only if whole is asked for; its blocks have
// checksums, which are looked at when they are read.
func (q *Queue) inspect(st *store, path string, whole bool) (s seen, err error) {
	if err := checkSeal(q.opt.fs, path); err != nil {
		return s, err
	}
	db, err := q.openDB(st, path, readFS{q.opt.fs}, true)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if s, err = readOwn(db); err != nil {
		return s, err
	}
	s.lines, s.filter = map[string]*line{}, newFilter(q.opt.filter)
	low, high := []byte{spaceRecord}, []byte{spaceRecord + 1}
	if whole {
		low, high = nil, nil
	}
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if s.uploads, err = anyUpload(db); err != nil {
		return s, err
	}
	for valid := it.First(); valid; valid = it.Next() {
		if err := s.look(it.Key(), it.Value()); err != nil {
			return s, err
		}
	}
	return s, it.Error()
}

// anyUpload reports whether there is a row of a multipart upload.
func anyUpload(db *pebble.DB) (bool, error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceUpload}, UpperBound: []byte{spaceUpload + 1}})
	if err != nil {
		return false, err
	}
	found := it.First()
	return found, errors.Join(it.Error(), it.Close())
}

// look takes in one row.
func (s *seen) look(key, val []byte) error {
	space := key[0]
	if space != spaceRecord && space != spaceLedger && space != spaceUpload {
		return nil
	}
	id, ok := parseID(key[1:])
	if !ok {
		return fmt.Errorf("%w: the key of a row", errEncoding)
	}
	var err error
	switch space {
	case spaceRecord:
		var r *record
		if r, err = decodeRecord(id, val); err == nil {
			s.count(r)
			s.filter.add(key)
		}
	case spaceLedger:
		_, err = decodeEntry(id, val)
	case spaceUpload:
		_, err = decodeUpload(id, val)
	}
	if err != nil {
		return fmt.Errorf("%w (row %c of %s)", err, space, id)
	}
	return nil
}

// count takes one record into the numbers kept in memory.
func (s *seen) count(r *record) {
	s.total.add(r, 1)
	l := s.lines[r.id.Bucket]
	if l == nil {
		l = &line{bucket: r.id.Bucket}
		s.lines[r.id.Bucket] = l
	}
	l.counts.add(r, 1)
	s.top = max(s.top, r.token, r.last().gen)
	switch {
	case r.state != Leased:
	case r.deadline == 0:
		s.bound = append(s.bound, r.id)
	case s.deadline == 0 || r.deadline < s.deadline:
		s.deadline = r.deadline
	}
}

// readOwn reads the store's own numbers.
func readOwn(db *pebble.DB) (s seen, err error) {
	get := func(key []byte) (val []byte) {
		if err != nil {
			return nil
		}
		v, c, gerr := db.Get(key)
		if errors.Is(gerr, pebble.ErrNotFound) {
			return nil
		}
		if err = gerr; err == nil {
			val = slices.Clone(v)
			err = c.Close()
		}
		return val
	}
	number := func(key []byte) uint64 {
		v := get(key)
		if err == nil && v != nil && len(v) != 8 {
			err = fmt.Errorf("%w: a number of the store", errEncoding)
		}
		if err != nil || v == nil {
			return 0
		}
		return binary.BigEndian.Uint64(v)
	}
	switch f := get(ownFormat); {
	case err != nil:
	case len(f) == 1 && f[0] > format:
		return s, errNewer
	case len(f) != 1 || f[0] != format:
		return s, fmt.Errorf("%w: the format of the store", errEncoding)
	}
	s.next = number(ownNext)
	s.name = string(get(ownName))
	s.pace = parsePace(get(ownPace))
	s.clock = int64(min(number(ownClock), math.MaxInt64/2))
	return s, err
}

// recover makes the state whole after opening for writing: the numbers, the clock, leases of before. After a store that
// broke in this process, numbers and time go on where they were. The caller holds mu.
func (q *Queue) recover(s seen) error {
	q.resume(s.clock, s.pace)
	q.next = max(q.next, s.next, s.top+1, 1)
	q.limit = q.next
	q.clockSaved, q.later, q.unsynced, q.deadline = 0, nil, false, s.deadline
	q.total, q.lines, q.filter, q.leased = s.total, s.lines, s.filter, leasedRecords{}
	q.uploads.Store(s.uploads)
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
	t := q.begin()
	if q.name = s.name; q.name == "" {
		q.name = rand.Text()
		t.set(ownName, []byte(q.name))
	}
	for _, id := range s.bound {
		r, err := t.load(id)
		if err != nil || r == nil {
			t.abort()
			return errors.Join(err, errEncoding)
		}
		old := r.clone()
		if err := t.lapse(r); err != nil {
			t.abort()
			return err
		}
		t.save(id, old, r)
	}
	it, err := t.b.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceWake}, UpperBound: []byte{spaceWake + 1}})
	if err != nil {
		t.abort()
		return err
	}
	for valid := it.First(); valid; valid = it.Next() {
		if id, ok := parseID(it.Key()[1:]); ok {
			t.later = append(t.later, wakeup{id, pairPrefix(nil, spaceBlocked, id)})
		}
	}
	if err := errors.Join(it.Error(), it.Close(), t.finish()); err != nil {
		t.abort()
		return err
	}
	return q.commit(t, synced)(opOpen)
}
