package nulls3

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/crc64nvme"
)

// object is what is kept of an object, in as few bytes as that takes: there may be millions.
type object struct {
	size  int64
	at    int64 // when it was written, in nanoseconds since 1970
	head  string
	sum   [md5.Size]byte
	parts int32 // 0: one PUT
}

// etag is without quotes.
func (o object) etag() string {
	if o.parts == 0 {
		return hex.EncodeToString(o.sum[:])
	}
	return fmt.Sprintf("%x-%d", o.sum, o.parts)
}

// bucket is under the lock of the server.
type bucket struct {
	objects map[string]object
	files   int   // keys that do not end in a slash
	bytes   int64 // in the objects
	last    int64 // when one was written last

	sorted []string // keys in order; deleted ones stay until the next merge
	fresh  []string // keys that are not in sorted yet
	dead   int      // keys in sorted that are deleted
}

func newBucket() *bucket { return &bucket{objects: map[string]object{}} }

func isFile(key string) bool { return !strings.HasSuffix(key, "/") }

// put writes an object.
func (b *bucket) put(key string, o object) {
	old, there := b.objects[key]
	b.objects[key] = o
	b.bytes += o.size - old.size
	b.last = o.at
	if there {
		return
	}
	b.fresh = append(b.fresh, key)
	if isFile(key) {
		b.files++
	}
}

func (b *bucket) drop(key string) {
	old, there := b.objects[key]
	if !there {
		return
	}
	delete(b.objects, key)
	b.bytes -= old.size
	b.dead++
	if isFile(key) {
		b.files--
	}
}

// keys returns all keys in order, and perhaps some that are deleted. It is good until the lock is let go.
func (b *bucket) keys() []string {
	if len(b.fresh) == 0 && b.dead == 0 {
		return b.sorted
	}
	slices.Sort(b.fresh)
	merged := make([]string, 0, len(b.objects)+b.dead)
	i, k := 0, 0
	for i < len(b.sorted) || k < len(b.fresh) {
		var key string
		if k == len(b.fresh) || i < len(b.sorted) && b.sorted[i] <= b.fresh[k] {
			key = b.sorted[i]
			i++
		} else {
			key = b.fresh[k]
			k++
		}
		if _, there := b.objects[key]; there && (len(merged) == 0 || merged[len(merged)-1] != key) {
			merged = append(merged, key)
		}
	}
	b.sorted, b.fresh, b.dead = merged, nil, 0
	return merged
}

// commit writes an object if the conditions of the request hold, and wakes who waits for it.
func (s *Server) commit(r *request, o object) bool {
	s.mu.Lock()
	b := s.buckets[r.bucket]
	if b == nil {
		s.mu.Unlock()
		s.fail(r, http.StatusNotFound, "NoSuchBucket", "there is no bucket "+r.bucket)
		return false
	}
	old, there := b.objects[r.key]
	if none := r.Header.Get("If-None-Match"); none == "*" && there ||
		!matches(r.Header.Get("If-Match"), old, there) {
		s.mu.Unlock()
		s.fail(r, http.StatusPreconditionFailed, "PreconditionFailed", "the object is not what the request expects")
		return false
	}
	o.at = time.Now().UnixNano()
	b.put(r.key, o)
	s.wake(r.bucket, r.key, b)
	s.mu.Unlock()
	return true
}

// matches reports whether an If-Match header lets the request through.
func matches(want string, o object, there bool) bool {
	return want == "" || there && (want == "*" || strings.Trim(want, `"`) == o.etag())
}

// head packs the content type and the user's metadata: name, 0, value, 0, and so on.
func head(h http.Header) string {
	var text strings.Builder
	for name, values := range h {
		if name == "Content-Type" || strings.HasPrefix(name, "X-Amz-Meta-") {
			text.WriteString(name + "\x00" + values[0] + "\x00")
		}
	}
	return text.String()
}

// reader is what reads a body: a buffer, by which a small body is one read, and a hash. It is used again.
type reader struct {
	buf [64 << 10]byte
	sum hash.Hash
}

// checksum is the header by which parts are checked instead of by Content-MD5.
const checksum = "X-Amz-Checksum-Crc64nvme"

var errDigest = errors.New("the checksum is not that of the body")

// receive reads a body to its end.
func (in *reader) receive(r *request) (size int64, sum [md5.Size]byte, err error) {
	var body io.Reader = r.Body
	if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		body = newChunked(r.Body)
	}
	in.sum.Reset()
	var crc hash.Hash
	wantCRC := r.Header.Get(checksum)
	if wantCRC != "" {
		crc = crc64nvme.New()
	}
	for err == nil {
		var n int
		n, err = body.Read(in.buf[:])
		in.sum.Write(in.buf[:n])
		if crc != nil {
			crc.Write(in.buf[:n])
		}
		size += int64(n)
	}
	in.sum.Sum(sum[:0])
	if !errors.Is(err, io.EOF) {
		return 0, sum, err
	}
	if want := r.Header.Get("Content-Md5"); want != "" && want != base64.StdEncoding.EncodeToString(sum[:]) {
		return 0, sum, errDigest
	}
	if crc != nil && wantCRC != base64.StdEncoding.EncodeToString(crc.Sum(nil)) {
		return 0, sum, errDigest
	}
	return size, sum, nil
}

