package worker

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// upload makes the object equal to the file, with as little as possible: nothing if the ledger says it is, new
// metadata if only those differ, else the content.
func (h *hand) upload(ctx context.Context, d *protocol.Delivery) (done, *protocol.Error) {
	if d.Hint && !utf8.ValidString(d.Source) { // listed under a readable form of its name, which is not its key
		return done{}, &protocol.Error{Op: "name", Object: string(d.Key), Kind: protocol.KindItem, Err: protocol.ErrKeyUTF8, Hint: "rename it"}
	}
	at, e := h.p.cfg.at(d.Key, d.Source, d.Hint)
	var state protocol.Stat
	if e == nil {
		defer at.close()
		state, e = at.lstat()
	}
	switch {
	case e != nil && e.Kind != protocol.KindVanished && d.Hint && linked(e):
		return done{keep: true}, nil // a link has come: another hint
	case e != nil:
		return done{}, e
	}
	if e := regular(d.Source, state); e != nil && !at.stored(state) {
		if d.Hint {
			return done{keep: true, moot: true}, nil // the file has gone; what came in its place is another hint
		}
		return done{}, e
	}
	if d.Hint && sameRow(d, state) && d.Known.CTime == state.CTime {
		return done{keep: true}, nil
	}
	out, e := h.transfer(ctx, d, at, state, false)
	if e != nil && (e.Kind == protocol.KindBusy || e.Kind == protocol.KindChanged) && d.Hint && at.unresting() {
		if state, e := at.lstat(); e == nil && state.IsFile() {
			return h.transfer(ctx, d, at, state, true)
		}
	}
	return out, e
}

// transfer sends what lstat found in that state: by one PUT, or in parts. With growing it is a file that is being written.
func (h *hand) transfer(ctx context.Context, d *protocol.Delivery, at *spot, state protocol.Stat, growing bool) (done, *protocol.Error) {
	parts := state.Size > h.p.cfg.MultipartAbove && state.IsFile()
	if parts && !h.big {
		return done{lane: true}, nil
	}
	src, e := h.p.cfg.open(ctx, at, state, growing, d.Guest)
	if e != nil {
		return done{}, e
	}
	defer src.close()

	contentType := linkType
	if !state.IsLink() {
		contentType = h.p.cfg.contentType(d.Key, d.Source)
	}
	u := &job{hand: h, d: d, src: src, head: h.p.cfg.headers(contentType, src.state)}
	if !growing {
		if out, ok, e := u.renamed(ctx); ok || e != nil {
			return out, e
		}
	}
	if parts {
		return u.multipart(ctx)
	}
	return u.single(ctx)
}

// sameRow reports whether the ledger's row was made from the same file with the same content and attributes.
func sameRow(d *protocol.Delivery, state protocol.Stat) bool {
	k := d.Known
	return k != nil && k.Verb == protocol.Upl && k.Source == d.Source && k.SameContent(state) && k.SameAttributes(state)
}

// job is one upload: a delivery, its open file and what its object will carry.
type job struct {
	*hand
	d    *protocol.Delivery
	src  *source
	head protocol.Headers

	sums   [][16]byte // multipart: MD5 of the parts of size sumsOf, where the whole file was hashed already
	sumsOf int64
	crcs   []uint64 // multipart: CRC-64 of the parts of a file that grows, as they were first read
}

// single uploads a file by one PUT.
func (u *job) single(ctx context.Context) (done, *protocol.Error) {
	failpoint.Here("worker.read")
	body, sum, e := u.content(ctx)
	if e != nil {
		return done{}, e
	}
	hash := hex.EncodeToString(sum[:])
	row := u.row()
	row.MD5 = hash

	if k := u.d.Known; k != nil && k.Verb == protocol.Upl && k.Size == u.src.state.Size && k.PartSize == 0 && k.ETag != "" &&
		(k.MD5 == hash || k.MD5 == "" && strings.EqualFold(k.ETag, hash)) {
		if out, ok, e := u.refresh(ctx, row); ok || e != nil {
			return out, e
		}
	}
	if u.d.Again {
		if out, ok, e := u.already(ctx, row, hash); ok || e != nil {
			return out, e
		}
	}
	r, e := u.put(ctx, u.d, u.d.Key, u.head, body, u.src.size(), sum)
	if e != nil {
		return done{}, e
	}
	return made(row, r), nil
}

// content returns the file's bytes to send and their MD5: from memory if they are few, else from the file, guarded.
//
// Of a file that grows they are read twice, the second time only after the first has ended: here, or when they are sent,
// where S3 refuses what does not have the first reading's MD5. If both agree, then the bytes were these in the moment
// between the two, unless one changed and changed back: also a file that is rewritten in place is sent as it was once.
func (u *job) content(ctx context.Context) (io.ReadSeeker, [16]byte, *protocol.Error) {
	if u.src.f == nil {
		return strings.NewReader(u.src.target), md5.Sum([]byte(u.src.target)), u.src.unchanged()
	}
	size := u.src.state.Size
	if size > smallFile { // of one that grows this is the first reading, and S3 refuses what the second one finds otherwise
		sum, e := u.p.hashRange(ctx, u.src, 0, size)
		if e == nil {
			e = u.src.unchanged()
		}
		return &guarded{src: u.src, n: size}, sum, e
	}
	if int64(len(u.buf)) < size {
		n := int64(16 << 10)
		for n < size {
			n *= 2
		}
		u.buf = make([]byte, n)
	}
	content := u.buf[:size]
	var sum [16]byte
	if n, err := u.src.f.ReadAt(content, 0); n < len(content) { // ReadAt says why
		return nil, sum, u.src.readError(err)
	}
	u.sum.Reset()
	u.sum.Write(content)
	u.sum.Sum(sum[:0])
	if u.src.growing {
		if second, e := u.p.hashRange(ctx, u.src, 0, size); e != nil {
			return nil, sum, e
		} else if second != sum {
			return nil, sum, u.src.changed()
		}
	}
	if e := u.src.unchanged(); e != nil {
		return nil, sum, e
	}
	return bytes.NewReader(content), sum, nil
}

