package nulls3_test

import (
	"bytes"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/minio/crc64nvme"

	"s3apu/bench/nulls3"
	"s3apu/internal/bucket"
	"s3apu/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const name = "demo"

// serve starts a server with an empty bucket; control is the URL of its control address.
func serve(t *testing.T, latency time.Duration) (b *bucket.Bucket, endpoint, control string) {
	t.Helper()
	s := nulls3.New(latency)
	srv, ctl := httptest.NewServer(s), httptest.NewServer(s.Control())
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	t.Cleanup(srv.Close)
	t.Cleanup(ctl.Close)
	b, err := bucket.Open(t.Context(), bucket.Config{Bucket: name, Endpoint: srv.URL, AccessKeyID: "any", SecretAccessKey: "any"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b, srv.URL, ctl.URL
}

func put(t *testing.T, b *bucket.Bucket, key protocol.Key, content string) {
	t.Helper()
	h := protocol.Headers{ContentType: "text/css", Meta: map[string]string{"mode": "0100644"}}
	r, err := b.Put(t.Context(), key, h, strings.NewReader(content), int64(len(content)), md5.Sum([]byte(content)))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", md5.Sum([]byte(content))); r.ETag != want {
		t.Errorf("%s: the ETag is %s, not %s", key, r.ETag, want)
	}
}

// ask reads an answer of the control address.
func ask(t *testing.T, control, path string, query url.Values, into any) {
	t.Helper()
	resp, err := http.Get(control + path + "?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// list reads a listing with the client of the agent, which checks its order.
func list(t *testing.T, b *bucket.Bucket, prefix protocol.Key, delimiter string, after protocol.Key) []string {
	t.Helper()
	var all []string
	for o, err := range b.List(t.Context(), prefix, delimiter, after) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(o.Key))
	}
	return all
}

func TestListing(t *testing.T) {
	b, _, _ := serve(t, 0)
	var want []string
	for i := range 1100 { // two pages
		want = append(want, fmt.Sprintf("in/d%02d/%04d", i%50, i))
	}
	want = append(want, "in/a b&<\"é", "in/d07", "in/d07!", "in/d070/x", "zz")
	for _, key := range want {
		put(t, b, protocol.Key(key), key)
	}
	slices.Sort(want)
	if got := list(t, b, "", "", ""); !slices.Equal(got, want) {
		t.Errorf("%d keys are listed, not %d", len(got), len(want))
	}
	below := slices.DeleteFunc(slices.Clone(want), func(k string) bool { return !strings.HasPrefix(k, "in/d07/") })
	if got := list(t, b, "in/d07/", "", ""); !slices.Equal(got, below) {
		t.Errorf("below in/d07/ there is %q", got)
	}
	rest := slices.DeleteFunc(slices.Clone(want), func(k string) bool { return k <= "in/d33/1033" })
	if got := list(t, b, "", "", "in/d33/1033"); !slices.Equal(got, rest) {
		t.Errorf("behind in/d33/1033 there are %d keys, not %d", len(got), len(rest))
	}
	var groups []string
	for _, k := range want {
		if !strings.HasPrefix(k, "in/") {
			continue
		}
		if cut := strings.IndexByte(k[3:], '/'); cut >= 0 {
			k = k[:3+cut+1]
		}
		if !slices.Contains(groups, k) {
			groups = append(groups, k)
		}
	}
	if got := list(t, b, "in/", "/", ""); !slices.Equal(got, groups) {
		t.Errorf("with a delimiter in/ is %q, not %q", got, groups)
	}
	for _, key := range []protocol.Key{"zz", "in/d00/0000", "nothing"} {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	put(t, b, "in/d00/0000", "again")
	want = slices.DeleteFunc(want, func(k string) bool { return k == "zz" })
	if got := list(t, b, "", "", ""); !slices.Equal(got, want) {
		t.Errorf("after deletes %d keys are listed, not %d", len(got), len(want))
	}
}

// TestListingOfVersionOne pages with max-keys through groups, without the agent's client, which does not.
func TestListingOfVersionOne(t *testing.T) {
	b, endpoint, _ := serve(t, 0)
	for _, key := range []protocol.Key{"a/1", "a/2", "b", "c/1", "c/2", "d"} {
		put(t, b, key, "x")
	}
	marker := ""
	for _, want := range []string{"<Prefix>a/</Prefix>", "<Key>b</Key>", "<Prefix>c/</Prefix>", "<Key>d</Key>"} {
		resp, err := http.Get(endpoint + "/" + name + "?delimiter=/&max-keys=1&marker=" + url.QueryEscape(marker))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || strings.Count(string(text), want) != 1 {
			t.Fatalf("behind %q: %s is not in %s: %v", marker, want, text, err)
		}
		_, rest, more := strings.Cut(string(text), "<NextMarker>")
		if last := want == "<Key>d</Key>"; more == last {
			t.Errorf("behind %q: truncated is %v", marker, more)
		}
		marker, _, _ = strings.Cut(rest, "<")
	}
}

func TestMultipart(t *testing.T) {
	b, _, _ := serve(t, 0)
	key := protocol.Key("in/large file.bin")
	up := &protocol.Upload{Key: key}
	if err := b.StartUpload(t.Context(), up, protocol.Headers{Meta: map[string]string{"mode": "0100600"}}); err != nil || !up.CRC64 {
		t.Fatal(up, err)
	}
	sums := md5.New()
	for i := range int32(3) {
		body := bytes.Repeat([]byte{byte(i)}, 100+int(i))
		sum := md5.Sum(body)
		sums.Write(sum[:])
		p := protocol.Part{Number: i + 1, Size: int64(len(body)), CRC64: crc64nvme.Checksum(body)}
		var err error
		if p.ETag, err = b.UploadPart(t.Context(), up, p, sum, bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		up.Parts = append(up.Parts, p)
	}
	wrong := protocol.Part{Number: 3, Size: 1, CRC64: 1}
	if _, err := b.UploadPart(t.Context(), up, wrong, md5.Sum(nil), strings.NewReader("x")); protocol.KindOf(err) != protocol.KindChanged {
		t.Errorf("a part with the sum of another: %v", err)
	}
	r, err := b.FinishUpload(t.Context(), up)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x-3", sums.Sum(nil)); r.ETag != want {
		t.Errorf("the ETag is %s, not %s", r.ETag, want)
	}
	o, err := b.Head(t.Context(), key)
	if err != nil || o.Size != 303 || o.Meta["mode"] != "0100600" {
		t.Errorf("the object is %+v, %v", o, err)
	}
	if _, err := b.Copy(t.Context(), protocol.ObjectID{Bucket: name, Key: key}, "copy", nil, ""); err != nil {
		t.Error(err)
	}
	if o, err := b.Head(t.Context(), "copy"); err != nil || o.ETag != r.ETag {
		t.Errorf("the copy is %+v, %v", o, err)
	}
}

// TestStreamedBody sends a body in the chunks of a streaming signature.
func TestStreamedBody(t *testing.T) {
	b, endpoint, _ := serve(t, 0)
	text := "5;chunk-signature=00\r\nhello\r\n7;chunk-signature=01\r\n, world\r\n0;chunk-signature=02\r\nx-amz-checksum-crc32:AAAA\r\n\r\n"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, endpoint+"/"+name+"/streamed", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	o, err := b.Head(t.Context(), "streamed")
	if want := fmt.Sprintf("%x", md5.Sum([]byte("hello, world"))); err != nil || o.Size != 12 || o.ETag != want {
		t.Errorf("the object is %+v, %v", o, err)
	}
}

func TestWrongDigestMakesNoObject(t *testing.T) {
	b, _, _ := serve(t, 0)
	if _, err := b.Put(t.Context(), "x", protocol.Headers{}, strings.NewReader("one"), 3, md5.Sum([]byte("two"))); err == nil {
		t.Error("a wrong Content-MD5 was taken")
	}
	if _, err := b.Head(t.Context(), "x"); protocol.KindOf(err) != protocol.KindNotFound {
		t.Errorf("there is an object: %v", err)
	}
}

func TestControl(t *testing.T) {
	const latency = 20 * time.Millisecond
	b, _, control := serve(t, latency)
	began := time.Now()
	put(t, b, "in/d/", "") // a folder is no file
	put(t, b, "in/d/a", "1")
	if took := time.Since(began); took < 2*latency {
		t.Errorf("two requests took %v", took)
	}
	var s nulls3.State
	ask(t, control, "/wait", url.Values{"bucket": {name}, "files": {"2"}, "ms": {"1"}}, &s)
	if s.Files != 1 || s.Keys != 2 || s.Bytes != 1 || s.Last == 0 {
		t.Errorf("the bucket is %+v", s)
	}
	done := make(chan nulls3.Arrival)
	go func() {
		var a nulls3.Arrival
		ask(t, control, "/arrival", url.Values{"bucket": {name}, "key": {"in/d/b"}, "after": {"0"}, "ms": {"60000"}}, &a)
		done <- a
	}()
	put(t, b, "in/d/b", "22")
	if a := <-done; a.At == 0 || a.Size != 2 || a.ETag != fmt.Sprintf("%x", md5.Sum([]byte("22"))) {
		t.Errorf("the arrival is %+v", a)
	}
	ask(t, control, "/wait", url.Values{"bucket": {name}, "files": {"2"}, "ms": {"60000"}}, &s)
	if s.Files != 2 {
		t.Errorf("the bucket is %+v", s)
	}
	requests := map[string]int64{}
	ask(t, control, "/requests", nil, &requests)
	if requests["PutObject"] != 3 {
		t.Errorf("the requests are %v", requests)
	}
}
