//go:build linux

package e2e

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers"
	"s3apu/protocol"
)

// upload does by hand what the agent should do: every file and folder of the tree, with its metadata.
func upload(t *testing.T, s3 *bucket.Bucket, root, prefix string) {
	t.Helper()
	all, err := local(root, prefix, false)
	must(t, err)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		e := all[key]
		var content []byte
		if !strings.HasSuffix(key, "/") {
			content, err = os.ReadFile(filepath.Join(root, strings.TrimPrefix(key, prefix+"/")))
			must(t, err)
		}
		h := protocol.Headers{ContentType: "text/plain", Meta: map[string]string{
			"mode": fmt.Sprintf("0%o", e.stat.Mode), "uid": fmt.Sprint(e.stat.Uid), "gid": fmt.Sprint(e.stat.Gid),
			"mtime": fmt.Sprintf("%d.%09d", e.stat.Mtim.Sec, e.stat.Mtim.Nsec)}}
		if strings.HasSuffix(key, "/") {
			h.ContentType = "application/x-directory"
		}
		_, err := s3.Put(t.Context(), protocol.Key(key), h, bytes.NewReader(content), int64(len(content)), md5.Sum(content))
		must(t, err)
	}
}

// TestDifferencesAreSeen makes sure that the comparison, on which every other test here rests, can fail. It needs
// neither programs nor other servers.
func TestDifferencesAreSeen(t *testing.T) {
	srv := s3servers.Start(t, s3servers.Folder)
	s3 := srv.Bucket(t, "e2e-differences")
	b := newBox(t, srv.Endpoint, "e2e-differences")
	b.put(t, "a/file", []byte("one"))
	b.put(t, "a/é 日本 + %", []byte("two"))
	must(t, os.Mkdir(filepath.Join(b.tree, "empty"), 0o700))
	upload(t, s3, b.tree, b.prefix)
	b.equal(t, s3, "an upload by hand")

	tests := []struct {
		name   string
		change func()
		deep   bool
		says   string
	}{
		{"another file", func() { b.put(t, "new", nil) }, false, `"in/new" is not in the bucket`},
		{"another content of the same size", func() { b.put(t, "a/file", []byte("eno")) }, false, `"in/a/file" has the MD5`},
		{"another size", func() { b.put(t, "a/file", []byte("more")) }, false, `"in/a/file" has 3 bytes, the file 4`},
		{"a file less", func() { must(t, os.Remove(filepath.Join(b.tree, "a/file"))) }, false, `"in/a/file" is in the bucket only`},
		{"another folder", func() { must(t, os.Mkdir(filepath.Join(b.tree, "folder"), 0o700)) }, false, `"in/folder/" is not in the bucket`},
		{"another mode", func() { must(t, os.Chmod(filepath.Join(b.tree, "empty"), 0o750)) }, true, `"in/empty/": its mode`},
		{"another time", func() { must(t, os.Chtimes(filepath.Join(b.tree, "empty"), clock, clock)) }, true, `"in/empty/": its mtime`},
	}
	for _, tt := range tests {
		tt.change()
		diff, err := differences(t.Context(), s3, b.tree, b.prefix, depth{deep: tt.deep, folderTimes: true})
		if err != nil || !slices.ContainsFunc(diff, func(d string) bool { return strings.HasPrefix(d, tt.says) }) {
			t.Errorf("%s: %q, %v", tt.name, diff, err)
		}
		upload(t, s3, b.tree, b.prefix)
		if tt.name == "a file less" {
			must(t, s3.Delete(t.Context(), "in/a/file"))
		}
		b.equal(t, s3, "mending "+tt.name)
	}
}
