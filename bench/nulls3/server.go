// Package nulls3 is an S3 endpoint that keeps nothing of what it is sent but names, sizes, ETags, times and user metadata,
// so that the client is what a measurement measures. It reads bodies, computes their true MD5, and the CRC-64 of parts that
// come with one, and drops them; it lists a million keys in their order; it can add a fixed time to each answer. It tells how
// many requests of which kind came, and when a key arrived, on an address of its own ([Server.Control]).
//
// It is no server to keep anything in: signatures are not looked at, bodies cannot be read back, and everything is gone
// with the process. The ETag of a part that was copied is made up, since its bytes are not there.
package nulls3

import (
	"crypto/md5"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Server is the endpoint. Make it with [New]; it may be used by any number of goroutines.
type Server struct {
	latency time.Duration
	counts  counts
	readers sync.Pool // of *reader

	mu      sync.Mutex
	buckets map[string]*bucket
	uploads map[string]*upload
	waiters []*waiter
	lastID  int
}

// New returns an endpoint without buckets, which answers each request latency later than it could.
func New(latency time.Duration) *Server {
	return &Server{latency: latency, buckets: map[string]*bucket{}, uploads: map[string]*upload{},
		readers: sync.Pool{New: func() any { return &reader{sum: md5.New()} }}}
}

// request is one request, taken apart.
type request struct {
	*http.Request
	w           http.ResponseWriter
	query       url.Values
	bucket, key string
}

// has reports whether the request names the sub-resource, as in "?uploads".
func (r *request) has(name string) bool { return r.query.Has(name) }

// ServeHTTP answers S3's requests in the path style, http://host/bucket/key.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	r := &request{Request: hr, w: w}
	if hr.URL.RawQuery != "" {
		r.query = hr.URL.Query()
	}
	r.bucket, r.key, _ = strings.Cut(strings.TrimPrefix(hr.URL.Path, "/"), "/")
	kind, serve := s.route(r)
	s.counts.add(kind)
	serve(r)
}

// route finds what a request is.
func (s *Server) route(r *request) (Kind, func(*request)) {
	switch {
	case r.bucket == "":
		return Other, s.listBuckets
	case r.key == "":
		return s.routeBucket(r)
	}
	switch r.Method {
	case http.MethodPut:
		switch {
		case r.has("uploadId"):
			return UploadPart, s.uploadPart
		case r.Header.Get(copySource) != "":
			return CopyObject, s.copyObject
		case len(r.query) == 0 || r.query.Get("x-id") == "PutObject":
			return PutObject, s.putObject
		}
	case http.MethodHead:
		return HeadObject, s.headObject
	case http.MethodGet:
		if r.has("uploadId") {
			return Other, s.listParts
		}
		return GetObject, s.getObject
	case http.MethodPost:
		switch {
		case r.has("uploads"):
			return CreateUpload, s.createUpload
		case r.has("uploadId"):
			return CompleteUpload, s.completeUpload
		}
	case http.MethodDelete:
		if r.has("uploadId") {
			return AbortUpload, s.abortUpload
		}
		return DeleteObject, s.deleteObject
	}
	return Other, s.refuse
}

func (s *Server) routeBucket(r *request) (Kind, func(*request)) {
	switch r.Method {
	case http.MethodHead:
		return HeadBucket, s.headBucket
	case http.MethodPut:
		return Other, s.createBucket
	case http.MethodPost:
		if r.has("delete") {
			return DeleteObjects, s.deleteObjects
		}
	case http.MethodGet:
		switch {
		case r.has("location"):
			return Other, s.fixed(`<LocationConstraint xmlns="` + namespace + `"></LocationConstraint>`)
		case r.has("versioning"):
			return Other, s.fixed(`<VersioningConfiguration xmlns="` + namespace + `"></VersioningConfiguration>`)
		case r.has("uploads"):
			return ListUploads, s.listUploads
		case r.has("object-lock"):
			return Other, s.failing(http.StatusNotFound, "ObjectLockConfigurationNotFoundError")
		case r.has("policy"), r.has("tagging"), r.has("encryption"), r.has("replication"), r.has("lifecycle"), r.has("acl"):
			return Other, s.failing(http.StatusNotFound, "NoSuchConfiguration")
		}
		return ListObjects, s.listObjects
	}
	return Other, s.refuse
}

const (
	namespace  = "http://s3.amazonaws.com/doc/2006-03-01/"
	copySource = "X-Amz-Copy-Source"
)

// delay holds an answer back; false: the client has gone.
func (s *Server) delay(r *request) bool {
	if s.latency <= 0 {
		return true
	}
	t := time.NewTimer(s.latency)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// answer sends a status without a body.
func (s *Server) answer(r *request, status int) {
	if s.delay(r) {
		r.w.WriteHeader(status)
	}
}

// xml sends a document.
func (s *Server) xml(r *request, status int, body []byte) {
	if !s.delay(r) {
		return
	}
	r.w.Header()["Content-Type"] = []string{"application/xml"}
	r.w.WriteHeader(status)
	_, _ = r.w.Write(body) // a client that has gone is no fault of ours
}

// fail sends an error as S3 does.
func (s *Server) fail(r *request, status int, code, message string) {
	if r.Method == http.MethodHead {
		s.answer(r, status)
		return
	}
	var text strings.Builder
	_ = xml.EscapeText(&text, []byte(message)) // a Builder takes everything
	s.xml(r, status, fmt.Appendf(nil, "%s<Error><Code>%s</Code><Message>%s</Message></Error>", xml.Header, code, text.String()))
}

func (s *Server) refuse(r *request) {
	s.fail(r, http.StatusNotImplemented, "NotImplemented", r.Method+" "+r.URL.RequestURI()+" is not known here")
}

func (s *Server) fixed(body string) func(*request) {
	return func(r *request) {
		if !s.known(r) {
			return
		}
		s.xml(r, http.StatusOK, []byte(xml.Header+body))
	}
}

func (s *Server) failing(status int, code string) func(*request) {
	return func(r *request) { s.fail(r, status, code, "nothing of the kind was set") }
}

// known answers a request for a bucket that is not there, and reports whether it is.
func (s *Server) known(r *request) bool {
	s.mu.Lock()
	b := s.buckets[r.bucket]
	s.mu.Unlock()
	if b == nil {
		s.fail(r, http.StatusNotFound, "NoSuchBucket", "there is no bucket "+r.bucket)
	}
	return b != nil
}

func (s *Server) headBucket(r *request) {
	if s.known(r) {
		s.answer(r, http.StatusOK)
	}
}

func (s *Server) createBucket(r *request) {
	s.mu.Lock()
	if s.buckets[r.bucket] == nil {
		s.buckets[r.bucket] = newBucket()
	}
	s.mu.Unlock()
	s.answer(r, http.StatusOK)
}

func (s *Server) listBuckets(r *request) {
	s.mu.Lock()
	out := []byte(xml.Header + `<ListAllMyBucketsResult xmlns="` + namespace + `"><Buckets>`)
	for name := range s.buckets {
		out = fmt.Appendf(out, "<Bucket><Name>%s</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate></Bucket>", name)
	}
	s.mu.Unlock()
	s.xml(r, http.StatusOK, append(out, `</Buckets></ListAllMyBucketsResult>`...))
}
