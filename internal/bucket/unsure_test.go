package bucket_test

import (
	"crypto/md5"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

// An upload whose first answer was lost may be there, whatever the last attempt was told.
func TestLostAnswerIsNotForgotten(t *testing.T) {
	for _, tc := range []struct {
		name   string
		lost   int32 // answers that are lost before the refusal
		unsure bool
	}{{"refused at once", 0, false}, {"lost, then refused", 1, true}} {
		t.Run(tc.name, func(t *testing.T) {
			var n atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // taken, as a server does that keeps it
				if n.Add(1) <= tc.lost {
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = io.WriteString(w, "<Error><Code>SlowDown</Code></Error>")
			}))
			defer srv.Close()
			b, err := bucket.Open(t.Context(), bucket.Config{Bucket: "any", Endpoint: srv.URL, AccessKeyID: "any", SecretAccessKey: "any"})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			_, err = b.Put(t.Context(), "k", protocol.Headers{}, strings.NewReader("x"), 1, md5.Sum([]byte("x")))
			if protocol.KindOf(err) != protocol.KindSlow || protocol.MayHaveArrived(err) != tc.unsure {
				t.Errorf("kind %v, may have arrived %v: %v", protocol.KindOf(err), protocol.MayHaveArrived(err), err)
			}
		})
	}
}

// The beginning of an upload in parts is asked for once in a call: each answer that is lost may leave an upload that nobody
// knows, and only the caller has written down that there may be one.
func TestUploadIsBegunOnce(t *testing.T) {
	// Requests come one after another, but a connection that is cut orders nothing between its two ends.
	var n atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		n.Add(1)
		panic(http.ErrAbortHandler)
	}))
	defer srv.Close()
	b, err := bucket.Open(t.Context(), bucket.Config{Bucket: "any", Endpoint: srv.URL, AccessKeyID: "any", SecretAccessKey: "any"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.StartUpload(t.Context(), &protocol.Upload{Key: "k"}, protocol.Headers{}); err == nil || n.Load() != 1 {
		t.Errorf("%d uploads were begun: %v", n.Load(), err)
	}
}
