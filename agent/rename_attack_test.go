package agent

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"s3apu/internal/bucket"
)

// Renames of every awkward kind: in the end the bucket equals the tree, nothing waits, nothing is held, and what was only
// moved was not sent again.
func TestAwkwardRenames(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(r *rig, at func(string) string)
		sent int64 // bytes at most
	}{
		"over another file": {func(r *rig, at func(string) string) { r.must(os.Rename(at("a"), at("b"))) }, 0},
		"and written at once": {func(r *rig, at func(string) string) {
			r.must(os.Rename(at("a"), at("n")))
			r.write("n", "something else")
		}, 14},
		"and the old name is used again": {func(r *rig, at func(string) string) {
			r.must(os.Rename(at("a"), at("n")))
			r.write("a", "new")
		}, 3},
		"out of the tree and back under another name": {func(r *rig, at func(string) string) {
			out := filepath.Join(filepath.Dir(r.inbox), "out")
			r.must(os.Rename(at("d"), out))
			r.must(os.Rename(out, at("e")))
		}, 0},
		"of a file to the name of its own folder": {func(r *rig, at func(string) string) {
			r.must(os.Rename(at("d/x"), at("t")))
			r.must(os.RemoveAll(at("d")))
			r.must(os.Rename(at("t"), at("d")))
		}, 6},
		"of a file into a folder of its own name": {func(r *rig, at func(string) string) {
			r.must(os.Rename(at("a"), at("t")))
			r.must(os.Mkdir(at("a"), 0o750))
			r.must(os.Rename(at("t"), at("a/a")))
		}, 6},
		"of a file with two names": {func(r *rig, at func(string) string) {
			r.must(os.Link(at("a"), at("link")))
			r.must(os.Rename(at("a"), at("n")))
		}, 0},
		"to and fro": {func(r *rig, at func(string) string) {
			for i := range 10 {
				r.must(os.Rename(at([]string{"a", "n"}[i%2]), at([]string{"n", "a"}[i%2])))
			}
		}, 0},
		"around a circle": {func(r *rig, at func(string) string) {
			for _, m := range [][2]string{{"a", "t"}, {"b", "a"}, {"d/x", "b"}, {"t", "d/x"}} {
				r.must(os.Rename(at(m[0]), at(m[1])))
			}
		}, 12},
		"of a folder into one that is new": {func(r *rig, at func(string) string) {
			r.must(os.MkdirAll(at("p/q"), 0o750))
			r.must(os.Rename(at("d"), at("p/q/d")))
		}, 0},
		"of folders that swap their names": {func(r *rig, at func(string) string) {
			for _, m := range [][2]string{{"d", "t"}, {"f", "d"}, {"t", "f"}} {
				r.must(os.Rename(at(m[0]), at(m[1])))
			}
		}, 6},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for _, rel := range []string{"a", "b", "d/x", "d/y", "f/x", "keep"} {
				r.write(rel, fmt.Sprintf("of %-3s", rel))
			}
			sent, _ := r.countBodies()
			r.start()
			idle := func() bool {
				h := r.agent.Health()
				return h.Queued == 0 && h.Held == 0 && h.Failed == 0 && h.Folders[0].Dirty == 0
			}
			r.waitEqual("the feed")
			r.waitFor("nothing to do", idle)
			before := sent.Load()
			c.do(r, func(rel string) string { return filepath.Join(r.inbox, rel) })
			r.waitEqual(name)
			r.waitFor("nothing to do", idle)
			r.waitEqual(name)
			if n := sent.Load() - before; n > c.sent {
				t.Errorf("%d bytes were sent, want at most %d", n, c.sent)
			}
		})
	}
}

// gate keeps the PUTs of a key waiting.
type putGate struct {
	arrived chan struct{} // closed when the first has come
	once    sync.Once
	open    chan struct{}
}

// holdPuts puts a proxy between agent and server that keeps the PUTs of a key waiting until the gate opens.
func (r *rig) holdPuts(key string) *putGate {
	target, err := url.Parse(r.server.Endpoint)
	r.must(err)
	g := &putGate{arrived: make(chan struct{}), open: make(chan struct{})}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target); p.Out.Host = p.In.Host }}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodPut && strings.HasSuffix(q.URL.Path, "/"+key) {
			body, err := io.ReadAll(q.Body)
			if err != nil {
				return
			}
			q.Body = io.NopCloser(strings.NewReader(string(body)))
			g.once.Do(func() { close(g.arrived) })
			select {
			case <-g.open:
			case <-q.Context().Done():
				return
			}
		}
		proxy.ServeHTTP(w, q)
	}))
	r.t.Cleanup(s.Close)
	r.t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	r.cfg.S3.Endpoint = s.URL
	return g
}

// A file gets another name while its upload waits for the server's answer: the object of the old name does not stay.
func TestRenamedDuringItsUpload(t *testing.T) {
	r := newRig(t)
	r.write("keep", "x")
	g := r.holdPuts("slow")
	r.start()
	r.waitEqual("the feed")
	r.write("slow", "takes its time")
	<-g.arrived
	r.must(os.Rename(filepath.Join(r.inbox, "slow"), filepath.Join(r.inbox, "quick")))
	r.waitFor("the new name", func() bool { return r.held()["quick"] == "takes its time" })
	close(g.open)
	r.waitEqual("the end of the old upload")
	r.waitFor("nothing to do", func() bool { h := r.agent.Health(); return h.Queued == 0 && h.Folders[0].Dirty == 0 })
	r.waitEqual("everything")
}

// A file moves between two watched folders: in one bucket it is copied, in two it is sent, and each folder deletes its own.
func TestRenamedIntoAnotherFolder(t *testing.T) {
	for name, other := range map[string]string{"of the same bucket": "", "of another bucket": "other-bucket"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			in := r.bucket
			second := filepath.Join(filepath.Dir(r.inbox), "second")
			r.must(os.Mkdir(second, 0o750))
			f := NewFolder(second)
			f.Prefix, f.Bucket = "p", other
			if other != "" {
				in = r.server.Bucket(t, other)
			}
			r.cfg.Folders[0].Prefix = "first"
			r.cfg.Folders = append(r.cfg.Folders, f)
			r.write("a", "one")
			r.write("keep", "x")
			sent, copied := r.countBodies()
			r.start()
			keys := func(b *bucket.Bucket) (all string) {
				for o, err := range b.List(t.Context(), "", "", "") {
					r.must(err)
					all += string(o.Key) + " "
				}
				return all
			}
			r.waitFor("the feed", func() bool { return keys(r.bucket) == "first/a first/keep " })
			before := sent.Load()
			r.must(os.Rename(filepath.Join(r.inbox, "a"), filepath.Join(second, "b")))
			if other == "" {
				r.waitFor("the move", func() bool { return keys(r.bucket) == "first/keep p/b " })
				if n := sent.Load() - before; n != 0 || copied.Load() != 1 {
					t.Errorf("%d bytes sent, %d copies", n, copied.Load())
				}
				return
			}
			r.waitFor("the move", func() bool { return keys(r.bucket) == "first/keep " && keys(in) == "p/b " })
			if n := sent.Load() - before; n != 3 || copied.Load() != 0 {
				t.Errorf("%d bytes sent, %d copies", n, copied.Load())
			}
		})
	}
}
