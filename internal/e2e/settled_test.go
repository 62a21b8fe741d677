//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers"
	"s3apu/protocol"
	"s3apu/queue"
)

// person is who looks after an agent: deletes that are held for a person are released, and counted.
type person struct{ released int }

// look does a round: it releases what is held, and returns an error as long as anything is pending or has failed.
func (p *person) look(ctx context.Context, b *box) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := protocol.Dial(ctx, "unix", b.socket, "")
	if err != nil {
		return err
	}
	defer c.Close()
	held, err := c.Held(ctx, protocol.ObjectID{}, 1000)
	if err != nil {
		return err
	}
	if len(held) > 0 {
		ids := make([]protocol.ObjectID, len(held))
		for i, h := range held {
			ids[i] = h.ID()
		}
		n, err := c.Release(ctx, ids)
		p.released += n
		return errors.Join(err, fmt.Errorf("%d deletes were held", len(held)))
	}
	failed, err := c.Failed(ctx, protocol.ObjectID{}, 3)
	if err != nil {
		return err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return err
	}
	if info.QSize > 0 || len(failed) > 0 {
		err = fmt.Errorf("%d instructions are pending; failed, the first: %v", info.QSize, failed)
	}
	return err
}

// settle waits until the bucket equals the tree and nothing is left to do, with a person who releases what is held. It
// returns how long that took, or what is still different when the time is over.
func (b *box) settle(ctx context.Context, s3 *bucket.Bucket, p *person, within time.Duration) (time.Duration, error) {
	began := time.Now()
	for {
		err := p.look(ctx, b)
		if err == nil || time.Since(began) > within { // comparing costs time that the agent needs
			err = errors.Join(err, b.same(ctx, s3, depth{}))
		}
		if err == nil { // nothing may be under way that would change it again
			err = errors.Join(b.same(ctx, s3, depth{deep: true}), p.look(ctx, b))
		}
		if err == nil {
			return time.Since(began), nil
		}
		if time.Since(began) > within {
			return 0, err
		}
		select {
		case <-time.After(4 * pollGap):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// same returns the first differences between bucket and tree as an error.
func (b *box) same(ctx context.Context, s3 *bucket.Bucket, how depth) error {
	how.links, how.follow = strings.Contains(b.folder, "store"), strings.Contains(b.folder, "follow")
	diff, err := differences(ctx, s3, b.tree, b.prefix, how)
	diff = slices.DeleteFunc(diff, func(d string) bool {
		return slices.ContainsFunc(b.foreign, func(key protocol.Key) bool { return d == fmt.Sprintf("%q is in the bucket only", key) })
	})
	if err == nil && len(diff) > 0 {
		err = fmt.Errorf("%d differences, the first:\n\t%s", len(diff), strings.Join(diff[:min(8, len(diff))], "\n\t"))
	}
	return err
}

// booksAgree looks into the store of an agent that has ended: nothing is pending, failed or held, no upload is under way,
// and the ledger has a row for each object of the bucket, but for foreign ones, and no other.
func (b *box) booksAgree(t *testing.T, srv *s3servers.Server, s3 *bucket.Bucket, foreign ...protocol.Key) {
	t.Helper()
	q, err := queue.Open(filepath.Join(b.state, "queue"), queue.Options{})
	must(t, err)
	defer func() { must(t, q.Close()) }()
	if s := q.Stats(); s.Pending() != 0 || s.Dead != 0 {
		t.Errorf("the queue holds %+v", s.Count)
	}
	for u, err := range q.Uploads(t.Context()) {
		must(t, err)
		t.Errorf("the queue holds an upload in parts of %q", u.Key)
	}
	there := make(map[protocol.Key]protocol.Object)
	for o, err := range s3.List(t.Context(), "", "", "") {
		must(t, err)
		there[o.Key] = o
	}
	for row, err := range q.Ledger(t.Context(), b.bucket, "", "") {
		must(t, err)
		o, ok := there[row.Key]
		if size := row.Size; !ok || row.ETag != o.ETag || row.Verb == protocol.Upl && size != o.Size {
			t.Errorf("the ledger has %q with %d bytes and the ETag %s, the bucket %+v", row.Key, size, row.ETag, o)
		}
		delete(there, row.Key)
	}
	for key := range there {
		if slices.Contains(foreign, key) {
			continue
		}
		t.Errorf("the bucket has %q, the ledger has not", key)
	}
	noUploads(t, srv, s3)
}

// noUploads fails the test if the server keeps an upload in parts that nobody will finish.
func noUploads(t *testing.T, srv *s3servers.Server, s3 *bucket.Bucket) {
	t.Helper()
	if srv.Kind == s3servers.MinIO { // which lists uploads of whole keys only: its folder is looked at
		left := filepath.Join(srv.Root, ".minio.sys", "multipart")
		_ = filepath.WalkDir(left, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "xl.meta" {
				t.Errorf("MinIO keeps an upload in parts: %s", path)
			}
			return nil
		})
		return
	}
	for u, err := range s3.Uploads(t.Context(), "") {
		must(t, err)
		t.Errorf("the bucket has an unfinished upload of %q", u.Key)
	}
}

// outside makes a folder beside the tree, on the same file system.
func (b *box) outside(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(b.dir, "outside")
	must(t, os.Mkdir(dir, 0o755))
	return dir
}
