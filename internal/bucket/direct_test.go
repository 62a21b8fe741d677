package bucket_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

// TestDirectIsWhatTheSDKSends compares the small PUT that is made without the SDK with the one that is made by it: the same line,
// and the same headers but for what the SDK says of itself.
func TestDirectIsWhatTheSDKSends(t *testing.T) {
	alone(t)
	own := []string{"Accept-Encoding", "Amz-Sdk-Invocation-Id", "Amz-Sdk-Request", "User-Agent", "X-Amz-Date", "Authorization"}
	keys := []protocol.Key{"plain", "a b/é", "a//b", "/first", "./x/../y", "dir/", "+&=?#%41;,:@!$'()*[]", "日本/\U0001f600", "a\x01\x7f"}
	for _, at := range []struct{ name, endpoint, region, bucket string }{
		{"AWS", "", "eu-central-1", "my-bucket"},
		{"AWSDots", "", "eu-central-1", "my.bucket"},
		{"Loopback", "http://127.0.0.1:9000", "", "my-bucket"},
		{"HTTP", "http://192.0.2.7:9000", "", "my-bucket"},
		{"Host", "https://s3.example.com", "eu-north-1", "my-bucket"},
		{"HostDefaultPort", "https://s3.example.com:443", "eu-north-1", "my-bucket"},
		{"Base", "https://192.0.2.7/s3/", "", "my-bucket"},
	} {
		t.Run(at.name, func(t *testing.T) {
			send := func(sdk bool, key protocol.Key, h protocol.Headers, content string) *http.Request {
				tr := &seen{}
				b := reach(t, at.endpoint, func(cfg *bucket.Config) {
					cfg.Bucket, cfg.Region, cfg.Transport, cfg.ACL, cfg.StorageClass = at.bucket, at.region, tr, "public-read", "STANDARD_IA"
				})
				if sdk {
					b.BySDK()
				}
				for range 2 { // where AWS's buckets are is known from the first request on
					if _, err := b.Put(t.Context(), key, h, strings.NewReader(content), int64(len(content)), md5.Sum([]byte(content))); err != nil {
						t.Fatal(err)
					}
				}
				if direct := tr.last.Header.Get("Amz-Sdk-Invocation-Id") == ""; direct == sdk {
					t.Fatalf("made by the SDK: %v", !direct)
				}
				return tr.last
			}
			for _, key := range keys {
				for _, h := range []protocol.Headers{{}, {ContentType: "text/css", Meta: map[string]string{"mode": "0100644", "s3apu-mark": "x y"}}} {
					for _, content := range []string{"", "content"} {
						want, got := send(true, key, h, content), send(false, key, h, content)
						if want.Method != got.Method || want.URL.String() != strings.TrimSuffix(got.URL.String(), "?") && want.URL.RequestURI() != got.URL.RequestURI()+"?x-id=PutObject" ||
							want.ContentLength != got.ContentLength {
							t.Errorf("%q: %s %s, %d bytes, not %s %s, %d bytes", key, got.Method, got.URL, got.ContentLength, want.Method, want.URL, want.ContentLength)
						}
						for _, name := range own {
							want.Header.Del(name)
							got.Header.Del(name)
						}
						if !maps.EqualFunc(want.Header, got.Header, slices.Equal) {
							t.Errorf("%q, %d bytes:\n%v is sent, and by the SDK\n%v", key, len(content), got.Header, want.Header)
						}
					}
				}
			}
		})
	}
}