// received is receive, with its errors answered.
func (s *Server) received(r *request) (size int64, sum [md5.Size]byte, ok bool) {
	in, _ := s.readers.Get().(*reader)
	defer s.readers.Put(in)
	size, sum, err := in.receive(r)
	switch {
	case errors.Is(err, errDigest):
		s.fail(r, http.StatusBadRequest, "BadDigest", err.Error())
	case err != nil:
		s.fail(r, http.StatusBadRequest, "IncompleteBody", err.Error())
	}
	return size, sum, err == nil
}

func (s *Server) putObject(r *request) {
	size, sum, ok := s.received(r)
	if !ok || !s.commit(r, object{size: size, sum: sum, head: head(r.Header)}) {
		return
	}
	r.w.Header()["Etag"] = []string{`"` + hex.EncodeToString(sum[:]) + `"`}
	s.answer(r, http.StatusOK)
}

// find returns an object, or answers that there is none.
func (s *Server) find(r *request, bucket, key string) (object, bool) {
	s.mu.Lock()
	var o object
	b, there := s.buckets[bucket], false
	if b != nil {
		o, there = b.objects[key]
	}
	s.mu.Unlock()
	switch {
	case b == nil:
		s.fail(r, http.StatusNotFound, "NoSuchBucket", "there is no bucket "+bucket)
	case !there:
		s.fail(r, http.StatusNotFound, "NoSuchKey", "there is no object "+key)
	}
	return o, there
}

func (s *Server) headObject(r *request) {
	o, ok := s.find(r, r.bucket, r.key)
	if !ok {
		return
	}
	h := r.w.Header()
	h["Etag"] = []string{`"` + o.etag() + `"`}
	h["Last-Modified"] = []string{time.Unix(0, o.at).UTC().Format(http.TimeFormat)}
	h["Content-Length"] = []string{strconv.FormatInt(o.size, 10)}
	for rest := o.head; rest != ""; {
		var name, value string
		name, rest, _ = strings.Cut(rest, "\x00")
		value, rest, _ = strings.Cut(rest, "\x00")
		h[name] = []string{value}
	}
	s.answer(r, http.StatusOK)
}

func (s *Server) getObject(r *request) {
	s.fail(r, http.StatusNotImplemented, "NotImplemented", "bodies are not kept here")
}

func (s *Server) deleteObject(r *request) {
	s.mu.Lock()
	if b := s.buckets[r.bucket]; b != nil {
		b.drop(r.key)
	}
	s.mu.Unlock()
	s.answer(r, http.StatusNoContent)
}

func (s *Server) deleteObjects(r *request) {
	var in struct {
		Object []struct{ Key string }
	}
	if err := xml.NewDecoder(r.Body).Decode(&in); err != nil {
		s.fail(r, http.StatusBadRequest, "MalformedXML", err.Error())
		return
	}
	s.mu.Lock()
	if b := s.buckets[r.bucket]; b != nil {
		for _, o := range in.Object {
			b.drop(o.Key)
		}
	}
	s.mu.Unlock()
	s.xml(r, http.StatusOK, []byte(xml.Header+`<DeleteResult xmlns="`+namespace+`"></DeleteResult>`))
}

// source finds the object that a copy reads, and sees to the conditions on it.
func (s *Server) source(r *request) (object, bool) {
	path, err := url.PathUnescape(strings.TrimPrefix(r.Header.Get(copySource), "/"))
	if err != nil {
		s.fail(r, http.StatusBadRequest, "InvalidArgument", err.Error())
		return object{}, false
	}
	bucket, key, _ := strings.Cut(path, "/")
	o, ok := s.find(r, bucket, key)
	if ok && !matches(r.Header.Get("X-Amz-Copy-Source-If-Match"), o, true) {
		s.fail(r, http.StatusPreconditionFailed, "PreconditionFailed", "the source is not what the request expects")
		return object{}, false
	}
	return o, ok
}

func (s *Server) copyObject(r *request) {
	o, ok := s.source(r)
	if !ok {
		return
	}
	if strings.EqualFold(r.Header.Get("X-Amz-Metadata-Directive"), "REPLACE") {
		o.head = head(r.Header)
	}
	if s.commit(r, o) {
		s.copied(r, "CopyObjectResult", o.etag())
	}
}

func (s *Server) copied(r *request, root, etag string) {
	s.xml(r, http.StatusOK, fmt.Appendf(nil, `%s<%s><ETag>&quot;%s&quot;</ETag><LastModified>%s</LastModified></%s>`,
		xml.Header, root, etag, time.Now().UTC().Format(timeFormat), root))
}
