//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers"
)

// bodies counts what comes in the bodies of requests, and the copies. It can refuse copies.
type bodies struct {
	sent    atomic.Int64 // bytes
	copied  atomic.Int64 // copies that were carried out
	refused atomic.Int64
	refuse  atomic.Pointer[noCopy] // nil: copies are carried out
}

// noCopy is what the server answers to a copy.
type noCopy struct {
	status int
	code   string
}

// count puts a proxy before a server that counts what goes through it, and returns its address.
func (c *bodies) count(t *testing.T, upstream string) string {
	t.Helper()
	proxy := proxyTo(t, upstream)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		copies := r.Header.Get("X-Amz-Copy-Source") != ""
		if no := c.refuse.Load(); copies && no != nil {
			c.refused.Add(1)
			refuse(w, r, no.status, no.code)
			return
		}
		if r.Method == http.MethodPut {
			c.sent.Add(max(r.ContentLength, 0))
		}
		status := &statusWriter{ResponseWriter: w}
		proxy.ServeHTTP(status, r)
		if copies && status.code == http.StatusOK {
			c.copied.Add(1)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// renames is a tree whose files and folders get other names, step by step.
type renames struct {
	*testing.T
	b  *box
	s3 *bucket.Bucket
	c  bodies
}

func (r *renames) rename(from, to string) {
	r.Helper()
	must(r.T, os.Rename(filepath.Join(r.b.tree, from), filepath.Join(r.b.tree, to)))
}

// step does something and waits until the bucket equals the tree again: by then no more than so many bytes were sent, so
// many copies were made, and no delete is held.
func (r *renames) step(what string, sent, copies int64, do func()) {
	r.Helper()
	wasSent, wasCopied, began := r.c.sent.Load(), r.c.copied.Load(), time.Now()
	do()
	did := time.Since(began)
	eventually(r.T, settledIn, func() error {
		err := r.b.same(r.Context(), r.s3, depth{})
		if err != nil {
			err = fmt.Errorf("after %s: %w", what, err)
		}
		return err
	})
	took := time.Since(began)
	gotSent, gotCopied := r.c.sent.Load()-wasSent, r.c.copied.Load()-wasCopied
	if gotSent > sent || gotCopied < copies {
		r.Errorf("%s: %d bytes were sent and %d objects copied, want at most %d bytes and at least %d copies", what, gotSent, gotCopied, sent, copies)
	}
	if code, held, errs := r.b.run(r.T, "s3apu-agent", "queue", "held"); code != 0 || strings.Contains(held, "del") {
		r.Errorf("%s: deletes are held (%d):\n%s%s", what, code, held, errs)
	}
	r.Logf("%s: %d bytes sent, %d copies, equal after %v (the renaming itself took %v)", what, gotSent, gotCopied,
		took.Round(time.Millisecond), did.Round(time.Millisecond))
}

// Renamed files and folders are copied within S3: not one byte is sent again, while the agent watches and while it is off,
// and the bucket equals the tree after each step. A copy that is refused is no loss: the file is sent.
func TestRenamesCostNoUpload(t *testing.T) {
	gate(t)
	// More than may be deleted at a time without a person, on one of the servers.
	for kind, files := range map[s3servers.Kind]int{s3servers.VersityGW: either(1100, 5000), s3servers.MinIO: either(300, 1500)} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			srv := s3servers.Start(t, kind)
			r := &renames{T: t, b: boxFor(t, srv, "e2e-renames"), s3: srv.Bucket(t, "e2e-renames")}
			r.b.endpoint = r.c.count(t, srv.Endpoint)
			r.b.save(t)
			for i := range files {
				r.b.put(t, fmt.Sprintf("folder/%02d/%d", i%50, i), []byte(fmt.Sprint("file ", i)))
			}
			for i := range 200 {
				r.b.put(t, fmt.Sprintf("small/old %d", i), []byte(fmt.Sprint("small ", i)))
			}
			r.b.put(t, "large", bytes.Repeat([]byte("0123456789abcdef"), 4<<20))
			r.b.put(t, "one", []byte("the first"))
			r.b.put(t, "two", []byte("the second"))
			a := r.b.startReady(t)
			r.b.equalIn(t, r.s3, "the feed", depth{})

			r.watched(files)
			r.b.equal(t, r.s3, "what was renamed under its eyes")
			r.refused()

			a.stop(t)
			r.step("the folder, what is in it and the large file, while the agent was off", 0, int64(files)+1, func() {
				r.rename("other name", "again")
				r.rename("again/00", "again/zero")
				r.rename("larger", "again/largest")
				a = r.b.startReady(t)
			})
			a.stop(t)
			r.step("a swap while the agent was off", int64(len("the second")), 1, func() {
				r.rename("one", "three")
				r.rename("two", "one")
				r.rename("three", "two")
				a = r.b.startReady(t)
			})
			r.b.equal(t, r.s3, "everything")
			a.stop(t)
			r.b.booksAgree(t, srv, r.s3)
		})
	}
}

// watched renames while the agent watches.
func (r *renames) watched(files int) {
	r.Helper()
	r.step("a file of 64 MiB", 0, 1, func() { r.rename("large", "larger") })
	r.step("200 small files", 0, 200, func() {
		for i := range 200 {
			r.rename(fmt.Sprintf("small/old %d", i), fmt.Sprintf("small/new %d", i))
		}
	})
	r.step(fmt.Sprintf("a folder of %d files", files), 0, int64(files), func() { r.rename("folder", "other name") })
	r.step("a file with two new names, one after the other", 0, 1, func() {
		r.rename("small/new 7", "small/newer 7")
		r.rename("small/newer 7", "small/newest 7")
	})
	r.step("files that swap their names", int64(len("the second")), 1, func() { // one of the two is overwritten first
		r.rename("one", "three")
		r.rename("two", "one")
		r.rename("three", "two")
	})
	r.step("a file over another", 0, 1, func() { r.rename("small/new 8", "small/new 9") })
}

// refused renames while copies are refused in several ways.
func (r *renames) refused() {
	r.Helper()
	defer r.c.refuse.Store(nil)
	for i, no := range []noCopy{
		{http.StatusForbidden, "AccessDenied"}, {http.StatusInternalServerError, "InternalError"}, {http.StatusNotFound, "NoSuchKey"},
		{http.StatusPreconditionFailed, "PreconditionFailed"}, {http.StatusNotImplemented, "NotImplemented"},
	} {
		r.c.refuse.Store(&no)
		was, sent := r.c.refused.Load(), r.c.sent.Load()
		text := fmt.Sprint("small ", 100+i)
		r.step(fmt.Sprintf("a copy that is answered with %d %s", no.status, no.code), int64(len(text)), 0, func() {
			r.rename(fmt.Sprintf("small/new %d", 100+i), fmt.Sprintf("small/sent %d", i))
		})
		if r.c.refused.Load() == was || r.c.sent.Load() == sent {
			r.Errorf("%s: no copy was tried, or nothing sent", no.code)
		}
	}
}
