//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	app "s3apu/agent" // agent is a process here
	"s3apu/internal/bucket"
	"s3apu/internal/s3servers"
)

// site is an agent with two watched folders: the tree, in or over which something is mounted, and one beside it.
type site struct {
	*box
	s3      *bucket.Bucket
	other   string       // the folder beside the tree
	spare   string       // a folder that is not watched
	page    string       // address of /healthz
	deletes atomic.Int64 // requests that delete
	running *agent
	open    *os.File // kept open by the attack
}

// loss is one way in which a root, or a mount below it, goes and comes back.
type loss struct {
	name   string
	nobody bool // the agent may not read everything
	nested bool // only what is below "m" goes
	lay    func(*testing.T, *site)
	lose   func(*testing.T, *site)
	heal   func(*testing.T, *site)
}

var losses = []loss{
	{name: "the root is a tmpfs and unmounted",
		lay: func(t *testing.T, s *site) {
			mount(t, "none", s.tree, "tmpfs", 0)
			mount(t, s.tree, s.spare, "", unix.MS_BIND) // the file system outlives the attack
		},
		lose: func(t *testing.T, s *site) { unmount(t, s.tree, unix.MNT_DETACH) },
		heal: func(t *testing.T, s *site) { mount(t, s.spare, s.tree, "", unix.MS_BIND) }},
	{name: "the root is a bind mount and unmounted",
		lay:  func(t *testing.T, s *site) { mount(t, s.spare, s.tree, "", unix.MS_BIND) },
		lose: func(t *testing.T, s *site) { unmount(t, s.tree, unix.MNT_DETACH) },
		heal: func(t *testing.T, s *site) { mount(t, s.spare, s.tree, "", unix.MS_BIND) }},
	{name: "something is mounted over the root",
		lose: func(t *testing.T, s *site) { mount(t, "none", s.tree, "tmpfs", 0) },
		heal: func(t *testing.T, s *site) { unmount(t, s.tree, unix.MNT_DETACH) }},
	{name: "the root is replaced by an empty folder",
		lose: func(t *testing.T, s *site) {
			must(t, os.Rename(s.tree, s.spare+"/away"))
			must(t, os.Mkdir(s.tree, 0o755))
		},
		heal: func(t *testing.T, s *site) {
			must(t, os.Remove(s.tree))
			must(t, os.Rename(s.spare+"/away", s.tree))
		}},
	{name: "the root is gone",
		lose: func(t *testing.T, s *site) { must(t, os.Rename(s.tree, s.spare+"/away")) },
		heal: func(t *testing.T, s *site) { must(t, os.Rename(s.spare+"/away", s.tree)) }},
	{name: "permissions are taken from the root", nobody: true,
		lose: func(t *testing.T, s *site) { must(t, os.Chmod(s.tree, 0)) },
		heal: func(t *testing.T, s *site) { must(t, os.Chmod(s.tree, 0o755)) }},
	{name: "the root may be listed and not entered", nobody: true,
		lose: func(t *testing.T, s *site) { must(t, os.Chmod(s.tree, 0o444)) },
		heal: func(t *testing.T, s *site) { must(t, os.Chmod(s.tree, 0o755)) }},
	{name: "permissions are taken from a folder", nobody: true, nested: true,
		lose: func(t *testing.T, s *site) { must(t, os.Chmod(s.m(), 0)) },
		heal: func(t *testing.T, s *site) { must(t, os.Chmod(s.m(), 0o755)) }},
	{name: "a nested mount is gone", nested: true,
		lay: func(t *testing.T, s *site) {
			must(t, os.Mkdir(s.m(), 0o755))
			mount(t, "none", s.m(), "tmpfs", 0)
			mount(t, s.m(), s.spare, "", unix.MS_BIND)
		},
		lose: func(t *testing.T, s *site) { unmount(t, s.m(), unix.MNT_DETACH) },
		heal: func(t *testing.T, s *site) { mount(t, s.spare, s.m(), "", unix.MS_BIND) }},
	{name: "a nested bind mount is gone", nested: true,
		lay: func(t *testing.T, s *site) {
			must(t, os.Mkdir(s.m(), 0o755))
			mount(t, s.spare, s.m(), "", unix.MS_BIND)
		},
		lose: func(t *testing.T, s *site) { unmount(t, s.m(), unix.MNT_DETACH) },
		heal: func(t *testing.T, s *site) { mount(t, s.spare, s.m(), "", unix.MS_BIND) }},
	{name: "a nested mount is unmounted lazily under an open folder", nested: true,
		lay: func(t *testing.T, s *site) {
			must(t, os.Mkdir(s.m(), 0o755))
			mount(t, "none", s.m(), "tmpfs", 0)
			mount(t, s.m(), s.spare, "", unix.MS_BIND)
		},
		lose: func(t *testing.T, s *site) {
			var err error
			s.open, err = os.Open(s.m())
			must(t, err)
			t.Cleanup(func() { _ = s.open.Close() }) // only read
			unmount(t, s.m(), unix.MNT_DETACH)
			// The watches still stand on what is not there any more, and tell of it by its old names.
			inside := fmt.Sprintf("/proc/self/fd/%d/", s.open.Fd())
			must(t, os.WriteFile(inside+"file 1", []byte("written after the unmount"), 0o644))
			must(t, os.WriteFile(inside+"passing", []byte("x"), 0o644))
			must(t, os.Remove(inside+"passing"))
			must(t, os.Rename(inside+"file 2", inside+"file two"))
			must(t, os.Rename(inside+"file two", inside+"file 2"))
		},
		heal: func(t *testing.T, s *site) { mount(t, s.spare, s.m(), "", unix.MS_BIND) }},
	{name: "something is mounted over a folder, as automounters do", nested: true,
		lose: func(t *testing.T, s *site) { mount(t, "none", s.m(), "tmpfs", 0) },
		heal: func(t *testing.T, s *site) { unmount(t, s.m(), unix.MNT_DETACH) }},
}

