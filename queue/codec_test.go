package queue

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"s3apu/protocol"
)

var testID = protocol.ObjectID{Bucket: "b", Key: "some/key"}

// sampleRecords are records of every state and form.
func sampleRecords() []*record {
	w := wish{verb: protocol.Upl, gen: 300, order: 300, seq: 7, at: 1_800_000_000_000000000, due: 1_800_000_000_000000001, source: "/a/b"}
	h := wish{verb: protocol.Del, gen: 301, order: 290, seq: 301, held: true, hint: true, class: protocol.Backfill}
	o := wish{verb: protocol.Upl, gen: 303, order: 301, seq: 303, source: "/a/b", from: "/b/old name", hint: true}
	g := wish{verb: protocol.Upl, gen: 304, order: 304, seq: 304, source: "/a/g", guest: "1000:1000,4"}
	f := wish{verb: protocol.Mkd, gen: 302, order: 302, seq: 302, failed: true, kind: protocol.KindItem, reason: "no\nway é"}
	return []*record{
		{state: Ready, wishes: []wish{w}, due: 5},
		{state: Ready, wishes: []wish{w}, due: 5, attempts: 3, again: true, err: true, kind: protocol.KindSlow, reason: "slow", errAt: 9},
		{state: Blocked, wishes: []wish{w, {verb: protocol.Cpo, gen: 310, order: 310, seq: 310, source: "/b/x"}, {verb: protocol.Del, gen: 311, order: 311, held: true}},
			blocker: protocol.ObjectID{Bucket: "other", Key: "x"}},
		{state: Leased, wishes: []wish{w, f}, token: 1 << 63},
		{state: Leased, wishes: []wish{w}, token: 5, deadline: 1 << 62},
		{state: Held, wishes: []wish{h}},
		{state: Dead, wishes: []wish{f}, err: true, kind: protocol.KindItem, reason: "no"},
		{state: Dead, wishes: []wish{w}, err: true, attempts: 1 << 30},
		{state: Leased, wishes: []wish{w, o}, token: 9},
		{state: Ready, wishes: []wish{o}},
		{state: Ready, wishes: []wish{g}},
		{state: Leased, wishes: []wish{w, g}, token: 10},
		{state: Ready, wishes: []wish{o}, again: true, first: 1 << 60},
	}
}

func TestRecordRoundTrip(t *testing.T) {
	for _, r := range sampleRecords() {
		r.id = testID
		b := appendRecord(nil, r)
		got, err := decodeRecord(testID, b)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v became %+v, %v", r, got, err)
		}
		for i := range b {
			if _, err := decodeRecord(testID, b[:i]); err == nil {
				t.Errorf("%x: the first %d bytes are a record as well", b, i)
			}
		}
		if _, err := decodeRecord(testID, append(b, 0)); err == nil {
			t.Errorf("%x: a byte too many is no error", b)
		}
	}
}