// row is the ledger's row of the upload, without what S3 answers.
func (u *job) row() *protocol.Entry {
	return &protocol.Entry{Bucket: u.d.Bucket, Key: u.d.Key, Verb: protocol.Upl, Source: u.d.Source, Stat: u.src.state}
}

// made is the end of a verb that wrote an object: row is completed by what S3 answered.
func made(row *protocol.Entry, r protocol.Receipt) done {
	row.ETag, row.VersionID, row.Put = r.ETag, r.VersionID, time.Now().UnixNano()
	return done{entry: row}
}

// refresh gives the object, whose content is known to be right, the metadata of the file, by copying it onto itself.
// ok is false if the content has to be sent after all.
func (u *job) refresh(ctx context.Context, row *protocol.Entry) (out done, ok bool, e *protocol.Error) {
	known := u.d.Known
	row.MD5, row.PartSize = known.MD5, known.PartSize
	if u.d.Hint && known.SameAttributes(u.src.state) {
		row.ETag, row.VersionID, row.Put = known.ETag, known.VersionID, known.Put
		return done{entry: row}, true, nil // the folder moved, or the file was linked: S3 sees no difference
	}
	var r protocol.Receipt
	head := marked(u.d, u.d.Key, u.head, u.src.size(), "") // the copy may get another ETag, and its answer may be lost
	e = u.request(writing, "refresh the metadata of", u.d, func() (err error) {
		failpoint.Here("worker.refresh")
		r, err = u.p.store.Copy(ctx, u.d.ID(), u.d.Key, &head, known.ETag)
		failpoint.Here("worker.refreshed")
		return unlessItem(err)
	})
	switch {
	case e == nil && r.ETag == known.ETag:
		return made(row, r), true, nil
	case e == nil:
		if e := u.forgetParts(ctx, row, r); e != nil {
			return done{}, false, e
		}
		return made(row, r), true, nil
	case fallsBack(e.Kind):
		return done{}, false, nil
	}
	return done{}, false, e
}

// already looks whether an earlier hand has sent the file.
func (u *job) already(ctx context.Context, row *protocol.Entry, etag string) (out done, ok bool, e *protocol.Error) {
	o, e := u.arrived(ctx, u.d, u.d.Key, u.head, u.src.size(), etag)
	if e != nil || o == nil {
		return done{}, false, e
	}
	return made(row, protocol.Receipt{ETag: o.ETag, VersionID: o.VersionID}), true, nil
}

// arrived returns the object under key if it is what is about to be sent: same size, ETag and metadata. Else nil.
func (h *hand) arrived(ctx context.Context, d *protocol.Delivery, key protocol.Key, head protocol.Headers, size int64, etag string) (*protocol.Object, *protocol.Error) {
	o, e := h.lookAt(ctx, d, key)
	if e != nil || o == nil || o.Size != size || !strings.EqualFold(o.ETag, etag) || !carries(o, head) {
		return nil, e
	}
	return o, nil
}

// look returns what is under the key, or nil if there is nothing or it cannot be told.
func (u *job) look(ctx context.Context) (o *protocol.Object, e *protocol.Error) {
	return u.lookAt(ctx, u.d, u.d.Key)
}

func (h *hand) lookAt(ctx context.Context, d *protocol.Delivery, key protocol.Key) (o *protocol.Object, e *protocol.Error) {
	e = h.request(reading, "look at", d, func() (err error) {
		o, err = h.p.store.Head(ctx, key)
		return unlessItem(err)
	})
	if e != nil && fallsBack(e.Kind) {
		return nil, nil
	}
	return o, e
}

// carries reports whether o has the metadata in head.
func carries(o *protocol.Object, head protocol.Headers) bool {
	if o.ContentType != head.ContentType {
		return false
	}
	for name := range maps.Keys(head.Meta) {
		if o.Meta[name] != head.Meta[name] {
			return false
		}
	}
	return true
}

// fallsBack reports whether a shortcut that failed with k is followed by the long way: what forbids a copy or a look
// need not forbid a write.
func fallsBack(k protocol.Kind) bool {
	switch k {
	case protocol.KindNotFound, protocol.KindChanged, protocol.KindItem, protocol.KindTarget:
		return true
	}
	return false
}

// unlessItem turns a refusal of a shortcut into one that concerns this instruction only: credentials that may write
// but not read are no fault of the target.
func unlessItem(err error) error {
	var e *protocol.Error
	if errors.As(err, &e) && e.Kind == protocol.KindTarget {
		own := *e
		own.Kind = protocol.KindItem
		return &own
	}
	return err
}
