package agent

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"s3apu/protocol"
)

// countBodies puts a proxy between agent and server that counts the bytes in the bodies of PUTs, and the copies.
func (r *rig) countBodies() (sent, copied *atomic.Int64) {
	target, err := url.Parse(r.server.Endpoint)
	r.must(err)
	sent, copied = &atomic.Int64{}, &atomic.Int64{}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Host = p.In.Host // it is part of what was signed
		if p.In.Method == http.MethodPut {
			sent.Add(max(p.In.ContentLength, 0))
			if p.In.Header.Get("X-Amz-Copy-Source") != "" {
				copied.Add(1)
			}
		}
	}}
	s := httptest.NewServer(proxy)
	r.t.Cleanup(s.Close)
	r.t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	r.cfg.S3.Endpoint = s.URL
	return sent, copied
}

// A folder with more files than may be deleted at once gets another name: no byte is sent again, and no delete is held at
// any time.
func TestRenamedFolderIsCopied(t *testing.T) {
	const files = 1200
	r := newRig(t)
	for i := range files {
		r.write(fmt.Sprintf("old/%d/%d", i%7, i), fmt.Sprint("text ", i))
	}
	r.write("keep", "x")
	sent, copied := r.countBodies()
	r.start()
	r.waitEqual("the feed")
	r.waitFor("an empty queue", func() bool { return r.agent.Health().Queued == 0 })
	before, most := sent.Load(), int64(0)
	r.must(os.Rename(filepath.Join(r.inbox, "old"), filepath.Join(r.inbox, "new")))
	r.waitFor("the copies, and an empty queue", func() bool {
		h := r.agent.Health()
		most = max(most, h.Held)
		return copied.Load() >= files && h.Queued == 0 && h.Folders[0].Dirty == 0
	})
	r.waitEqual("the rename")
	if n := sent.Load() - before; n != 0 || copied.Load() != files || most != 0 {
		t.Errorf("%d bytes sent, %d copies, %d deletes held at a time; want 0, %d, 0", n, copied.Load(), most, files)
	}
}

// A file is deleted, and another one gets its inode number, size and time, as cp -p or touch -r make it: it is sent under its
// own name, and the old one is deleted, for itself.
func TestReusedInodeIsNoRename(t *testing.T) {
	r := newRig(t)
	r.write("a", "one")
	r.write("keep", "x")
	r.start()
	r.waitEqual("the feed")
	r.stop()
	a, b := filepath.Join(r.inbox, "a"), filepath.Join(r.inbox, "b")
	was, err := os.Lstat(a)
	r.must(err)
	r.must(os.Remove(a))
	for i := range 1000 {
		r.must(os.WriteFile(b, []byte("two"), 0o644))
		now, err := os.Lstat(b)
		r.must(err)
		if os.SameFile(was, now) {
			break
		}
		if i == 999 {
			t.Skip("this file system does not use inode numbers again soon")
		}
		r.must(os.Rename(b, filepath.Join(t.TempDir(), "b")))
	}
	r.must(os.Chtimes(b, was.ModTime(), was.ModTime()))
	r.start()
	r.waitEqual("a file in the place of another one")
	r.waitFor("an empty queue", func() bool { return r.agent.Health().Queued == 0 })
}

// Somebody else writes the object of a file whose name then changes: the file is sent, and the foreign object stays, now
// and after the next scan.
func TestForeignObjectUnderTheOldName(t *testing.T) {
	r := newRig(t)
	r.write("a", "ours")
	r.write("keep", "x")
	sent, _ := r.countBodies()
	r.start()
	r.waitEqual("the feed")
	_, err := r.bucket.Put(t.Context(), "a", protocol.Headers{}, strings.NewReader("not ours"), 8, md5Of("not ours"))
	r.must(err)
	before := sent.Load()
	r.must(os.Rename(filepath.Join(r.inbox, "a"), filepath.Join(r.inbox, "b")))
	r.waitFor("the new name", func() bool { return r.held()["b"] == "ours" && r.agent.Health().Queued == 0 })
	if n := sent.Load() - before; n != 4 {
		t.Errorf("%d bytes were sent", n)
	}
	r.stop()
	r.start()
	r.waitFor("the next scan", func() bool { return r.agent.Health().Queued == 0 && r.agent.Health().Folders[0].Dirty == 0 })
	if r.held()["a"] != "not ours" {
		t.Errorf("the bucket holds %q", r.held())
	}
}
