// Package buckettest is the contract of package bucket as tests, to be run against every kind of server. What a server
// cannot do is named by the caller with the reason, and skipped with it.
package buckettest

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

// Target is a server to run the contract against.
type Target struct {
	// Config makes a bucket and says how to reach it.
	Config func(t *testing.T, bucketName string) bucket.Config
	// Lacks names the tests that the server cannot pass, with the reason.
	Lacks map[string]string
}

// Run runs every test of the contract as a subtest.
func Run(t *testing.T, target Target) {
	for _, c := range []struct {
		name string
		run  func(*suite)
	}{
		{"PutHeadGet", (*suite).putHeadGet},
		{"OddKeys", (*suite).oddKeys},
		{"FolderObject", (*suite).folderObject},
		{"Replace", (*suite).replace},
		{"BodyIsNotTheMD5", (*suite).wrongMD5},
		{"BodyEndsEarly", (*suite).shortBody},
		{"BodyIsLonger", (*suite).longBody},
		{"BodyFails", (*suite).failingBody},
		{"LongKey", (*suite).longKey},
		{"Delete", (*suite).remove},
		{"FileAndFolder", (*suite).shadow},
		{"Multipart", (*suite).multipart},
		{"MultipartByCRC64", (*suite).crc64},
		{"MultipartAbort", (*suite).multipartAbort},
		{"FinishTwice", (*suite).finishTwice},
		{"Uploads", (*suite).uploads},
		{"Copy", (*suite).copies},
		{"CopyOddKeys", (*suite).copyOddKeys},
		{"CopyReplacesMetadata", (*suite).copyReplace},
		{"CopyIfMatch", (*suite).copyIfMatch},
		{"CopyMissing", (*suite).copyMissing},
		{"CopyByParts", (*suite).copyParts},
		{"List", (*suite).list},
		{"ListOrder", (*suite).listOrder},
		{"ListDelimiter", (*suite).listDelimiter},
		{"ListStops", (*suite).listStops},
		{"WrongSecret", (*suite).wrongSecret},
		{"NoBucket", (*suite).noBucket},
		{"Check", (*suite).check},
		{"Cancelled", (*suite).cancelled},
		{"Together", (*suite).together},
	} {
		t.Run(c.name, func(t *testing.T) {
			if why := target.Lacks[c.name]; why != "" {
				t.Skip(why)
			}
			name := strings.ToLower("t-" + c.name)
			cfg := target.Config(t, name)
			c.run(&suite{T: t, target: target, cfg: cfg, b: open(t, cfg)})
		})
	}
}

type suite struct {
	*testing.T
	target Target
	cfg    bucket.Config
	b      *bucket.Bucket
}

