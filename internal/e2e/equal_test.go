//go:build linux

package e2e

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers"
	"s3apu/protocol"
)

// settledIn is how long a change may take to reach the bucket on a busy machine before a test gives up.
const settledIn = 90 * time.Second

// entry is what a file, a folder or an object is compared by.
type entry struct {
	size int64
	md5  string
	stat syscall.Stat_t // of a local entry
}

// local returns what the tree should be in the bucket, by key: files, and folders with a slash at their end. What is
// neither does not belong there, but for symbolic links if they are stored.
func local(root, prefix string, links bool) (map[string]entry, error) {
	want := make(map[string]entry)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		key := strings.TrimPrefix(prefix+"/"+rel, "/")
		var e entry
		if err := syscall.Lstat(path, &e.stat); err != nil {
			return err
		}
		switch {
		case d.IsDir():
			e.md5 = hex.EncodeToString(md5.New().Sum(nil))
			want[key+"/"] = e
		case d.Type().IsRegular():
			e.size = e.stat.Size
			if e.md5, err = sumFile(path); err != nil {
				return err
			}
			want[key] = e
		case links && d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			e.size = int64(len(to))
			if e.md5, err = sum(strings.NewReader(to)); err != nil {
				return err
			}
			want[key] = e
		}
		return nil
	})
	return want, err
}

func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return sum(f)
}

func sum(r io.Reader) (string, error) {
	h := md5.New()
	_, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), err
}

// depth says how much is compared beyond keys, sizes and the MD5 of contents.
type depth struct {
	deep        bool // read every object back instead of trusting its ETag, and compare the metadata, too
	links       bool // symbolic links are stored
	follow      bool // symbolic links are followed
	folderTimes bool // with deep: the modification times of folders, too
}

// differences lists what keeps the bucket below prefix from being equal to the tree, by key, size and MD5 of the
// content, and by what else how asks for.
func differences(ctx context.Context, b *bucket.Bucket, root, prefix string, how depth) ([]string, error) {
	want, err := local(root, prefix, how.links)
	open := func(string) bool { return false }
	if how.follow {
		want, open, err = followed(root, prefix)
	}
	if err != nil {
		return nil, err
	}
	var diff []string
	at := prefix
	if at != "" {
		at += "/"
	}
	seen := make(map[string]bool)
	for o, err := range b.List(ctx, protocol.Key(at), "", "") {
		if err != nil {
			return nil, err
		}
		key := string(o.Key)
		if key == at {
			continue // The root folder itself may be there or not.
		}
		w, ok := want[key]
		switch {
		case !ok && open(key):
		case !ok:
			diff = append(diff, fmt.Sprintf("%q is in the bucket only", key))
		case o.Size != w.size:
			diff = append(diff, fmt.Sprintf("%q has %d bytes, the file %d", key, o.Size, w.size))
		case how.deep || strings.Contains(o.ETag, "-"):
			if text := compareObject(ctx, b, o.Key, w, how.folderTimes); text != "" {
				diff = append(diff, fmt.Sprintf("%q: %s", key, text))
			}
		case o.ETag != w.md5:
			diff = append(diff, fmt.Sprintf("%q has the MD5 %s, the file %s", key, o.ETag, w.md5))
		}
		if seen[key] {
			diff = append(diff, fmt.Sprintf("%q is listed twice", key))
		}
		seen[key] = true
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if !seen[key] {
			diff = append(diff, fmt.Sprintf("%q is not in the bucket", key))
		}
	}
	return diff, nil
}

// compareObject reads an object back and returns how it differs from the local entry, or "". The time of a folder changes
// with each entry that comes or goes, and reaches the bucket with the next scan: it is compared on demand only.
func compareObject(ctx context.Context, b *bucket.Bucket, key protocol.Key, want entry, folderTimes bool) string {
	body, o, err := b.Get(ctx, key)
	if err != nil {
		return err.Error()
	}
	got, err := sum(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return err.Error()
	}
	if got != want.md5 {
		return fmt.Sprintf("its content has the MD5 %s, the file's %s", got, want.md5)
	}
	st := want.stat
	for name, number := range map[string]uint64{"uid": uint64(st.Uid), "gid": uint64(st.Gid)} {
		if o.Meta[name] != strconv.FormatUint(number, 10) {
			return fmt.Sprintf("its %s is %q, the file's %d", name, o.Meta[name], number)
		}
	}
	if mode, err := strconv.ParseUint(o.Meta["mode"], 8, 32); err != nil || uint32(mode) != st.Mode || o.Meta["mode"][0] != '0' {
		return fmt.Sprintf("its mode is %q, the file's 0%o", o.Meta["mode"], st.Mode)
	}
	seconds, _, _ := strings.Cut(o.Meta["mtime"], ".")
	if key.IsFolder() && !folderTimes {
		return ""
	}
	if seconds != strconv.FormatInt(st.Mtim.Sec, 10) {
		return fmt.Sprintf("its mtime is %q, the file's %d.%09d", o.Meta["mtime"], st.Mtim.Sec, st.Mtim.Nsec)
	}
	return ""
}

// equal waits until the bucket equals the tree, and then compares once more, every byte and the metadata.
func (b *box) equal(t *testing.T, s3 *bucket.Bucket, after string) {
	t.Helper()
	b.equalIn(t, s3, after, depth{}, depth{deep: true})
}

// equalIn is equal with the comparisons named.
func (b *box) equalIn(t *testing.T, s3 *bucket.Bucket, after string, depths ...depth) {
	t.Helper()
	began := time.Now()
	for _, how := range depths {
		eventually(t, settledIn, func() error {
			diff, err := differences(t.Context(), s3, b.tree, b.prefix, how)
			if err == nil && len(diff) > 0 {
				err = fmt.Errorf("after %s %d differences, the first: %s", after, len(diff), strings.Join(diff[:min(5, len(diff))], "; "))
			}
			return err
		})
	}
	t.Logf("after %s: equal within %v", after, time.Since(began).Round(time.Millisecond))
}

// openBucket opens a bucket that is there already.
func openBucket(t *testing.T, srv *s3servers.Server, name string) *bucket.Bucket {
	t.Helper()
	s3, err := bucket.Open(t.Context(), srv.Config(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s3.Close)
	return s3
}

// there returns nil if the object is in the bucket.
func there(t *testing.T, s3 *bucket.Bucket, key string) error {
	t.Helper()
	_, err := s3.Head(t.Context(), protocol.Key(key))
	return err
}
