package worker

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// partSizeFor returns the size of the parts of a file: want, or as many whole MiB as keep it within S3's number.
func partSizeFor(size, want int64) int64 {
	least := (size + maxParts - 1) / maxParts
	return max(want, (least+1<<20-1)>>20<<20)
}

// compositeETag is the ETag that S3 gives an object of parts with these MD5s.
func compositeETag(sums [][16]byte) string {
	m := md5.New()
	for _, s := range sums {
		m.Write(s[:])
	}
	return fmt.Sprintf("%s-%d", hex.EncodeToString(m.Sum(nil)), len(sums))
}

// partCount is how many parts of partSize a file of size has, at least one.
func partCount(size, partSize int64) int { return max(1, int((size+partSize-1)/partSize)) }

// part returns the place of part number, counted from 1.
func part(size, partSize int64, number int) (off, n int64) {
	off = int64(number-1) * partSize
	return off, min(partSize, size-off)
}

// multipart uploads a file in parts. Progress survives a failure and a restart as long as the file stays as it is.
func (u *job) multipart(ctx context.Context) (done, *protocol.Error) {
	partSize := partSizeFor(u.src.state.Size, u.p.cfg.PartSize)
	if out, ok, e := u.sameContent(ctx); ok || e != nil {
		return out, e
	}
	if u.d.Again {
		if out, ok, e := u.alreadyInParts(ctx, partSize); ok || e != nil {
			return out, e
		}
	}
	up, e := u.resume(ctx)
	if e != nil {
		return done{}, e
	}
	if up == nil {
		if up, e = u.start(ctx, partSize); e != nil {
			return done{}, e
		}
	}
	out, e := u.finish(ctx, up)
	if e != nil {
		u.setBack(ctx, up, e)
	}
	return out, e
}

// sameContent tries to get by with new metadata, if the ledger's object may have the content of the file.
func (u *job) sameContent(ctx context.Context) (out done, ok bool, e *protocol.Error) {
	k := u.d.Known
	if k == nil || k.Verb != protocol.Upl || k.Size != u.src.state.Size || k.ETag == "" {
		return done{}, false, nil
	}
	if right, e := u.holdsBytes(ctx, k); !right || e != nil {
		return done{}, false, e
	}
	return u.refresh(ctx, u.row())
}

// holdsBytes reads the file and reports whether the object of a row holds its bytes.
func (u *job) holdsBytes(ctx context.Context, k *protocol.Entry) (bool, *protocol.Error) {
	want := k.ETag
	var got string
	if k.PartSize > 0 {
		if e := u.hashParts(ctx, k.PartSize); e != nil {
			return false, e
		}
		got = compositeETag(u.sums)
	} else {
		sum, e := u.p.hashRange(ctx, u.src, 0, k.Size)
		if e != nil {
			return false, e
		}
		if got = hex.EncodeToString(sum[:]); k.MD5 != "" {
			want = k.MD5
		}
	}
	return strings.EqualFold(want, got), u.src.unchanged()
}

// alreadyInParts looks whether an earlier hand has sent the file.
func (u *job) alreadyInParts(ctx context.Context, partSize int64) (out done, ok bool, e *protocol.Error) {
	o, e := u.look(ctx)
	if e != nil || o == nil {
		return done{}, false, e
	}
	count := partCount(u.src.state.Size, partSize)
	if o.Size != u.src.state.Size || !carries(o, u.head) || !strings.HasSuffix(o.ETag, fmt.Sprintf("-%d", count)) {
		return done{}, false, nil
	}
	if e := u.hashParts(ctx, partSize); e != nil {
		return done{}, false, e
	}
	if e := u.src.unchanged(); e != nil {
		return done{}, false, e
	}
	if !strings.EqualFold(compositeETag(u.sums), o.ETag) {
		return done{}, false, nil
	}
	u.tidy(ctx, u.d) // a server that was cut off may have made the object and kept the upload
	row := u.row()
	row.PartSize = partSize
	return made(row, protocol.Receipt{ETag: o.ETag, VersionID: o.VersionID}), true, nil
}

// hashParts sets u.sums for parts of partSize.
func (u *job) hashParts(ctx context.Context, partSize int64) *protocol.Error {
	if u.sums != nil && u.sumsOf == partSize {
		return nil
	}
	sums, e := partSums(ctx, u.src, partSize, u.p.hashRange)
	if e != nil {
		return e
	}
	u.sums, u.sumsOf = sums, partSize
	return nil
}

// partSums returns the sum of each part of a file.
func partSums[T any](ctx context.Context, s *source, partSize int64, sum func(context.Context, *source, int64, int64) (T, *protocol.Error)) ([]T, *protocol.Error) {
	size := s.state.Size
	sums := make([]T, partCount(size, partSize))
	for i := range sums {
		off, n := part(size, partSize, i+1)
		var e *protocol.Error
		if sums[i], e = sum(ctx, s, off, n); e != nil {
			return nil, e
		}
	}
	return sums, nil
}

// resume returns the upload that was begun with the file in this state, or nil. One of another state is ended first: its
// row is all that is known of it, and the next upload takes the row's place.
func (u *job) resume(ctx context.Context) (*protocol.Upload, *protocol.Error) {
	up, err := u.p.source.LoadUpload(ctx, u.d.ID())
	if err != nil {
		return nil, sourceError(err, "read the progress of", u.d.Key)
	}
	if up == nil {
		return nil, nil
	}
	if up.UploadID != "" && up.Stat == u.src.state && !u.src.growing && up.PartSize >= minPart && partCount(up.Stat.Size, up.PartSize) <= maxParts {
		return up, nil
	}
	if e := u.abort(ctx, up); e != nil && e.Kind != protocol.KindItem { // what can never be ended stops nothing
		return nil, e
	}
	return nil, nil
}

