package worker

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// saveGap is the least time between two records of progress. A crash costs at most the parts of so long; a record of
// many parts costs an fsync and some 50 bytes a part. A guess.
const saveGap = 5 * time.Second

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

// summed returns part number of up with the sum that S3 is to check it by: known from a reading of the whole, or made now.
func (s *sending) summed(ctx context.Context, number int) (p protocol.Part, sum [16]byte, e *protocol.Error) {
	off, n := part(s.up.Stat.Size, s.up.PartSize, number)
	p = protocol.Part{Number: int32(number), Size: n}
	switch {
	case s.up.CRC64 && s.crcs != nil:
		p.CRC64 = s.crcs[number-1]
	case s.up.CRC64:
		p.CRC64, e = s.p.crcRange(ctx, s.src, off, n)
	case s.sums != nil && s.sumsOf == s.up.PartSize:
		sum = s.sums[number-1]
	default:
		sum, e = s.p.hashRange(ctx, s.src, off, n)
	}
	return p, sum, e
}

// send sends one part: hashed from the page cache, then sent from it, so that no part is ever in memory. A byte that
// changes between the two is refused by S3.
func (s *sending) send(ctx context.Context, number int) *protocol.Error {
	p, sum, e := s.summed(ctx, number)
	if e != nil {
		return e
	}
	off, n := part(s.up.Stat.Size, s.up.PartSize, number)
	e = s.p.request(writing, "upload a part of", s.d.ID(), func() (err error) {
		failpoint.Here("worker.part.send")
		p.ETag, err = s.p.store.UploadPart(ctx, s.up, p, sum, io.NewSectionReader(s.src.f, off, n))
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
