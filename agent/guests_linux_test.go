package agent

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"s3apu/protocol"
)

// nobody is the user that the tests are guests as, with a group of its own.
const nobody, nogroup = 65534, 65534

// dialAs connects as another user with these groups. The kernel notes who connects; all else goes on as we are.
func (r *rig) dialAs(uid uint32, gids ...uint32) *protocol.Client {
	r.t.Helper()
	type dialled struct {
		client *protocol.Client
		err    error
	}
	done := make(chan dialled, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine, and its user with it
		err := becomeOnThread(uid, gids)
		var c *protocol.Client
		if err == nil {
			c, err = protocol.Dial(r.t.Context(), "unix", r.cfg.SocketPath(), "")
		}
		done <- dialled{c, err}
	}()
	d := <-done
	r.must(d.err)
	r.t.Cleanup(func() { _ = d.client.Close() }) // nothing is under way
	return d.client
}

// becomeOnThread changes the user of this thread only, which the raw system calls do.
func becomeOnThread(uid uint32, gids []uint32) error {
	if _, _, e := syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(gids)), uintptr(unsafe.Pointer(&gids[0])), 0); e != 0 {
		return e
	}
	gid := uintptr(gids[0])
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); e != 0 {
		return e
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
		return e
	}
	return nil
}

// guestRig is an agent with a pool of files beside its watched folder, that guests may name, and a door for guests.
func guestRig(t *testing.T) (r *rig, pool string) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user takes root")
	}
	r = newRig(t)
	dir, err := os.MkdirTemp("", "s3g-") //nolint:usetesting // the folders above t.TempDir are closed to others
	r.must(err)
	t.Cleanup(func() { r.must(os.RemoveAll(dir)) })
	r.must(os.Chmod(dir, 0o755))
	pool = filepath.Join(dir, "pool")
	r.must(os.Mkdir(pool, 0o755))
	r.cfg.Socket.Unix = filepath.Join(dir, "s")
	r.cfg.Socket.AllowSources = []string{pool}
	r.cfg.Socket.AllowKeys = []string{"guest/**"}
	return r, pool
}

func (r *rig) openDoor() { r.must(os.Chown(r.cfg.Socket.Unix, 0, nogroup)) }

func (r *rig) file(path, text string, mode os.FileMode) {
	r.t.Helper()
	r.must(os.WriteFile(path, []byte(text), 0o600))
	r.must(os.Chmod(path, mode))
}

func upl(source, key string) protocol.Instruction {
	return protocol.Instruction{Verb: protocol.Upl, Source: source, Key: protocol.Key(key)}
}