// firstReading reads the whole of a file that grows; the second reading sends it, and S3 refuses what that finds otherwise.
func (u *job) firstReading(ctx context.Context, up *protocol.Upload) (e *protocol.Error) {
	if !up.CRC64 {
		return u.hashParts(ctx, up.PartSize)
	}
	u.crcs, e = partSums(ctx, u.src, up.PartSize, u.p.crcRange)
	return e
}

func (u *job) start(ctx context.Context, partSize int64) (*protocol.Upload, *protocol.Error) {
	up := &protocol.Upload{Bucket: u.d.Bucket, Key: u.d.Key, PartSize: partSize, Stat: u.src.state, Began: time.Now().UnixNano()}
	// Written down before it is asked for: an upload of which we never learned is looked for and ended.
	if err := u.p.source.SaveUpload(ctx, up); err != nil {
		return nil, sourceError(err, "record the upload of", u.d.Key)
	}
	e := u.request(writing, "begin the upload of", u.d, func() (err error) {
		err = u.p.store.StartUpload(ctx, up, marked(u.d, u.d.Key, u.head, up.Stat.Size, ""))
		failpoint.Here("worker.parts.begun")
		return err
	})
	if e != nil {
		if up.UploadID != "" {
			u.giveUp(ctx, up)
		}
		return nil, e
	}
	if err := u.p.source.SaveUpload(ctx, up); err != nil { // without the row it could never be ended
		_ = u.abort(ctx, up) // else its row stays
		return nil, sourceError(err, "record the upload of", u.d.Key)
	}
	return up, nil
}

// finish reads a file that grows for the first time, sends what is missing, and makes the object if the file has stayed as
// it was.
func (u *job) finish(ctx context.Context, up *protocol.Upload) (done, *protocol.Error) {
	if u.src.growing {
		if e := u.firstReading(ctx, up); e != nil {
			return done{}, e
		}
	}
	if e := u.sendParts(ctx, up); e != nil {
		return done{}, e
	}
	if e := u.src.unchanged(); e != nil {
		return done{}, e
	}
	var r protocol.Receipt
	e := u.request(writing, "finish the upload of", u.d, func() (err error) {
		failpoint.Here("worker.parts.complete")
		r, err = u.p.store.FinishUpload(ctx, up)
		failpoint.Here("worker.parts.completed")
		return err
	})
	if e != nil && e.Kind == protocol.KindNotFound { // an earlier answer may have been lost
		if out, ok, _ := u.alreadyInParts(ctx, up.PartSize); ok {
			return out, nil
		}
	}
	if e != nil {
		return done{}, e
	}
	_ = u.p.source.DropUpload(ctx, u.d.ID()) // as in alreadyInParts
	row := u.row()
	row.PartSize = up.PartSize
	return made(row, r), nil
}

// setBack leaves an upload that failed with e so that the next attempt can make use of it, or ends it.
func (u *job) setBack(ctx context.Context, up *protocol.Upload, e *protocol.Error) {
	switch e.Kind {
	case protocol.KindItem, protocol.KindChanged, protocol.KindVanished:
		if u.abort(ctx, up) != nil {
			u.giveUp(ctx, up)
		}
	case protocol.KindNotFound: // S3 has ended it: begin anew, with the usual pause
		_ = u.p.source.DropUpload(ctx, u.d.ID()) // if it stays, the next attempt comes here again
		e.Kind = protocol.KindTransient
	}
}

// giveUp records that an upload is to be ended by the next attempt, and not gone on with.
func (u *job) giveUp(ctx context.Context, up *protocol.Upload) {
	up.PartSize, up.Parts = 0, nil
	_ = u.p.source.SaveUpload(ctx, up) // else it is gone on with, and refused once more
}

func (u *job) abort(ctx context.Context, up *protocol.Upload) *protocol.Error {
	return u.p.abort(ctx, up)
}

// abort ends an upload and forgets it. If S3 does not confirm, which is the error, it is kept and ended another time.
func (p *Pool) abort(ctx context.Context, up *protocol.Upload) *protocol.Error {
	id := protocol.ObjectID{Bucket: up.Bucket, Key: up.Key}
	e := p.request(reading, "abort the upload of", id, func() error {
		if up.UploadID == "" { // begun, perhaps, and never heard of again
			return p.store.AbortUnknown(ctx, up.Key, time.Unix(0, up.Began))
		}
		return p.store.AbortUpload(ctx, up.Key, up.UploadID)
	})
	if e != nil && e.Kind != protocol.KindNotFound {
		select {
		case p.unended <- struct{}{}:
		default:
		}
		return e
	}
	_ = p.source.DropUpload(ctx, id) // else aborted once more
	return nil
}

// sourceError is an error of the queue's under our own name; our disk's unless it says otherwise.
func sourceError(err error, op string, key protocol.Key) *protocol.Error {
	e := *protocol.AsError(err, op, string(key))
	if e.Kind == protocol.KindUnknown {
		e.Kind = protocol.KindLocal
	}
	return &e
}

func parkedError(op string, key protocol.Key) *protocol.Error {
	return &protocol.Error{Op: op, Object: string(key), Kind: protocol.KindUnreachable,
		Err: reason("the bucket cannot be worked with at the moment")}
}