// TestMountsAndRoots takes roots, and mounts below them, away from a running agent and gives them back: no request
// deletes anything, what lies elsewhere is uploaded meanwhile, also through a kill -9, and all is as before by itself.
func TestMountsAndRoots(t *testing.T) {
	gate(t)
	if os.Geteuid() != 0 {
		t.Skip("mounting, and running the agent as somebody else, takes root")
	}
	t.Parallel()
	srv := s3servers.Start(t, s3servers.VersityGW)
	var all sync.WaitGroup
	for i, l := range losses { // all at a time, for they wait most of theirs
		all.Go(func() {
			t.Run(l.name, func(t *testing.T) { newSite(t, srv, i, l).attack(t, l) })
		})
	}
	all.Wait()
}

const siteFiles = 40 // in the tree, and as many below "m"

func newSite(t *testing.T, srv *s3servers.Server, i int, l loss) *site {
	t.Helper()
	name := fmt.Sprintf("e2e-mounts-%d", i)
	// An address that no connection between the others can have taken: each of them has a page, and many connections.
	s := &site{box: boxFor(t, srv, name), s3: srv.Bucket(t, name), page: fmt.Sprintf("127.77.%d.%d:19999", os.Getpid()%250, i+1)}
	s.other, s.spare = filepath.Join(s.dir, "other"), filepath.Join(s.dir, "spare")
	must(t, errors.Join(os.Mkdir(s.other, 0o755), os.Mkdir(s.spare, 0o755), os.Mkdir(s.state, 0o750)))
	s.endpoint = s.countDeletes(t, srv.Endpoint)
	s.extra = fmt.Sprintf("[http]\nlisten = %q\n", s.page) + folderToml(s.other, "other", "")
	if l.nobody {
		s.user = ordinaryUser()
		s.own(t, s.dir, s.state)
	}
	s.save(t)
	if l.lay != nil {
		l.lay(t, s)
	}
	for i := range siteFiles {
		s.put(t, fmt.Sprintf("file %d", i), noise(uint64(i), 300))
		s.put(t, fmt.Sprintf("m/file %d", i), noise(uint64(i), 500))
		s.put(t, fmt.Sprintf("m/d/%d/file", i%5), noise(uint64(i), 100))
	}
	return s
}