func open(t *testing.T, cfg bucket.Config) *bucket.Bucket {
	t.Helper()
	b, err := bucket.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// Odd is keys that something on the way tends to spoil.
var Odd = []protocol.Key{
	"plain.txt", "with space.txt", "a+b.txt", "50%.txt", "100%25.txt", "what?.txt", "a&b=c.txt", "semi;colon|bar.txt", "hash#tag.txt",
	"é.txt", "日本/語.txt", "emoji 😀.txt", "tilde~star*.txt", "quo\"te'.txt", "br[ack]{et}.txt", "a:b@c!$,d.txt", "deep/er/and/deeper/x",
	"back\\slash.txt", "<xml>&amp;.txt", "cafe\u0301.txt", "^caret`tick.txt", "dots..in.name", "-dash", "_under", "trail..",
}

// put writes a small object and fails the test if that fails.
func (s *suite) put(b *bucket.Bucket, key protocol.Key, content string, h protocol.Headers) protocol.Receipt {
	s.Helper()
	r, err := b.Put(s.Context(), key, h, strings.NewReader(content), int64(len(content)), md5.Sum([]byte(content)))
	if err != nil {
		s.Fatalf("Put %q: %v", key, err)
	}
	return r
}

// content reads an object.
func (s *suite) content(b *bucket.Bucket, key protocol.Key) string {
	s.Helper()
	r, _, err := b.Get(s.Context(), key)
	if err != nil {
		s.Fatalf("Get %q: %v", key, err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		s.Fatalf("Get %q: %v", key, err)
	}
	return string(data)
}

// kind fails the test if err is not of the kind, or not one that a person can act on.
func (s *suite) kind(err error, want protocol.Kind) {
	s.Helper()
	_ = s.failed(err, want)
}

// failed is kind that returns the error.
func (s *suite) failed(err error, want protocol.Kind) *protocol.Error {
	s.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) {
		s.Fatalf("error is %T (%v), not a *protocol.Error", err, err)
	}
	if e.Kind != want {
		s.Fatalf("kind is %q, not %q: %v", e.Kind, want, err)
	}
	if e.Op == "" || !strings.HasPrefix(e.Object, "/") && e.Object != "the body" {
		s.Errorf("error without operation or object: %#v", e)
	}
	if strings.Contains(err.Error(), s.cfg.SecretAccessKey) {
		s.Errorf("the error holds the secret: %v", err)
	}
	return e
}

// absent fails the test if there is an object.
func (s *suite) absent(key protocol.Key) {
	s.Helper()
	_, err := s.b.Head(s.Context(), key)
	s.kind(err, protocol.KindNotFound)
}

var headers = protocol.Headers{ContentType: "image/x-png", Meta: map[string]string{"mode": "0100644", "uid": "1000", "gid": "1000", "mtime": "1700000000.123456789"}}

func (s *suite) same(o *protocol.Object, h protocol.Headers) {
	s.Helper()
	if o.ContentType != h.ContentType {
		s.Errorf("content type of %q is %q, not %q", o.Key, o.ContentType, h.ContentType)
	}
	for name, want := range h.Meta {
		if got := o.Meta[name]; got != want {
			s.Errorf("metadata %s of %q is %q, not %q", name, o.Key, got, want)
		}
	}
}

func (s *suite) head(b *bucket.Bucket, key protocol.Key) *protocol.Object {
	s.Helper()
	o, err := b.Head(s.Context(), key)
	if err != nil {
		s.Fatalf("Head %q: %v", key, err)
	}
	return o
}

func hexMD5(content string) string { return fmt.Sprintf("%x", md5.Sum([]byte(content))) }

func (s *suite) putHeadGet() {
	const content = "some bytes"
	r := s.put(s.b, "a/b.png", content, headers)
	if r.ETag != hexMD5(content) {
		s.Errorf("ETag is %q, not the MD5", r.ETag)
	}
	o := s.head(s.b, "a/b.png")
	s.same(o, headers)
	if o.Size != int64(len(content)) || o.ETag != r.ETag || o.Modified.IsZero() || o.Key != "a/b.png" {
		s.Errorf("Head: %+v", o)
	}
	if len(o.Header["Content-Type"]) != 1 || len(o.Header["Etag"]) != 1 {
		s.Errorf("raw headers: %v", o.Header)
	}
	if got := s.content(s.b, "a/b.png"); got != content {
		s.Errorf("content is %q", got)
	}
	s.absent("a/c.png")
	s.put(s.b, "empty", "", protocol.Headers{ContentType: "text/plain"})
	if o := s.head(s.b, "empty"); o.Size != 0 || o.ETag != hexMD5("") {
		s.Errorf("empty object: %+v", o)
	}
	big := strings.Repeat("0123456789abcdef", 3<<16) // 3 MiB: above the size from which "Expect: 100-continue" is sent
	if r := s.put(s.b, "big", big, headers); r.ETag != hexMD5(big) {
		s.Errorf("ETag of the big one is %q", r.ETag)
	}
	if got := s.content(s.b, "big"); got != big {
		s.Error("the big one came back different")
	}
}

func (s *suite) oddKeys() {
	for _, key := range Odd {
		s.put(s.b, key, string(key), headers)
	}
	for _, key := range Odd {
		if got := s.content(s.b, key); got != string(key) {
			s.Errorf("content of %q is %q", key, got)
		}
		s.same(s.head(s.b, key), headers)
	}
	want := slices.Sorted(slices.Values(Odd))
	if got := s.keys(s.b, "", "", ""); !slices.Equal(got, want) {
		s.Errorf("listed\n%q, not\n%q", got, want)
	}
	for _, key := range Odd {
		if err := s.b.Delete(s.Context(), key); err != nil {
			s.Errorf("Delete %q: %v", key, err)
		}
	}
	if got := s.keys(s.b, "", "", ""); len(got) != 0 {
		s.Errorf("left over: %q", got)
	}
}

func (s *suite) folderObject() {
	h := protocol.Headers{ContentType: "application/x-directory", Meta: map[string]string{"mode": "040755"}}
	s.put(s.b, "dir/", "", h)
	s.put(s.b, "dir/file", "x", headers)
	s.put(s.b, "dir/sub/", "", h)
	o := s.head(s.b, "dir/")
	s.same(o, h)
	if o.Size != 0 {
		s.Errorf("a folder object of %d bytes", o.Size)
	}
	if got, want := s.keys(s.b, "", "", ""), []protocol.Key{"dir/", "dir/file", "dir/sub/"}; !slices.Equal(got, want) {
		s.Errorf("listed %q, not %q", got, want)
	}
	h.Meta = map[string]string{"mode": "040700"}
	s.put(s.b, "dir/", "", h)
	s.same(s.head(s.b, "dir/"), h)
	for _, key := range []protocol.Key{"dir/file", "dir/sub/", "dir/"} {
		if err := s.b.Delete(s.Context(), key); err != nil {
			s.Errorf("Delete %q: %v", key, err)
		}
	}
	s.absent("dir/")
}

func (s *suite) replace() {
	s.put(s.b, "k", "one", headers)
	s.put(s.b, "k", "the second", protocol.Headers{ContentType: "text/plain", Meta: map[string]string{"mode": "0100600"}})
	o := s.head(s.b, "k")
	if o.ContentType != "text/plain" || o.Meta["mode"] != "0100600" || o.Meta["uid"] != "" || s.content(s.b, "k") != "the second" {
		s.Errorf("after a second Put: %+v", o)
	}
}

func (s *suite) wrongMD5() {
	_, err := s.b.Put(s.Context(), "k", headers, strings.NewReader("changed!"), 8, md5.Sum([]byte("original")))
	s.kind(err, protocol.KindChanged)
	s.absent("k")
}

func (s *suite) shortBody() {
	const content = "only this"
	_, err := s.b.Put(s.Context(), "k", headers, strings.NewReader(content), 1000, md5.Sum([]byte(content)))
	s.kind(err, protocol.KindChanged)
	s.absent("k")
}

func (s *suite) longBody() {
	const content = "only this"
	if _, err := s.b.Put(s.Context(), "k", headers, strings.NewReader(content+" and more"), int64(len(content)), md5.Sum([]byte(content))); err != nil {
		s.Fatal(err)
	}
	if got := s.content(s.b, "k"); got != content {
		s.Errorf("content is %q", got)
	}
}

// failing gives out some bytes and then an error.
type failing struct {
	io.ReadSeeker
	after int64
	err   error
}

func (f *failing) Read(p []byte) (int, error) {
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	if at >= f.after {
		return 0, f.err
	}
	return f.ReadSeeker.Read(p[:min(int64(len(p)), f.after-at)])
}

func (s *suite) failingBody() {
	for _, size := range []int64{1000, 3 << 20} {
		content := bytes.Repeat([]byte("x"), int(size))
		cause := errors.New("it was written to")
		body := &failing{bytes.NewReader(content), size - 1, &protocol.Error{Op: "read", Object: "/tmp/x", Kind: protocol.KindChanged, Err: cause}}
		_, err := s.b.Put(s.Context(), "k", headers, body, size, md5.Sum(content))
		s.kind(err, protocol.KindChanged)
		if !errors.Is(err, cause) {
			s.Errorf("%d bytes: the source's own error is lost: %v", size, err)
		}
		s.absent("k")
	}
}

func (s *suite) longKey() {
	key := protocol.Key(strings.Repeat("0123456789/", 93) + "x") // 1,024 bytes
	s.put(s.b, key, "x", headers)
	if got := s.content(s.b, key); got != "x" {
		s.Errorf("content is %q", got)
	}
	_, err := s.b.Put(s.Context(), key+"y", headers, strings.NewReader("x"), 1, md5.Sum([]byte("x")))
	if err == nil {
		s.Log("this server takes keys above 1,024 bytes")
		return
	}
	s.kind(err, protocol.KindItem)
}

func (s *suite) remove() {
	if err := s.b.Delete(s.Context(), "never/there"); err != nil {
		s.Errorf("Delete of nothing: %v", err)
	}
	s.put(s.b, "k", "x", headers)
	for range 2 {
		if err := s.b.Delete(s.Context(), "k"); err != nil {
			s.Errorf("Delete: %v", err)
		}
		s.absent("k")
	}
}

// shadow: a name that is both a file and a folder is fine with S3 itself, and otherwise the instruction's problem.
func (s *suite) shadow() {
	s.put(s.b, "x", "a file", headers)
	if _, err := s.b.Put(s.Context(), "x/y", headers, strings.NewReader("x"), 1, md5.Sum([]byte("x"))); err != nil {
		s.kind(err, protocol.KindItem)
	}
	s.put(s.b, "d/y", "in a folder", headers)
	if _, err := s.b.Put(s.Context(), "d", headers, strings.NewReader("x"), 1, md5.Sum([]byte("x"))); err != nil {
		s.kind(err, protocol.KindItem)
	}
	if err := s.b.Delete(s.Context(), "x"); err != nil {
		s.Errorf("Delete x: %v", err)
	}
	s.put(s.b, "x/y", "now it can", headers)
}
