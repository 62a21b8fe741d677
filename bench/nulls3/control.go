package nulls3

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// State is what the control address tells of a bucket.
type State struct {
	Keys  int   `json:"keys"`
	Files int   `json:"files"` // keys that do not end in a slash
	Bytes int64 `json:"bytes"`
	Last  int64 `json:"last"` // when an object was written last, in nanoseconds since 1970
}

// Arrival is what it tells of a key.
type Arrival struct {
	At   int64  `json:"at"` // in nanoseconds since 1970; 0: it is not there
	Size int64  `json:"size"`
	ETag string `json:"etag"`
}

// waiter is somebody who waits for files in a bucket, or for a key that is written after a time.
type waiter struct {
	bucket, key string
	files       int
	after       int64
	done        chan struct{} // closed when it has come
}

func (w *waiter) met(b *bucket) bool {
	if w.key == "" {
		return b.files >= w.files
	}
	return b.objects[w.key].at > w.after
}

// wake tells who waits for what was just written. The lock is held.
func (s *Server) wake(name, key string, b *bucket) {
	for i := 0; i < len(s.waiters); i++ {
		w := s.waiters[i]
		if w.bucket != name || w.key != "" && w.key != key || !w.met(b) {
			continue
		}
		close(w.done)
		s.waiters = append(s.waiters[:i], s.waiters[i+1:]...)
		i--
	}
}

// wait waits until w is met, r has ended, or the time that it names is over.
func (s *Server) wait(r *http.Request, w *waiter) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(number(r, "ms"))*time.Millisecond)
	defer cancel()
	s.mu.Lock()
	b := s.buckets[w.bucket]
	if b != nil && w.met(b) {
		s.mu.Unlock()
		return
	}
	s.waiters = append(s.waiters, w)
	s.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.waiters {
		if s.waiters[i] == w {
			s.waiters = append(s.waiters[:i], s.waiters[i+1:]...)
			return
		}
	}
}

// Control is the address at which the harness asks, in HTTP with answers in JSON; ms is for how long at most it waits:
//
//	POST /bucket?bucket=B                  makes the bucket, or makes it anew
//	POST /drop?bucket=B                    forgets it
//	GET  /requests                         how many requests came, by kind
//	GET  /state?bucket=B                   a [State]
//	GET  /wait?bucket=B&files=N&ms=T       the same, once there are N files
//	GET  /arrival?bucket=B&key=K&after=NS&ms=T   an [Arrival], once the key was written after NS
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /bucket", func(_ http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.buckets[r.FormValue("bucket")] = newBucket()
	})
	mux.HandleFunc("POST /drop", func(_ http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.buckets, r.FormValue("bucket"))
	})
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, _ *http.Request) { tell(w, s.counts.read()) })
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, r *http.Request) { tell(w, s.state(r.FormValue("bucket"))) })
	mux.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) {
		s.wait(r, &waiter{bucket: r.FormValue("bucket"), files: int(number(r, "files")), done: make(chan struct{})})
		tell(w, s.state(r.FormValue("bucket")))
	})
	mux.HandleFunc("GET /arrival", func(w http.ResponseWriter, r *http.Request) {
		bucket, key, after := r.FormValue("bucket"), r.FormValue("key"), number(r, "after")
		s.wait(r, &waiter{bucket: bucket, key: key, after: after, done: make(chan struct{})})
		tell(w, s.arrival(bucket, key, after))
	})
	return mux
}

func (s *Server) state(bucket string) State {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucket]
	if b == nil {
		return State{}
	}
	return State{Keys: len(b.objects), Files: b.files, Bytes: b.bytes, Last: b.last}
}

func (s *Server) arrival(bucket, key string, after int64) Arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[bucket]; b != nil && b.objects[key].at > after {
		o := b.objects[key]
		return Arrival{At: o.at, Size: o.size, ETag: o.etag()}
	}
	return Arrival{}
}

func number(r *http.Request, name string) int64 {
	n, _ := strconv.ParseInt(r.FormValue(name), 10, 64) // what is no number is 0
	return n
}

func tell(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a client that has gone is no fault of ours
}
