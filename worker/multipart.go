package worker

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// saveGap is the least time between two records of progress. A crash costs at most the parts of so long; a record of
// many parts costs an fsync and some 50 bytes a part. A guess.
const saveGap = 5 * time.Second

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
	if u.src.growing { // the first reading, of the whole; the second one sends it
		if e := u.hashParts(ctx, partSize); e != nil {
			return done{}, e
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
	size := u.src.state.Size
	sums := make([][16]byte, partCount(size, partSize))
	for i := range sums {
		off, n := part(size, partSize, i+1)
		var e *protocol.Error
		if sums[i], e = u.p.hashRange(ctx, u.src, off, n); e != nil {
			return e
		}
	}
	u.sums, u.sumsOf = sums, partSize
	return nil
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

func (u *job) start(ctx context.Context, partSize int64) (*protocol.Upload, *protocol.Error) {
	up := &protocol.Upload{Bucket: u.d.Bucket, Key: u.d.Key, PartSize: partSize, Stat: u.src.state, Began: time.Now().UnixNano()}
	// Written down before it is asked for: an upload of which we never learned is looked for and ended.
	if err := u.p.source.SaveUpload(ctx, up); err != nil {
		return nil, sourceError(err, "record the upload of", u.d.Key)
	}
	e := u.request(writing, "begin the upload of", u.d, func() (err error) {
		up.UploadID, err = u.p.store.StartUpload(ctx, u.d.Key, marked(u.d, u.d.Key, u.head, up.Stat.Size, ""))
		failpoint.Here("worker.parts.begun")
		return err
	})
	if e != nil {
		return nil, e
	}
	if err := u.p.source.SaveUpload(ctx, up); err != nil { // without the row it could never be ended
		_ = u.abort(ctx, up) // else its row stays
		return nil, sourceError(err, "record the upload of", u.d.Key)
	}
	return up, nil
}

// finish sends what is missing and makes the object, if the file has stayed as it was.
func (u *job) finish(ctx context.Context, up *protocol.Upload) (done, *protocol.Error) {
	if e := u.sendParts(ctx, up); e != nil {
		return done{}, e
	}
	if e := u.src.unchanged(); e != nil {
		return done{}, e
	}
	var r protocol.Receipt
	e := u.request(writing, "finish the upload of", u.d, func() (err error) {
		failpoint.Here("worker.parts.complete")
		r, err = u.p.store.FinishUpload(ctx, u.d.Key, up.UploadID, up.Parts)
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
		_ = u.abort(ctx, up) // else the next attempt does
	case protocol.KindNotFound: // S3 has ended it: begin anew, with the usual pause
		_ = u.p.source.DropUpload(ctx, u.d.ID()) // if it stays, the next attempt comes here again
		e.Kind = protocol.KindTransient
	}
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

// sending is one run over the parts of an upload.
type sending struct {
	*job
	up *protocol.Upload

	mu       sync.Mutex
	err      *protocol.Error // the first; no part is begun after it
	saved    time.Time       // when progress was last recorded
	unsaved  bool
	saving   bool
	requests int
	bytes    int64
}

// sendParts sends the parts that up lacks, as many at once as the gate allows over all files, and leaves up.Parts in
// order. After a failure no part is begun; those under way are ended first, for they can be used next time.
func (u *job) sendParts(ctx context.Context, up *protocol.Upload) *protocol.Error {
	s := &sending{job: u, up: up, saved: time.Now()}
	have := make(map[int32]bool, len(up.Parts))
	for _, p := range up.Parts {
		have[p.Number] = true
	}
	var wg sync.WaitGroup
	for number := 1; number <= partCount(up.Stat.Size, up.PartSize); number++ {
		if have[int32(number)] {
			continue
		}
		if err := u.p.gate.beginPart(u.p.stop); err != nil { //nolint:contextcheck // ctx ends a Grace later: then no part is begun any more
			s.fail(&protocol.Error{Op: "upload", Object: string(u.d.Key), Kind: protocol.KindTransient, Err: err})
		} else if u.p.gate.isParked() {
			u.p.gate.endPart()
			s.fail(parkedError("upload", u.d.Key))
		} else {
			wg.Go(func() {
				defer u.p.gate.endPart()
				s.fail(s.send(ctx, number))
			})
		}
		if s.failed() {
			break
		}
	}
	wg.Wait()
	s.hand.class = writing
	s.hand.requests += s.requests
	s.hand.bytes += s.bytes
	slices.SortFunc(up.Parts, func(a, b protocol.Part) int { return int(a.Number - b.Number) })
	if s.unsaved {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.p.cfg.Grace) // also when the grace has run out
		s.save(ctx)
		cancel()
	}
	return s.err
}

// fail takes in how a part ended; e may be nil.
func (s *sending) fail(e *protocol.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = e
	}
}

func (s *sending) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

// send sends one part: hashed from the page cache, then sent from it, so that no part is ever in memory. A byte that
// changes between the two is refused by S3 (Content-MD5).
func (s *sending) send(ctx context.Context, number int) *protocol.Error {
	off, n := part(s.up.Stat.Size, s.up.PartSize, number)
	var sum [16]byte
	if s.sums != nil && s.sumsOf == s.up.PartSize {
		sum = s.sums[number-1]
	} else {
		var e *protocol.Error
		if sum, e = s.p.hashRange(ctx, s.src, off, n); e != nil {
			return e
		}
	}
	p := protocol.Part{Number: int32(number), Size: n}
	e := s.p.request(writing, "upload a part of", s.d.ID(), func() (err error) {
		failpoint.Here("worker.part.send")
		p.ETag, err = s.p.store.UploadPart(ctx, s.d.Key, s.up.UploadID, p.Number, io.NewSectionReader(s.src.f, off, n), n, sum)
		return err
	})
	if e != nil { // a file that became shorter looks like a broken connection
		if changed := s.src.unchanged(); changed != nil && changed.Kind == protocol.KindChanged {
			e = changed
		}
	}
	failpoint.Here("worker.part.sent")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if e != nil {
		return e
	}
	s.bytes += n
	s.up.Parts = append(s.up.Parts, p)
	s.unsaved = true
	if time.Since(s.saved) >= saveGap && !s.saving {
		s.saving = true
		s.mu.Unlock()
		s.save(ctx)
		s.mu.Lock()
		s.saving = false
	}
	return nil
}

// save records the progress. If it cannot be recorded, the upload goes on: a crash would send some parts again.
func (s *sending) save(ctx context.Context) {
	s.mu.Lock()
	row := *s.up
	row.Parts = slices.Clone(s.up.Parts)
	s.saved, s.unsaved = time.Now(), false
	s.mu.Unlock()
	slices.SortFunc(row.Parts, func(a, b protocol.Part) int { return int(a.Number - b.Number) })
	_ = s.p.source.SaveUpload(ctx, &row) // see above
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
