package bucket_test

import (
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

// transport is a function as a transport: a server without a network, for tests of time.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func ok(r *http.Request, header http.Header, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Request: r, Header: header, Body: body}
}

// timed runs f with a bucket behind tr, in a time of its own, and says how long it took.
func timed(t *testing.T, tr transport, f func(*bucket.Bucket)) (took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := reach(t, "http://127.0.0.1:1", func(c *bucket.Config) { c.Transport = tr })
		began := time.Now()
		f(b)
		took = time.Since(began)
	})
	return took
}

func TestStallNoAnswer(t *testing.T) {
	silent := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if took := timed(t, silent, func(b *bucket.Bucket) { check(t, operations["Put"](b), protocol.KindTransient) }); took != time.Minute {
		t.Errorf("given up after %v", took)
	}
	// A server that copies or joins data may think longer.
	for _, op := range []string{"Copy", "FinishUpload"} {
		if took := timed(t, silent, func(b *bucket.Bucket) { check(t, operations[op](b), protocol.KindTransient) }); took != 10*time.Minute {
			t.Errorf("%s: given up after %v", op, took)
		}
	}
}

// stuck is the body of an answer that breaks off without an end.
type stuck struct {
	io.Reader
	r *http.Request
}

func (s stuck) Read(p []byte) (int, error) {
	if n, err := s.Reader.Read(p); err == nil {
		return n, nil
	}
	<-s.r.Context().Done()
	return 0, s.r.Context().Err()
}

func (s stuck) Close() error { return nil }

func TestStallHalfAnAnswer(t *testing.T) {
	half := func(r *http.Request) (*http.Response, error) {
		return ok(r, http.Header{}, stuck{strings.NewReader("<ListBucketResult>"), r}), nil
	}
	if took := timed(t, half, func(b *bucket.Bucket) { check(t, operations["List"](b), protocol.KindTransient) }); took != time.Minute {
		t.Errorf("given up after %v", took)
	}
}

// dripping gives out a byte at a time.
type dripping struct {
	io.ReadSeeker
	gap time.Duration
}

func (d *dripping) Read(p []byte) (int, error) {
	<-time.After(d.gap)
	return d.ReadSeeker.Read(p[:min(len(p), 1)])
}

// TestSlowButMoving: a body may take longer than any limit, as long as it moves.
func TestSlowButMoving(t *testing.T) {
	const content = "0123456789"
	reads := func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		return ok(r, http.Header{"Etag": {fmt.Sprintf(`"%x"`, md5.Sum(body))}}, http.NoBody), nil
	}
	took := timed(t, reads, func(b *bucket.Bucket) {
		body := &dripping{strings.NewReader(content), 50 * time.Second}
		if _, err := b.Put(context.Background(), "k", protocol.Headers{}, body, int64(len(content)), md5.Sum([]byte(content))); err != nil {
			t.Error(err)
		}
	})
	if want := time.Duration(len(content)) * 50 * time.Second; took < want {
		t.Errorf("took %v, not %v", took, want)
	}
}
