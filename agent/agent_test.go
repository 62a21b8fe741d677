package agent

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers"
	"s3apu/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what should come within moments, on a busy machine.
const patience = 60 * time.Second

// rig is an agent in this process, an S3 server in this process, and a folder.
type rig struct {
	t      *testing.T
	server *s3servers.Server
	bucket *bucket.Bucket
	cfg    *Config
	inbox  string
	logs   *Logs // nil: nothing is logged
	agent  *Agent
	stop   func()
}

const testBucket = "test-bucket"

func newRig(t *testing.T) *rig {
	t.Parallel() // they mostly wait
	r := &rig{t: t, server: s3servers.Start(t, s3servers.Folder), inbox: filepath.Join(t.TempDir(), "in")}
	r.bucket = r.server.Bucket(t, testBucket)
	if err := os.Mkdir(r.inbox, 0o750); err != nil {
		t.Fatal(err)
	}
	cfg := Defaults()
	cfg.StateDir = t.TempDir()
	cfg.S3.Bucket, cfg.S3.Endpoint = testBucket, r.server.Endpoint
	cfg.S3.AccessKeyID, cfg.S3.SecretAccessKey = r.server.AccessKey, r.server.SecretKey
	cfg.Socket.TCP, cfg.HTTP.Listen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Folders = []Folder{NewFolder(r.inbox)}
	r.cfg = &cfg
	return r
}

// launch starts the agent, and does not wait until it is ready.
func (r *rig) launch() (ready chan struct{}, done chan error) {
	r.t.Helper()
	ready = make(chan struct{})
	a, err := New(r.t.Context(), r.cfg, Options{Logs: r.logs, Version: "test", Ready: func() { close(ready) }})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	done = make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stopped := false
	r.agent = a
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("the agent ended with %v", err)
		}
	}
	r.t.Cleanup(r.stop)
	return ready, done
}

// start runs the agent until stop, or the test's end.
func (r *rig) start() {
	r.t.Helper()
	ready, done := r.launch()
	select {
	case <-ready:
	case err := <-done:
		r.t.Fatalf("the agent ended: %v", err)
	case <-time.After(patience):
		r.t.Fatal("the agent was not ready")
	}
}

// tree is what the bucket should hold: keys and contents, folders with a slash and without content.
func (r *rig) tree() map[string]string {
	want := map[string]string{}
	err := filepath.WalkDir(r.inbox, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == r.inbox {
			return err
		}
		rel, err := filepath.Rel(r.inbox, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			want[rel+"/"] = ""
			return nil
		}
		text, err := os.ReadFile(path)
		want[rel] = string(text)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return want
}

// held is what the bucket holds, listed over the wire; contents are read where the server keeps them.
func (r *rig) held() map[string]string {
	got := map[string]string{}
	for o, err := range r.bucket.List(r.t.Context(), "", "", "") {
		if err != nil {
			r.t.Fatal(err)
		}
		key := string(o.Key)
		if o.Key.IsFolder() {
			got[key] = ""
			continue
		}
		text, err := os.ReadFile(filepath.Join(r.server.Root, testBucket, filepath.FromSlash(key)))
		if err != nil {
			got[key] = err.Error()
			continue
		}
		got[key] = string(text)
	}
	return got
}

// waitFor waits until a condition holds.
func (r *rig) waitFor(what string, cond func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: it did not come about in %v; health %+v", what, patience, r.agent.Health())
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // the pace of looking, not a wait for something to pass
	}
}

func (r *rig) waitEqual(what string) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		want, got := r.tree(), r.held()
		if maps.Equal(want, got) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: bucket and tree differ\n tree %v\n bucket %v", what,
				slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // the pace of looking, not a wait for something to pass
	}
}

func (r *rig) write(rel, text string) {
	r.t.Helper()
	path := filepath.Join(r.inbox, rel)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestAgentKeepsTheBucketEqual(t *testing.T) {
	r := newRig(t)
	r.write("before.txt", "there before the agent")
	r.write("a/b/c.txt", "deep")
	r.start()
	r.waitEqual("the first feed")

	r.write("new.txt", "1")
	r.write("x/y/z/deep.txt", "2")
	r.waitEqual("new files")
	r.write("new.txt", "changed")
	r.must(os.Rename(filepath.Join(r.inbox, "before.txt"), filepath.Join(r.inbox, "after.txt")))
	r.must(os.Rename(filepath.Join(r.inbox, "a"), filepath.Join(r.inbox, "renamed")))
	r.waitEqual("changes and renames")
	r.must(os.Remove(filepath.Join(r.inbox, "new.txt")))
	r.must(os.RemoveAll(filepath.Join(r.inbox, "x")))
	r.waitEqual("deletes")
	r.must(os.Remove(filepath.Join(r.inbox, "after.txt")))
	r.write("after.txt/now/a-folder", "file to folder")
	r.must(os.RemoveAll(filepath.Join(r.inbox, "renamed")))
	r.write("renamed", "folder to file")
	r.waitEqual("file to folder and back")

	r.stop()
	r.write("while-off.txt", "3")
	r.write("renamed", "changed while off")
	r.must(os.RemoveAll(filepath.Join(r.inbox, "after.txt")))
	r.start()
	r.waitEqual("changes while the agent was off")
}

// An object that the agent did not put there stays, whatever happens in the folder.
func TestForeignObjectsStay(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	_, err := r.bucket.Put(ctx, "foreign.txt", protocol.Headers{}, strings.NewReader("f"), 1, md5Of("f"))
	r.must(err)
	r.write("mine.txt", "m")
	r.start()
	r.waitFor("mine", func() bool { return r.held()["mine.txt"] == "m" })
	r.must(os.Remove(filepath.Join(r.inbox, "mine.txt")))
	r.waitFor("mine gone", func() bool { _, ok := r.held()["mine.txt"]; return !ok })
	if r.held()["foreign.txt"] != "f" {
		t.Error("the foreign object is gone")
	}
}

// What the bucket holds already is not sent again by the first feed.
func TestFirstFeedSendsOnlyWhatIsMissing(t *testing.T) {
	r := newRig(t)
	for i := range 20 {
		text := fmt.Sprint("content ", i)
		r.write(fmt.Sprintf("f%02d", i), text)
		if i%2 == 0 {
			_, err := r.bucket.Put(t.Context(), protocol.Key(fmt.Sprintf("f%02d", i)), protocol.Headers{}, strings.NewReader(text), int64(len(text)), md5Of(text))
			r.must(err)
		}
	}
	proxied := r.countWrites()
	r.start()
	r.waitEqual("the feed")
	r.waitFor("an empty queue", func() bool { return r.agent.Health().Queued == 0 })
	if n := proxied.Load(); n != 10 {
		t.Errorf("%d objects were sent, 10 were missing", n)
	}
}

// countWrites puts a proxy between agent and server that counts PUTs.
func (r *rig) countWrites() *atomic.Int64 {
	target, err := url.Parse(r.server.Endpoint)
	r.must(err)
	var n atomic.Int64
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Host = p.In.Host // it is part of what was signed
		if p.In.Method == http.MethodPut {
			n.Add(1)
		}
	}}
	s := httptest.NewServer(proxy)
	r.t.Cleanup(s.Close)
	r.t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	r.cfg.S3.Endpoint = s.URL
	return &n
}