// countDeletes puts a proxy before the server that counts requests for deletes.
func (s *site) countDeletes(t *testing.T, upstream string) string {
	t.Helper()
	proxy := proxyTo(t, upstream)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete || r.Method == http.MethodPost && r.URL.Query().Has("delete") {
			s.deletes.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func (s *site) attack(t *testing.T, l loss) {
	s.running = s.startReady(t)
	s.equalIn(t, s.s3, "the feed", depth{})

	began := time.Now()
	l.lose(t, s)
	noticed := s.until(t, "the loss", func(h app.Health) bool { return lost(h, l) }, began)
	s.goesOnElsewhere(t, l, "first")

	s.running.kill(t)
	killed := time.Now()
	s.running = s.start(t)
	again := s.until(t, "the loss after a kill", func(h app.Health) bool { return lost(h, l) || h.Held > 0 && len(h.Holds) > 0 }, killed)
	s.goesOnElsewhere(t, l, "second")

	began = time.Now()
	l.heal(t, s)
	healed := s.until(t, "the end of the loss", func(h app.Health) bool { return h.OK && !lost(h, l) && h.Held == 0 && h.Failed == 0 }, began)
	s.equalIn(t, s.s3, "it came back", depth{})
	if n := s.deletes.Load(); n > 0 {
		t.Errorf("%d requests for deletes", n)
	}
	t.Logf("noticed after %v, after a kill -9 and a start %v; well %v after it came back; 0 deletes",
		noticed, again, healed)

	s.put(t, "m/new/file", []byte("new")) // all is watched again, and deletes go through
	must(t, os.Remove(filepath.Join(s.m(), "file 0")))
	s.equalIn(t, s.s3, "a change after that", depth{})
	if n := s.deletes.Load(); n != 1 {
		t.Errorf("%d requests for deletes, one file is gone", n)
	}
	s.running.stop(t)
}

// lost reports whether the agent says that it has noticed.
func lost(h app.Health, l loss) bool {
	if len(h.Folders) == 0 {
		return false
	}
	f := h.Folders[len(h.Folders)-1] // the tree comes last in the configuration
	if !l.nested {
		return !f.OK
	}
	if _, said := f.Reasons["m"]; said && f.Unreadable > 0 {
		return true
	}
	return slices.ContainsFunc(f.Frozen, func(z app.FrozenHealth) bool { return z.Path == "m" })
}

// until waits until /healthz says so, and returns how long that was from then on.
func (s *site) until(t *testing.T, what string, is func(app.Health) bool, then time.Time) time.Duration {
	t.Helper()
	eventually(t, settledIn, func() error {
		h, err := s.health()
		if err == nil && !is(h) {
			err = fmt.Errorf("/healthz does not tell of %s: %+v", what, h)
		}
		return err
	})
	return time.Since(then).Round(10 * time.Millisecond)
}

// healthOf asks a /healthz.
func healthOf(page string) (h app.Health, err error) {
	resp, err := http.Get("http://" + page + "/healthz")
	if err != nil {
		return h, err
	}
	return h, errors.Join(json.NewDecoder(resp.Body).Decode(&h), resp.Body.Close())
}

func (s *site) health() (h app.Health, err error) { return healthOf(s.page) }

// goesOnElsewhere writes what is not concerned, waits until it is in the bucket, and sees to it that nothing was deleted.
func (s *site) goesOnElsewhere(t *testing.T, l loss, name string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(s.other, name), []byte(name), 0o644))
	keys := []string{"other/" + name}
	if l.nested {
		s.put(t, "elsewhere/"+name, []byte(name))
		keys = append(keys, "in/elsewhere/"+name)
	}
	for _, key := range keys {
		eventually(t, settledIn, func() error { return there(t, s.s3, key) })
	}
	if l.nobody {
		code, out, errs := s.run(t, "s3apu-agent", "status")
		if !strings.Contains(out, s.tree) {
			t.Errorf("status ended with %d and says nothing of the folder: %s%s", code, out, errs)
		}
	}
	<-time.After(2 * time.Second) // in which nothing may be deleted
	if n := s.deletes.Load(); n > 0 {
		t.Fatalf("%d requests for deletes", n)
	}
	n := 0
	for _, err := range s.s3.List(t.Context(), "in/", "", "") {
		must(t, err)
		n++
	}
	if n < 2*siteFiles {
		t.Fatalf("%d objects are left", n)
	}
}

func (s *site) m() string { return filepath.Join(s.tree, "m") }

// mount mounts, until the test ends.
func mount(t *testing.T, from, at, fs string, flags uintptr) {
	t.Helper()
	if err := unix.Mount(from, at, fs, flags, ""); err != nil {
		t.Fatalf("mount %s at %s: %v", from, at, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) }) // the test may have done it
}

func unmount(t *testing.T, at string, flags int) {
	t.Helper()
	if err := unix.Unmount(at, flags); err != nil {
		t.Fatalf("unmount %s: %v", at, err)
	}
}
