//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"s3apu/internal/s3servers"
)

// gateway is a proxy at a fixed address that can be out of order in several ways.
type gateway struct {
	addr     string
	proxy    http.Handler
	mode     atomic.Pointer[string] // "", "black hole" or "503"
	requests atomic.Int64
	healed   atomic.Int64 // when the first request came after all was well again, in nanoseconds since 1970; 0: not yet

	mu  sync.Mutex
	srv *http.Server // nil: connections are refused
}

func newGateway(t *testing.T, upstream string) *gateway {
	t.Helper()
	g := &gateway{addr: heldAddr(t), proxy: proxyTo(t, upstream)}
	g.set(t, "")
	t.Cleanup(func() { g.set(t, "refused") })
	return g
}

// heldAddr returns a loopback address that nobody else gets until the test ends: a socket is bound to it that never listens, so that
// connections are refused while nobody else does.
func heldAddr(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	must(t, syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)) // as who listens does: both may bind it
	must(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	at, err := syscall.Getsockname(fd)
	must(t, err)
	return fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
}

// set changes what the gateway does from now on; "" is all well.
func (g *gateway) set(t *testing.T, mode string) {
	t.Helper()
	g.mode.Store(&mode)
	g.healed.Store(0)
	g.mu.Lock()
	defer g.mu.Unlock()
	if mode == "refused" {
		if g.srv != nil {
			_ = g.srv.Close() // with its connections
			g.srv = nil
		}
		return
	}
	if g.srv == nil {
		l, err := net.Listen("tcp", g.addr)
		must(t, err)
		g.srv = &http.Server{Handler: g}
		go func(srv *http.Server) { _ = srv.Serve(l) }(g.srv)
	}
}

// ServeHTTP implements http.Handler.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.requests.Add(1)
	switch *g.mode.Load() {
	case "black hole":
		for { // nothing comes back until the client gives up or the outage is over
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second):
				if *g.mode.Load() == "black hole" {
					continue
				}
			}
			panic(http.ErrAbortHandler)
		}
	case "503":
		refuse(w, r, http.StatusServiceUnavailable, "ServiceUnavailable")
	default:
		g.healed.CompareAndSwap(0, time.Now().UnixNano())
		g.proxy.ServeHTTP(w, r)
	}
}

// rss is the memory of a process that is resident now, in MiB.
func rss(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.SplitSeq(string(text), "\n") {
		var kib int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib >> 10
		}
	}
	t.Fatal("the kernel does not tell the memory of the process")
	return 0
}

const (
	probesMost   = 5  // a second, once the outage has been noticed
	growsAtMost  = 64 // MiB of memory over an outage: a guess that a queue in memory would break
	noticedAfter = 3  // the first third of the outage is for noticing it
)

// TestOutage has an endpoint away while thousands of changes happen: all arrive after it, the memory stays flat, and it is not
// asked all the time meanwhile.
func TestOutage(t *testing.T) {
	gate(t)
	t.Parallel() // it waits most of the time
	for _, tt := range []struct {
		mode string
		kind s3servers.Kind
		away time.Duration
		n    int
	}{
		{"refused", s3servers.VersityGW, time.Minute, 10_000},
		{"503", s3servers.MinIO, either(30*time.Second, time.Minute), either(2000, 10_000)},
		{"black hole", s3servers.VersityGW, either(30*time.Second, time.Minute), either(2000, 10_000)},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			t.Parallel()
			outage(t, tt.mode, tt.kind, tt.away, tt.n)
		})
	}
}

// outage has n changes while the endpoint is away.
func outage(t *testing.T, mode string, kind s3servers.Kind, away time.Duration, n int) {
	srv := s3servers.Start(t, kind)
	s3 := srv.Bucket(t, "outage")
	b := boxFor(t, srv, "outage")
	g := newGateway(t, srv.Endpoint)
	b.endpoint = "http://" + g.addr
	b.save(t)
	b.put(t, keeper, nil)
	for i := range 500 {
		b.put(t, fmt.Sprintf("old/%d", i), []byte("old"))
	}
	a := b.startReady(t)
	p := &person{}
	if _, err := b.settle(t.Context(), s3, p, settledIn); err != nil {
		t.Fatal(err)
	}
	before := rss(t, a.cmd.Process.Pid)

	began := time.Now()
	g.set(t, mode)
	for i := range n - 500 {
		b.put(t, fmt.Sprintf("new/%d/%d", i%50, i), fmt.Appendf(nil, "content %d", i))
	}
	for i := range 500 {
		path := filepath.Join(b.tree, fmt.Sprintf("old/%d", i))
		if i%2 == 0 {
			must(t, os.Remove(path))
		} else {
			must(t, os.WriteFile(path, []byte("changed"), 0o644))
		}
	}
	<-time.After(time.Until(began.Add(away / noticedAfter)))
	asked, since := g.requests.Load(), time.Now()
	<-time.After(time.Until(began.Add(away)))
	rate := float64(g.requests.Load()-asked) / time.Since(since).Seconds()
	during := rss(t, a.cmd.Process.Pid)

	g.set(t, "")
	ended := time.Now()
	took, err := b.settle(t.Context(), s3, p, 2*settledIn)
	must(t, err)
	after := rss(t, a.cmd.Process.Pid)
	t.Logf("%s for %v with %d changes: noticed %v after its end, equal %v after it; %.2f requests a second meanwhile; memory %d, %d, %d MiB before, at the end of it, after",
		mode, away, n, time.Unix(0, g.healed.Load()).Sub(ended).Round(time.Millisecond), took.Round(time.Millisecond), rate, before, during, after)
	if rate > probesMost {
		t.Errorf("%.1f requests a second during the outage, want at most %d", rate, probesMost)
	}
	if during > before+growsAtMost || after > before+growsAtMost {
		t.Errorf("the memory grew from %d to %d and %d MiB", before, during, after)
	}
	a.stop(t)
	b.booksAgree(t, srv, s3)
}
