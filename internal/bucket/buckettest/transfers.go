package buckettest

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/minio/crc64nvme"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

// minPart is the least size of a part that is not the last (Amazon S3 User Guide).
const minPart = 5 << 20

// pieces returns n parts of the least size and a short one, all different.
func pieces(n int) [][]byte {
	parts := make([][]byte, 0, n+1)
	for i := range n {
		parts = append(parts, bytes.Repeat([]byte{byte('a' + i)}, minPart))
	}
	return append(parts, []byte("the tail"))
}

// sendPart sends a part with the right sum.
func (s *suite) sendPart(up *protocol.Upload, number int32, data []byte) protocol.Part {
	s.Helper()
	p := protocol.Part{Number: number, Size: int64(len(data))}
	if up.CRC64 {
		p.CRC64 = crc64nvme.Checksum(data)
	}
	etag, err := s.b.UploadPart(s.Context(), up, p, md5.Sum(data), bytes.NewReader(data))
	if err != nil {
		s.Fatalf("UploadPart %d: %v", number, err)
	}
	p.ETag = etag
	return p
}

// upload sends parts without finishing.
func (s *suite) upload(key protocol.Key, data [][]byte) *protocol.Upload {
	s.Helper()
	up := &protocol.Upload{Key: key, Parts: make([]protocol.Part, len(data))}
	if err := s.b.StartUpload(s.Context(), up, headers); err != nil {
		s.Fatalf("StartUpload: %v", err)
	}
	for i := len(data) - 1; i >= 0; i-- { // in any order
		up.Parts[i] = s.sendPart(up, int32(i+1), data[i])
	}
	return up
}

// composite is the ETag of an object made of parts.
func composite(data [][]byte) string {
	h := md5.New()
	for _, d := range data {
		sum := md5.Sum(d)
		h.Write(sum[:])
	}
	return fmt.Sprintf("%x-%d", h.Sum(nil), len(data))
}

func (s *suite) multipart() {
	const key = "big files/日本 +%.bin"
	data := pieces(2)
	up := s.upload(key, data)
	s.absent(key)
	// A part that is sent again replaces itself.
	data[1] = bytes.Repeat([]byte("z"), minPart)
	up.Parts[1] = s.sendPart(up, 2, data[1])
	r, err := s.b.FinishUpload(s.Context(), up)
	if err != nil {
		s.Fatal(err)
	}
	if r.ETag != composite(data) {
		s.Errorf("ETag is %q, not %q", r.ETag, composite(data))
	}
	o := s.head(s.b, key)
	s.same(o, headers)
	if o.ETag != r.ETag || o.Size != 2*minPart+8 {
		s.Errorf("Head: %+v", o)
	}
	if s.content(s.b, key) != string(bytes.Join(data, nil)) {
		s.Error("the content is different")
	}
	for o, err := range s.b.List(s.Context(), "big files/", "", "") {
		if err != nil || o.ETag != r.ETag {
			s.Errorf("List: %+v, %v", o, err)
		}
	}
	// A changed part is refused.
	up = s.upload(key, data)
	wrong := protocol.Part{Number: 3, Size: 5, CRC64: 1}
	_, err = s.b.UploadPart(s.Context(), up, wrong, md5.Sum([]byte("right")), strings.NewReader("other"))
	s.kind(err, protocol.KindChanged)
	up.Parts[0].ETag = hexMD5("something else")
	_, err = s.b.FinishUpload(s.Context(), up)
	s.kind(err, protocol.KindItem)
	if err := s.b.AbortUpload(s.Context(), key, up.UploadID); err != nil {
		s.Error(err)
	}
}

// crc64: the server says that it checks by CRC-64, and makes no object of parts with a wrong sum.
func (s *suite) crc64() {
	const key = "big"
	data := pieces(2)
	up := s.upload(key, data)
	if !up.CRC64 {
		s.Fatal("the server knows nothing of CRC-64")
	}
	right := up.Parts[1].CRC64
	up.Parts[1].CRC64++
	_, err := s.b.FinishUpload(s.Context(), up)
	if k := protocol.KindOf(err); k != protocol.KindChanged && k != protocol.KindItem { // of the part, or of the whole
		s.Errorf("a wrong sum: %v", err)
	}
	s.absent(key)
	up.Parts[1].CRC64 = right
	if _, err := s.b.FinishUpload(s.Context(), up); err != nil {
		s.Fatal(err)
	}
	if s.content(s.b, key) != string(bytes.Join(data, nil)) {
		s.Error("the content is different")
	}
}

