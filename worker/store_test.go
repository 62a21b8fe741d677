package worker

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/minio/crc64nvme"

	"s3apu/protocol"
)

// memoryStore is an S3 bucket in memory that keeps of a body its size and MD5, refuses bodies that are not what was
// announced, and fails as it is told to.
type memoryStore struct {
	mu       sync.Mutex
	objects  map[protocol.Key]*protocol.Object
	uploads  map[string]map[int32]sentPart
	heads    map[string]protocol.Headers
	calls    map[string]int // by operation, and by "operation key"
	total    int
	now, top int // requests at once, now and at most
	next     int
	aborted  int

	onlyMD5 bool // a server that knows no other sums of parts
	vain    int  // so many uploads are begun, of no use, and not ended
	latency time.Duration
	// before is asked before a request is carried out; a non-nil error is its answer. after is asked when it was
	// carried out: the answer that is lost. midway is called when half a body has been read. All may be nil.
	before, after func(ctx context.Context, op string, key protocol.Key) error
	midway        func(op string, key protocol.Key)
	probe         func() error
	copied        func(o *protocol.Object) // what a copy makes of its source
}

func newStore() *memoryStore {
	return &memoryStore{objects: map[protocol.Key]*protocol.Object{}, uploads: map[string]map[int32]sentPart{},
		heads: map[string]protocol.Headers{}, calls: map[string]int{}}
}

func s3Error(kind protocol.Kind, status int) *protocol.Error {
	return &protocol.Error{Op: "test", Kind: kind, Status: status, Err: errors.New("made by the test")}
}

func (s *memoryStore) enter(ctx context.Context, op string, key protocol.Key) error {
	s.mu.Lock()
	s.calls[op]++
	s.calls[op+" "+string(key)]++
	s.total++
	s.now++
	s.top = max(s.top, s.now)
	s.mu.Unlock()
	if s.latency > 0 {
		if err := sleep(ctx, s.latency); err != nil {
			return &protocol.Error{Op: op, Object: string(key), Kind: protocol.KindTransient, Err: err}
		}
	}
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before != nil {
		return before(ctx, op, key)
	}
	return nil
}

// heal makes every request succeed from now on.
func (s *memoryStore) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = nil
}

// requests is how many have been made, probes apart, open how many multipart uploads there are.
func (s *memoryStore) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

func (s *memoryStore) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uploads)
}

func (s *memoryStore) leave(ctx context.Context, op string, key protocol.Key) error {
	s.mu.Lock()
	s.now--
	s.mu.Unlock()
	if s.after != nil {
		return s.after(ctx, op, key)
	}
	return nil
}

func (s *memoryStore) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[what]
}

func (s *memoryStore) object(key protocol.Key) *protocol.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key]
}

// receive reads a body as a server would and refuses it unless it is whole and as announced.
func (s *memoryStore) receive(op string, key protocol.Key, body io.ReadSeeker, size int64) (sum [16]byte, crc uint64, err error) {
	if end, err := body.Seek(0, io.SeekEnd); err != nil || end != size {
		return sum, 0, fmt.Errorf("the body's end is %d, not %d (%w)", end, size, err)
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return sum, 0, err
	}
	m, c := md5.New(), crc64nvme.New()
	both := io.MultiWriter(m, c)
	n, err := io.Copy(both, io.LimitReader(body, size/2))
	if err == nil {
		if s.midway != nil {
			s.midway(op, key)
		}
		var k int64
		k, err = io.Copy(both, body)
		n += k
	}
	if err != nil { // a client's connection breaks; that is all the Store can tell
		return sum, 0, &protocol.Error{Op: op, Object: string(key), Kind: protocol.KindTransient, Err: errors.New("the body ended early")}
	}
	if n != size {
		return sum, 0, &protocol.Error{Op: op, Object: string(key), Kind: protocol.KindTransient, Err: io.ErrUnexpectedEOF}
	}
	return [16]byte(m.Sum(nil)), c.Sum64(), nil
}

// badDigest is the answer to a body that is not as announced.
func badDigest(op string, key protocol.Key) error {
	return &protocol.Error{Op: op, Object: string(key), Kind: protocol.KindChanged, Status: 400, Code: "BadDigest"}
}

func (s *memoryStore) Put(ctx context.Context, key protocol.Key, h protocol.Headers, body io.ReadSeeker, size int64, sum [16]byte) (r protocol.Receipt, err error) {
	err = s.enter(ctx, "put", key)
	if err == nil {
		var got [16]byte
		if got, _, err = s.receive("put", key, body, size); err == nil && got != sum {
			err = badDigest("put", key)
		}
	}
	if err == nil {
		s.mu.Lock()
		r.ETag = hex.EncodeToString(sum[:])
		s.objects[key] = &protocol.Object{Key: key, Size: size, ETag: r.ETag, ContentType: h.ContentType, Meta: h.Meta}
		s.mu.Unlock()
	}
	if e := s.leave(ctx, "put", key); e != nil && err == nil {
		err = e
	}
	return r, err
}

func (s *memoryStore) StartUpload(ctx context.Context, up *protocol.Upload, h protocol.Headers) (err error) {
	if err = s.enter(ctx, "start", up.Key); err == nil {
		s.mu.Lock()
		s.next++
		up.UploadID, up.CRC64 = fmt.Sprintf("%s#%d", up.Key, s.next), !s.onlyMD5
		s.uploads[up.UploadID], s.heads[up.UploadID] = map[int32]sentPart{}, h
		if s.vain > 0 {
			s.vain--
			err = s3Error(protocol.KindTransient, 503)
		}
		s.mu.Unlock()
	}
	if e := s.leave(ctx, "start", up.Key); e != nil { // the answer is lost, and the id with it
		up.UploadID, err = "", errors.Join(err, e)
	}
	return err
}

