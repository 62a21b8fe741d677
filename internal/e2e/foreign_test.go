//go:build linux

package e2e

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers"
	"s3apu/protocol"
)

// TestOverwrittenByOthers lets somebody else write over objects of the agent whose files then go, one by one and with their folder:
// what others wrote stays, and is said once; the rest goes.
func TestOverwrittenByOthers(t *testing.T) {
	gate(t)
	for _, kind := range realServers {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			srv := s3servers.Start(t, kind)
			s3 := srv.Bucket(t, "e2e-foreign")
			b := boxFor(t, srv, "e2e-foreign")
			b.save(t)
			b.put(t, keeper, []byte("stays"))
			for i := range 10 {
				b.put(t, fmt.Sprintf("single %d", i), noise(uint64(i), 1000))
				b.put(t, fmt.Sprintf("folder/%d", i), noise(uint64(i), 2000))
			}
			b.put(t, "big", noise(11, big))
			log := &output{}
			a := b.startLogging(t, log)
			p := &person{}
			settle := func(after string) {
				t.Helper()
				if _, err := b.settle(t.Context(), s3, p, settledIn); err != nil {
					t.Fatalf("after %s: %v\n%s", after, err, log.tail(30))
				}
			}
			eventually(t, readyIn, func() error {
				if !log.has("msg=ready") {
					return errors.New("it is not ready")
				}
				return nil
			})
			settle("the feed")
			theirs := []protocol.Key{"in/single 3", "in/folder/4", "in/big"}
			for _, key := range theirs {
				b.overwrite(t, s3, key)
			}
			for i := range 10 {
				must(t, os.Remove(filepath.Join(b.tree, fmt.Sprintf("single %d", i))))
			}
			must(t, os.RemoveAll(filepath.Join(b.tree, "folder")))
			must(t, os.Remove(filepath.Join(b.tree, "big")))
			b.foreign = theirs
			settle("the files are gone")
			a.stop(t)
			a = b.startLogging(t, log)
			b.put(t, "later", []byte("x"))
			settle("a start")
			a.stop(t)
			for _, key := range theirs {
				if body, _, err := s3.Get(t.Context(), key); err != nil {
					t.Errorf("%q: %v", key, err)
				} else if text, err := io.ReadAll(body); err != nil || string(text) != "theirs: "+string(key) {
					t.Errorf("%q holds %q, %v", key, text, err)
				} else {
					must(t, body.Close())
				}
			}
			if n := log.count("written by somebody else"); n != len(theirs) || p.released > 0 {
				t.Errorf("said %d times, want %d; %d deletes were held", n, len(theirs), p.released)
			}
			b.booksAgree(t, srv, s3, theirs...)
		})
	}
}

// overwrite is somebody else who writes over an object.
func (b *box) overwrite(t *testing.T, s3 *bucket.Bucket, key protocol.Key) {
	t.Helper()
	text := []byte("theirs: " + string(key))
	_, err := s3.Put(t.Context(), key, protocol.Headers{ContentType: "text/plain"}, bytes.NewReader(text), int64(len(text)), md5.Sum(text))
	must(t, err)
}