// A target that is not there is said on /healthz, everything is kept, and work goes on by itself.
func TestTargetAway(t *testing.T) {
	r := newRig(t)
	var down atomic.Bool
	down.Store(true)
	target, err := url.Parse(r.server.Endpoint)
	r.must(err)
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target); p.Out.Host = p.In.Host }}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`<Error><Code>InvalidAccessKeyId</Code><Message>no</Message></Error>`))
			return
		}
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	r.cfg.S3.Endpoint = s.URL
	r.write("a.txt", "a")
	r.start()
	r.waitFor("health says so", func() bool { h := r.agent.Health(); return !h.OK && h.Queued == 1 })
	resp, err := http.Get("http://" + r.agent.page.Addr().String() + "/healthz")
	r.must(err)
	var h Health
	r.must(json.NewDecoder(resp.Body).Decode(&h))
	r.must(resp.Body.Close())
	if resp.StatusCode != http.StatusServiceUnavailable || h.OK || !strings.Contains(h.Buckets[0].State, "InvalidAccessKeyId") {
		t.Errorf("healthz: %d %+v", resp.StatusCode, h)
	}
	down.Store(false)
	r.waitEqual("after the outage")
	r.waitFor("health is well", func() bool { return r.agent.Health().OK })
}

// A client that speaks nothing but S3 APU's protocol.
func TestOldClient(t *testing.T) {
	r := newRig(t)
	r.cfg.Worker.MaxWorkers = 0
	r.write("src.txt", "s")
	r.must(os.Remove(filepath.Join(r.inbox, "src.txt")))
	r.cfg.Folders[0].Recursion = 1
	r.start()
	var addr string
	for _, l := range r.agent.listeners {
		if l.Addr().Network() == "tcp" {
			addr = l.Addr().String()
		}
	}
	conn, err := net.Dial("tcp", addr)
	r.must(err)
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	say := func(text string) string {
		t.Helper()
		_, err := fmt.Fprintf(conn, "%s\n", base64.StdEncoding.EncodeToString([]byte(text)))
		r.must(err)
		line, err := in.ReadString('\n')
		r.must(err)
		answer, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		r.must(err)
		return string(answer)
	}
	for _, c := range []struct{ say, want string }{
		{"mkd|new/folder", "ok"},
		{"upl|" + r.inbox + "/x.txt|new/x.txt", "ok"},
		{"cpo|/other-bucket/a/b|copied", "ok"},
		{"del|old", "ok"},
		{"upl|/etc/passwd|stolen", "invalid"},
		{"upl|" + r.inbox + "/../../etc/passwd|stolen", "invalid"},
		{"mkd|/new", "invalid"},
		{"xyz|a", "invalid"},
		{"get|30", "cpo|/other-bucket/a/b|copied;del|old;mkd|new/folder;upl|" + r.inbox + "/x.txt|new/x.txt"},
	} {
		got := say(c.say)
		if strings.HasPrefix(c.say, "get") {
			parts := strings.Split(got, ";")
			slices.Sort(parts)
			got = strings.Join(parts, ";")
		}
		if got != c.want {
			t.Errorf("%q: %q, want %q", c.say, got, c.want)
		}
	}
	if got := say("inf"); !strings.HasPrefix(got, "qsize:0|th_count:1|total_cmd:34|mkd_cmd:1|upl_cmd:1|cpo_cmd:1|del_cmd:1|get_cmd:30|uptime:") {
		t.Errorf("inf: %q", got)
	}
}

func TestSecondAgentIsRefused(t *testing.T) {
	r := newRig(t)
	r.start()
	second := *r.cfg
	_, err := New(t.Context(), &second, Options{})
	if protocol.KindOf(err) != protocol.KindLocked || !strings.Contains(err.Error(), r.cfg.StateDir) {
		t.Errorf("got %v", err)
	}
}