func (s *suite) multipartAbort() {
	const key = "big"
	up := s.upload(key, pieces(1))
	for range 2 {
		if err := s.b.AbortUpload(s.Context(), key, up.UploadID); err != nil {
			s.Errorf("AbortUpload: %v", err)
		}
	}
	s.absent(key)
	_, err := s.b.UploadPart(s.Context(), up, protocol.Part{Number: 1, Size: 1, CRC64: crc64nvme.Checksum([]byte("x"))}, md5.Sum([]byte("x")), strings.NewReader("x"))
	s.kind(err, protocol.KindNotFound)
	_, err = s.b.FinishUpload(s.Context(), up)
	s.kind(err, protocol.KindNotFound)
}

func (s *suite) finishTwice() {
	up := s.upload("big", pieces(1))
	first, err := s.b.FinishUpload(s.Context(), up)
	if err != nil {
		s.Fatal(err)
	}
	again, err := s.b.FinishUpload(s.Context(), up)
	if err != nil || again.ETag != first.ETag {
		s.Errorf("%+v, %v", again, err)
	}
}

func (s *suite) uploads() {
	const key = "up/load ä+%.bin"
	for range s.b.Uploads(s.Context(), key) {
		s.Error("an upload that nobody began")
	}
	up := s.upload(key, pieces(0))
	found := 0
	for u, err := range s.b.Uploads(s.Context(), key) {
		if err != nil {
			s.Fatal(err)
		}
		if u.Key != key || u.UploadID != up.UploadID || u.Began.IsZero() {
			s.Errorf("%+v, not %q %q", u, key, up.UploadID)
		}
		found++
		if err := s.b.AbortUpload(s.Context(), u.Key, u.UploadID); err != nil {
			s.Error(err)
		}
	}
	if found != 1 {
		s.Errorf("%d uploads found", found)
	}
	for u, err := range s.b.Uploads(s.Context(), key) {
		s.Errorf("still there: %+v, %v", u, err)
	}
}

func (s *suite) id(key protocol.Key) protocol.ObjectID {
	return protocol.ObjectID{Bucket: s.b.Name(), Key: key}
}

func (s *suite) copies() {
	s.put(s.b, "from", "the content", headers)
	r, err := s.b.Copy(s.Context(), s.id("from"), "to/here", nil, "")
	if err != nil {
		s.Fatal(err)
	}
	if r.ETag != hexMD5("the content") {
		s.Errorf("ETag is %q", r.ETag)
	}
	s.same(s.head(s.b, "to/here"), headers)
	if got := s.content(s.b, "to/here"); got != "the content" {
		s.Errorf("content is %q", got)
	}
	other := open(s.T, s.target.Config(s.T, "t-copy-other"))
	s.put(other, "over there", "foreign", headers)
	if _, err := s.b.Copy(s.Context(), protocol.ObjectID{Bucket: "t-copy-other", Key: "over there"}, "here", nil, ""); err != nil {
		s.Fatal(err)
	}
	if got := s.content(s.b, "here"); got != "foreign" {
		s.Errorf("content is %q", got)
	}
}

func (s *suite) copyOddKeys() {
	for _, key := range Odd {
		s.put(s.b, key, string(key), headers)
		if _, err := s.b.Copy(s.Context(), s.id(key), "copy of/"+key, nil, ""); err != nil {
			s.Errorf("Copy %q: %v", key, err)
			continue
		}
		if got := s.content(s.b, "copy of/"+key); got != string(key) {
			s.Errorf("the copy of %q holds %q", key, got)
		}
	}
}