// TestGuestsReadWithTheirOwnRights: what nobody cannot read is refused, at once or when it is read; the rest goes.
func TestGuestsReadWithTheirOwnRights(t *testing.T) {
	r, pool := guestRig(t)
	in := func(name string) string { return filepath.Join(pool, name) }
	r.file(in("open"), "for all", 0o644)
	r.file(in("secret"), "SECRET", 0o600)
	r.file(in("group"), "for the group", 0o640)
	r.must(os.Chown(in("group"), 0, nogroup))
	r.must(os.Mkdir(in("closed"), 0o700))
	r.file(in("closed/open"), "SECRET", 0o644)
	r.must(os.Symlink("closed/open", in("link")))
	r.start()
	r.openDoor()
	guest := r.dialAs(nobody, nogroup, 4)
	put := func(ins ...protocol.Instruction) error { return guest.Put(t.Context(), ins) }
	for _, name := range []string{"secret", "closed/open", "closed/none", "link", "none/at/all"} {
		if err := put(upl(in(name), "guest/"+name)); protocol.KindOf(err) != protocol.KindItem {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	if err := put(upl(in("open"), "elsewhere/open")); err == nil {
		t.Error("a key outside of allow_keys is taken")
	}
	r.must(put(upl(in("open"), "guest/open"), upl(in("group"), "guest/group")))
	r.waitFor("what the guest may read is there", func() bool {
		held := r.held()
		return held["guest/open"] == "for all" && held["guest/group"] == "for the group"
	})
	if _, err := guest.Failed(t.Context(), protocol.ObjectID{}, 1); err == nil {
		t.Error("a guest sees the failures of others")
	}
	for key, text := range r.held() {
		if strings.Contains(text, "SECRET") {
			t.Errorf("%s holds the secret", key)
		}
	}
}

// TestGuestIsJudgedWhenTheFileIsRead: S3 is away when the guest asks, the file is closed to it meanwhile, and the agent
// starts anew before it reads.
func TestGuestIsJudgedWhenTheFileIsRead(t *testing.T) {
	r, pool := guestRig(t)
	var down atomic.Bool
	proxy := r.proxy(&down)
	r.cfg.S3.Endpoint = proxy
	path := filepath.Join(pool, "f")
	r.file(path, "harmless", 0o644)
	r.start()
	r.openDoor()
	down.Store(true)
	guest := r.dialAs(nobody, nogroup)
	r.must(guest.Put(t.Context(), []protocol.Instruction{upl(path, "guest/f")}))
	r.stop()
	r.file(path, "SECRET", 0o600)
	down.Store(false)
	r.start()
	owner, err := protocol.Dial(t.Context(), "unix", r.cfg.SocketPath(), "")
	r.must(err)
	defer owner.Close()
	failed := func() []protocol.Failure {
		list, err := owner.Failed(t.Context(), protocol.ObjectID{}, 10)
		r.must(err)
		return list
	}
	r.waitFor("it is listed with its reason", func() bool {
		list := failed()
		return len(list) == 1 && strings.Contains(list[0].Reason, "could not read it")
	})
	t.Log(failed()[0].Reason)
	if held := r.held(); held["guest/f"] != "" {
		t.Errorf("the bucket holds %v", held)
	}
	// The owner of the file opens it again, and it goes.
	r.must(os.Chmod(path, 0o644))
	_, err = owner.Retry(t.Context(), nil)
	r.must(err)
	r.waitFor("it goes when it may", func() bool { return r.held()["guest/f"] == "SECRET" })
}

// proxy stands before the server and answers 503 while it is down.
func (r *rig) proxy(down *atomic.Bool) string {
	to := r.cfg.S3.Endpoint
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		forward(w, req, to)
	}))
	r.t.Cleanup(s.Close)
	return s.URL
}

func forward(w http.ResponseWriter, req *http.Request, to string) {
	out := req.Clone(req.Context())
	out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", strings.TrimPrefix(to, "http://")
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // the other side sees what is missing
}

// TestSwapsGainAGuestNothing: while nobody asks for its own file again and again, the file and the folder that it lies in
// are exchanged for links, hard links and folders with somebody else's as fast as possible.
func TestSwapsGainAGuestNothing(t *testing.T) {
	r, pool := guestRig(t)
	in := func(name string) string { return filepath.Join(pool, name) }
	secret := "SECRET" + rand.Text()
	r.must(os.Mkdir(in("closed"), 0o700))
	r.file(in("closed/f"), secret, 0o644)
	r.file(in("private"), secret, 0o600)
	r.must(os.Mkdir(in("mine"), 0o755))
	r.file(in("mine/f"), "mine", 0o644)
	r.start()
	r.openDoor()
	guest := r.dialAs(nobody, nogroup)

	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		exchange := func(a, b string) {
			_ = unix.Renameat2(unix.AT_FDCWD, in(a), unix.AT_FDCWD, in(b), unix.RENAME_EXCHANGE) // if it fails the test asks for less
		}
		_ = os.Symlink("closed", in("link"))
		_ = os.Symlink(in("private"), in("mine/other"))
		for { // each to and fro: in the end all is as it was
			select {
			case <-stop:
				return
			default:
			}
			for range 2 {
				exchange("mine", "link") // a folder and a link to a closed one
			}
			for range 2 {
				exchange("mine/f", "private")
			}
		}
	}()
	const asks = 1000
	taken := 0
	for n := range asks {
		if guest.Put(t.Context(), []protocol.Instruction{upl(in("mine/f"), fmt.Sprint("guest/", n))}) == nil {
			taken++
		}
	}
	close(stop)
	<-done
	r.must(guest.Put(t.Context(), []protocol.Instruction{upl(in("mine/f"), "guest/last")}))
	r.waitFor("all is carried out or given up", func() bool { return r.agent.queue.Stats().Pending() == 0 })
	mine := 0
	for key, text := range r.held() {
		if strings.Contains(text, "SECRET") {
			t.Fatalf("%s holds the secret", key)
		}
		if text == "mine" {
			mine++
		}
	}
	t.Logf("of %d asks %d were taken, and %d uploads made", asks, taken, mine)
	if r.held()["guest/last"] != "mine" {
		t.Error("what the guest may have was not uploaded")
	}
}