func TestRecordRefused(t *testing.T) {
	base := sampleRecords()
	for name, r := range map[string]*record{
		"no wish":           {state: Ready},
		"unknown state":     {state: states, wishes: base[0].wishes},
		"held but ready":    {state: Ready, wishes: base[5].wishes},
		"held without":      {state: Held, wishes: base[0].wishes},
		"dead without":      {state: Dead, wishes: base[0].wishes},
		"leased, no token":  {state: Leased, wishes: base[0].wishes},
		"wishes in reverse": {state: Ready, wishes: []wish{base[2].wishes[1], base[2].wishes[0]}},
		"parked in between": {state: Leased, token: 1, wishes: []wish{base[6].wishes[0], {verb: 1, gen: 999, order: 999, seq: 999}}},
		"bad verb":          {state: Ready, wishes: []wish{{verb: 7, gen: 1, order: 1, seq: 1}}},
	} {
		if _, err := decodeRecord(testID, appendRecord(nil, r)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func sampleEntries() []*protocol.Entry {
	full := &protocol.Entry{
		Verb: protocol.Upl, Source: "/a", ETag: strings.Repeat("ab", 16), MD5: strings.Repeat("ab", 16), PartSize: 1,
		VersionID: "v", Put: -1, Stat: protocol.Stat{Size: -1, MTime: 1 << 62, CTime: -(1 << 62), Dev: 1<<64 - 1, Ino: 1, Mode: 1<<32 - 1, UID: 1, GID: 2},
	}
	other, text := *full, *full
	other.MD5 = strings.Repeat("cd", 16)
	text.ETag, text.MD5 = "x-12", "ABCDABCDABCDABCDABCDABCDABCDABCD"
	return []*protocol.Entry{{}, full, &other, &text, {ETag: "e", MD5: "e"}}
}

func sampleUploads() []*protocol.Upload {
	return []*protocol.Upload{{}, {
		UploadID: "u", PartSize: 5 << 20, Began: 7, Stat: protocol.Stat{Size: 3},
		Parts: []protocol.Part{{Number: 1, Size: 2, ETag: strings.Repeat("ab", 16)}, {Number: -1, ETag: "x"}},
	}, {
		UploadID: "u", CRC64: true, PartSize: 5 << 20, Stat: protocol.Stat{Size: 3},
		Parts: []protocol.Part{{Number: 1, Size: 2, ETag: "x", CRC64: 1<<64 - 1}, {Number: 2, Size: 1, ETag: strings.Repeat("ab", 16)}},
	}}
}

func TestEntryAndUploadRoundTrip(t *testing.T) {
	for _, e := range sampleEntries() {
		e.Bucket, e.Key = testID.Bucket, testID.Key
		got, err := decodeEntry(testID, appendEntry(nil, e))
		if err != nil || *got != *e {
			t.Errorf("%+v became %+v, %v", e, got, err)
		}
	}
	for _, u := range sampleUploads() {
		u.Bucket, u.Key = testID.Bucket, testID.Key
		got, err := decodeUpload(testID, appendUpload(nil, u))
		if err != nil || !reflect.DeepEqual(got, u) {
			t.Errorf("%+v became %+v, %v", u, got, err)
		}
	}
}

// TestUploadOfAnOlderProgram: what is not known there looks like an upload that cannot be gone on with, and not like damage.
func TestUploadOfAnOlderProgram(t *testing.T) {
	for _, u := range sampleUploads() {
		if !u.CRC64 {
			continue
		}
		d := decoder{b: appendUpload(nil, u)}
		d.byte() // the version
		id, size := d.string(), d.int()
		d.stat()
		d.int()
		for range d.uint() {
			d.part()
		}
		if d.end(); d.err != nil || id != u.UploadID || size >= 0 {
			t.Errorf("%+v: part size %d, %v", u, size, d.err)
		}
	}
}

// The fuzz targets: no bytes make a decoder panic, and what it takes has this one encoding.

func FuzzRecord(f *testing.F) {
	for _, r := range sampleRecords() {
		f.Add(appendRecord(nil, r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(testID, b)
		if err != nil {
			return
		}
		if again := appendRecord(nil, r); !bytes.Equal(again, b) {
			t.Errorf("%x becomes %x", b, again)
		}
		appendRows(nil, r) // must not panic on any record
		var c counts
		c.add(r, 1)
	})
}

func FuzzEntry(f *testing.F) {
	for _, e := range sampleEntries() {
		f.Add(appendEntry(nil, e))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := decodeEntry(testID, b); err == nil {
			if again := appendEntry(nil, e); !bytes.Equal(again, b) {
				t.Errorf("%x becomes %x", b, again)
			}
		}
	})
}

func FuzzUpload(f *testing.F) {
	for _, u := range sampleUploads() {
		f.Add(appendUpload(nil, u))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, err := decodeUpload(testID, b); err == nil {
			if again := appendUpload(nil, u); !bytes.Equal(again, b) {
				t.Errorf("%x becomes %x", b, again)
			}
		}
	})
}

func TestKeysKeepOrder(t *testing.T) {
	keys := []protocol.Key{"a", "a\x00", "a.b", "a/", "a/b", "a0", "é", "\U0010ffff"}
	for i := 1; i < len(keys); i++ {
		x := idKey(nil, spaceLedger, protocol.ObjectID{Bucket: "b", Key: keys[i-1]})
		y := idKey(nil, spaceLedger, protocol.ObjectID{Bucket: "b", Key: keys[i]})
		if bytes.Compare(x, y) >= 0 {
			t.Errorf("%q is not before %q", x, y)
		}
		if id, ok := parseID(y[1:]); !ok || id.Key != keys[i] || id.Bucket != "b" {
			t.Errorf("%q became %v", keys[i], id)
		}
	}
	for _, c := range []struct{ prefix, end string }{{"a", "b"}, {"a\xff", "b"}, {"\xff", ""}} {
		if got := prefixEnd([]byte(c.prefix)); string(got) != c.end {
			t.Errorf("behind %q comes %q, want %q", c.prefix, got, c.end)
		}
	}
}