// TestDirectAttemptCounts sees how many requests a PUT makes, and what the server got: the attempt that is made without the SDK is
// one of the attempts, and the body is whole in each.
func TestDirectAttemptCounts(t *testing.T) {
	for _, c := range []struct {
		name   string
		fails  int
		answer http.HandlerFunc
		want   protocol.Kind // of the error if all attempts fail
	}{
		{"500", 1, answer(500, "InternalError", "oops"), protocol.KindTransient},
		{"200 with an error in it", 1, answer(200, "InternalError", "oops"), protocol.KindTransient},
		{"lost", 1, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, protocol.KindTransient},
		{"lost again", 2, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, protocol.KindTransient},
		{"for ever", 3, answer(500, "", ""), protocol.KindTransient},
	} {
		t.Run(c.name, func(t *testing.T) {
			var n atomic.Int32
			b := against(t, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil || string(body) != "content" {
					t.Errorf("attempt %d sent %q: %v", n.Load()+1, body, err)
				}
				if int(n.Add(1)) <= c.fails {
					c.answer(w, r)
					return
				}
				w.Header().Set("ETag", `"9a0364b9e99bb480dd25e1f0284c8555"`) // MD5 of "content"
			})
			_, err := put(b, "content")
			if want := int32(min(c.fails+1, 3)); n.Load() != want {
				t.Errorf("%d requests, not %d", n.Load(), want)
			}
			if c.fails < 3 && err != nil {
				t.Error(err)
			} else if c.fails == 3 {
				check(t, err, c.want)
			}
		})
	}
}

// TestClockOffset has a server whose clock is an hour ahead. The first answer says so; after it requests are signed by that clock.
func TestClockOffset(t *testing.T) {
	b := against(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		theirs := time.Now().Add(time.Hour)
		w.Header().Set("Date", theirs.UTC().Format(http.TimeFormat))
		signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if off := theirs.Sub(signed); err != nil || off > 15*time.Minute || off < -15*time.Minute {
			answer(403, "RequestTimeTooSkewed", "")(w, r)
			return
		}
		w.Header().Set("ETag", `"9dd4e461268c8034f5c8564e155c67a6"`) // MD5 of "x"
	})
	_, err := put(b, "x")
	check(t, err, protocol.KindTarget)
	if err := b.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := put(b, "x"); err != nil {
		t.Error(err)
	}
}

// TestBodyIsSentFromItsBeginning has a body that was read before.
func TestBodyIsSentFromItsBeginning(t *testing.T) {
	for _, size := range []int{7, 64 << 10} { // one that is copied, and one that is not
		content := strings.Repeat("x", size-1) + "y"
		sum := md5.Sum([]byte(content))
		b := against(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
			if got, err := io.ReadAll(r.Body); err != nil || string(got) != content {
				t.Errorf("%d bytes of %d are sent: %v", len(got), size, err)
			}
		})
		body := strings.NewReader(content)
		if _, err := body.Seek(3, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Put(t.Context(), "k", protocol.Headers{}, body, int64(size), sum); err != nil {
			t.Error(err)
		}
	}
}

// TestBodyIsGivenBack has a server that answers before it has read the body: once Put has returned the body is not read any more.
func TestBodyIsGivenBack(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(srv.Close)
	b := reach(t, srv.URL)
	for range 20 {
		body := &fenced{Reader: strings.NewReader(strings.Repeat("x", 1<<20))}
		_, err := b.Put(t.Context(), "k", protocol.Headers{}, body, 1<<20, [16]byte{})
		body.over.Store(true)
		check(t, err, protocol.KindTarget)
	}
	srv.Close() // when no connection is left nobody reads
}

// fenced is a body that must not be read once it is over.
type fenced struct {
	*strings.Reader
	over atomic.Bool
}

func (f *fenced) Read(p []byte) (int, error) {
	if f.over.Load() {
		panic("the body is read although it was given back")
	}
	return f.Reader.Read(p)
}

// TestDirectEnds breaks a PUT off by its context.
func TestDirectEnds(t *testing.T) {
	entered := make(chan struct{})
	b := against(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(entered)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	_, err := b.Put(ctx, "k", protocol.Headers{}, strings.NewReader("x"), 1, md5.Sum([]byte("x")))
	check(t, err, protocol.KindTransient)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it does not say that it was broken off: %v", err)
	}
}