func (s *suite) copyReplace() {
	s.put(s.b, "k", "x", headers)
	h := protocol.Headers{ContentType: "text/css", Meta: map[string]string{"mode": "0100600", "mtime": "1"}}
	if _, err := s.b.Copy(s.Context(), s.id("k"), "k", &h, hexMD5("x")); err != nil {
		s.Fatal(err)
	}
	o := s.head(s.b, "k")
	s.same(o, h)
	if o.Meta["uid"] != "" || o.ETag != hexMD5("x") || s.content(s.b, "k") != "x" {
		s.Errorf("after the copy onto itself: %+v", o)
	}
}

func (s *suite) copyIfMatch() {
	s.put(s.b, "k", "one", headers)
	if _, err := s.b.Copy(s.Context(), s.id("k"), "c", nil, hexMD5("one")); err != nil {
		s.Errorf("with the right ETag: %v", err)
	}
	_, err := s.b.Copy(s.Context(), s.id("k"), "d", nil, hexMD5("two"))
	s.kind(err, protocol.KindChanged)
	s.absent("d")
}

func (s *suite) copyMissing() {
	_, err := s.b.Copy(s.Context(), s.id("nothing"), "c", nil, "")
	if e := s.failed(err, protocol.KindNotFound); e.Object != s.id("nothing").String() {
		s.Errorf("the error names %q", e.Object)
	}
	// Another bucket that is not there says nothing about ours.
	_, err = s.b.Copy(s.Context(), protocol.ObjectID{Bucket: "no-such-bucket-at-all", Key: "k"}, "c", nil, "")
	s.kind(err, protocol.KindItem)
	s.absent("c")
}

// tooLarge answers copies in one request as S3 does above its limit.
type tooLarge struct{ rt http.RoundTripper }

func (l tooLarge) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("X-Amz-Copy-Source") == "" || r.URL.Query().Has("partNumber") {
		return l.rt.RoundTrip(r)
	}
	const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>InvalidRequest</Code><Message>The specified copy source is larger than the maximum allowable size for a copy source: 5368709120</Message></Error>`
	return &http.Response{StatusCode: http.StatusBadRequest, Header: http.Header{"Content-Type": {"application/xml"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r, ProtoMajor: 1, ProtoMinor: 1}, nil
}

func (s *suite) copyParts() {
	t, err := bucket.NewTransport(bucket.TransportConfig{})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(t.CloseIdleConnections)
	cfg := s.cfg
	cfg.CopyLimit, cfg.CopyPart, cfg.Transport = minPart, minPart, tooLarge{t}
	b := open(s.T, cfg)

	data := pieces(2)
	whole := string(bytes.Join(data, nil))
	r := s.put(s.b, "sör ce+", whole, headers)
	got, err := b.Copy(s.Context(), s.id("sör ce+"), "copy", nil, r.ETag)
	if err != nil {
		s.Fatal(err)
	}
	if got.ETag != composite(data) {
		s.Errorf("ETag is %q, not %q", got.ETag, composite(data))
	}
	s.same(s.head(s.b, "copy"), headers)
	if s.content(s.b, "copy") != whole {
		s.Error("the copy is different")
	}
	h := protocol.Headers{ContentType: "text/css", Meta: map[string]string{"mode": "0100600"}}
	if _, err := b.Copy(s.Context(), s.id("copy"), "copy2", &h, ""); err != nil {
		s.Fatal(err)
	}
	if o := s.head(s.b, "copy2"); o.ContentType != "text/css" || o.Meta["uid"] != "" {
		s.Errorf("Head: %+v", o)
	}
	_, err = b.Copy(s.Context(), s.id("copy"), "copy3", nil, r.ETag)
	s.kind(err, protocol.KindChanged)
	s.absent("copy3")

	other := open(s.T, s.target.Config(s.T, "t-parts-other"))
	s.put(other, "k", whole, headers)
	if _, err := b.Copy(s.Context(), protocol.ObjectID{Bucket: "t-parts-other", Key: "k"}, "from there", nil, ""); err != nil {
		s.Error(err)
	}
	for u := range s.b.Uploads(s.Context(), "") {
		s.Errorf("an upload stays open: %+v", u)
	}
	// A small one that is refused for the same code is refused.
	s.put(s.b, "small", "x", headers)
	_, err = b.Copy(s.Context(), s.id("small"), "copy4", nil, "")
	s.kind(err, protocol.KindItem)
}