// sentPart is what a server has of a part.
type sentPart struct {
	protocol.Part
	md5 [16]byte
}

func (s *memoryStore) UploadPart(ctx context.Context, up *protocol.Upload, p protocol.Part, sum [16]byte, body io.ReadSeeker) (string, error) {
	err := s.enter(ctx, "part", up.Key)
	got := sentPart{Part: p}
	if err == nil {
		var crc uint64
		got.md5, crc, err = s.receive("part", up.Key, body, p.Size)
		if err == nil && (up.CRC64 && crc != p.CRC64 || !up.CRC64 && (got.md5 != sum || p.CRC64 != 0)) {
			err = badDigest("part", up.Key)
		}
	}
	got.ETag = hex.EncodeToString(got.md5[:])
	if err == nil {
		s.mu.Lock()
		if s.uploads[up.UploadID] == nil {
			err = s3Error(protocol.KindNotFound, 404)
		} else {
			s.uploads[up.UploadID][p.Number] = got
		}
		s.mu.Unlock()
	}
	return got.ETag, errors.Join(err, s.leave(ctx, "part", up.Key))
}

func (s *memoryStore) FinishUpload(ctx context.Context, up *protocol.Upload) (r protocol.Receipt, err error) {
	key := up.Key
	if err = s.enter(ctx, "finish", key); err == nil {
		s.mu.Lock()
		if s.uploads[up.UploadID] == nil {
			err = s3Error(protocol.KindNotFound, 404)
		} else {
			var sums [][16]byte
			var size int64
			for i, p := range up.Parts {
				got := s.uploads[up.UploadID][p.Number]
				if p.Number != int32(i+1) || got.Part != p {
					err = errors.Join(err, fmt.Errorf("part %d is not number %d of what was sent", p.Number, i+1))
				}
				sums, size = append(sums, got.md5), size+p.Size
			}
			if err == nil {
				r.ETag = compositeETag(sums)
				h := s.heads[up.UploadID]
				s.objects[key] = &protocol.Object{Key: key, Size: size, ETag: r.ETag, ContentType: h.ContentType, Meta: h.Meta}
				delete(s.uploads, up.UploadID)
			}
		}
		s.mu.Unlock()
	}
	if e := s.leave(ctx, "finish", key); e != nil && err == nil {
		err = e
	}
	return r, err
}

// reopen keeps an upload although its object was made.
func (s *memoryStore) reopen(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads[id] = map[int32]sentPart{}
}

func (s *memoryStore) AbortUnknown(_ context.Context, key protocol.Key, _ time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.uploads {
		if strings.HasPrefix(id, string(key)+"#") {
			delete(s.uploads, id)
			s.aborted++
		}
	}
	return nil
}

func (s *memoryStore) AbortUpload(ctx context.Context, key protocol.Key, id string) error {
	err := s.enter(ctx, "abort", key)
	if err == nil {
		s.mu.Lock()
		if s.uploads[id] == nil {
			err = s3Error(protocol.KindNotFound, 404)
		}
		delete(s.uploads, id)
		s.aborted++
		s.mu.Unlock()
	}
	return errors.Join(err, s.leave(ctx, "abort", key))
}

func (s *memoryStore) Copy(ctx context.Context, src protocol.ObjectID, key protocol.Key, h *protocol.Headers, ifMatch string) (r protocol.Receipt, err error) {
	if err = s.enter(ctx, "copy", key); err == nil {
		s.mu.Lock()
		o := s.objects[src.Key]
		switch {
		case o == nil:
			err = s3Error(protocol.KindNotFound, 404)
		case ifMatch != "" && o.ETag != ifMatch:
			err = s3Error(protocol.KindChanged, 412)
		default:
			c := *o
			c.Key, c.Meta = key, maps.Clone(o.Meta)
			if h != nil {
				c.ContentType, c.Meta = h.ContentType, h.Meta
			}
			if s.copied != nil {
				s.copied(&c)
			}
			s.objects[key] = &c
			r.ETag = c.ETag
		}
		s.mu.Unlock()
	}
	return r, errors.Join(err, s.leave(ctx, "copy", key))
}

func (s *memoryStore) Delete(ctx context.Context, key protocol.Key) error {
	err := s.enter(ctx, "delete", key)
	if err == nil {
		s.mu.Lock()
		delete(s.objects, key)
		s.mu.Unlock()
	}
	return errors.Join(err, s.leave(ctx, "delete", key))
}

func (s *memoryStore) Head(ctx context.Context, key protocol.Key) (o *protocol.Object, err error) {
	if err = s.enter(ctx, "head", key); err == nil {
		if o = s.object(key); o == nil {
			err = s3Error(protocol.KindNotFound, 404)
		}
	}
	return o, errors.Join(err, s.leave(ctx, "head", key))
}

func (s *memoryStore) Probe(ctx context.Context) error {
	s.mu.Lock()
	s.calls["probe"]++
	s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.probe != nil {
		return s.probe()
	}
	return nil
}

// forPrefix is a before that answers err to requests op, or to all if op is empty, for keys with the prefix.
func forPrefix(prefix, op string, err error) func(context.Context, string, protocol.Key) error {
	return func(_ context.Context, o string, k protocol.Key) error {
		if strings.HasPrefix(string(k), prefix) && (op == "" || op == o) {
			return err
		}
		return nil
	}
}
