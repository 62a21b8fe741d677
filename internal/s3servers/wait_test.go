package s3servers

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// MinIO says that it is ready while it still answers everything with 503, for as long as the machine is slow.
func TestReadyIsNotEnough(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/minio/health/"):
		case asked.Add(1) <= 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer srv.Close()
	s := &Server{Kind: MinIO, Endpoint: srv.URL, AccessKey: "key", SecretKey: "secret", Region: "us-east-1"}
	if err := s.wait(t.Context(), make(chan error, 1)); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 4 {
		t.Errorf("it was taken for ready after %d questions", n)
	}
}
