//go:build linux

package protocol

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests here measure, or take the whole machine for seconds; with -race they would measure the detector.
func measured(t *testing.T) {
	t.Helper()
	if os.Getenv("S3APU_E2E") != "1" {
		t.Skip("it measures the machine for seconds; S3APU_E2E=1 runs it")
	}
	if raceDetector {
		t.Skip("the race detector would be measured")
	}
}

// floodEnv makes the test binary a flooder: KIND CONNECTIONS ADDRESS.
const floodEnv = "S3APU_TEST_FLOOD"

const floodClients = 400

// floods are the kinds, and what each connection sends over and over.
var floods = map[string]string{
	"junk":    strings.Repeat("!\n", 1024),
	"long":    strings.Repeat("x", MaxLine+100) + "\n",
	"endless": strings.Repeat("x", 64<<10),
	"puts":    strings.Repeat(b64("cpo|/b/from|to")+"\n", 1024),
	"connect": "",
}

// flood sends until its input ends; it is a process of its own, so that it is not measured with the server.
func flood(kind string, n int, addr string) {
	for range n {
		go func() {
			for {
				c, err := net.Dial("unix", addr)
				if err != nil {
					<-time.After(time.Millisecond)
					continue
				}
				go io.Copy(io.Discard, c)
				for part := []byte(floods[kind]); len(part) > 0; {
					if _, err := c.Write(part); err != nil {
						break
					}
				}
				c.Close()
			}
		}()
	}
	io.Copy(io.Discard, os.Stdin)
}

// floodIfAsked makes this process a flooder, if the environment says so.
func floodIfAsked() {
	kind, rest, ok := strings.Cut(os.Getenv(floodEnv), " ")
	number, addr, _ := strings.Cut(rest, " ")
	if n, err := strconv.Atoi(number); ok && err == nil {
		flood(kind, n, addr)
		os.Exit(0)
	}
}

// startFlood begins a flood and returns its end, which the end of the test is too.
func startFlood(t *testing.T, kind, addr string) (stop func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), floodEnv+"="+kind+" "+strconv.Itoa(floodClients)+" "+addr, "GOMAXPROCS=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { in.Close(); cmd.Wait() })
	t.Cleanup(stop)
	return stop
}

// latency asks n times and returns the median and the slowest of a hundred.
func latency(t *testing.T, w *wire, n int) (p50, p99 time.Duration) {
	t.Helper()
	var took []time.Duration
	for range n {
		began := time.Now()
		if got := w.ask("del|a"); got != "ok" {
			t.Fatalf("answered %q", got)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[n/2], took[n*99/100]
}

// heap is what the process holds after a collection, in MiB.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse+m.StackInuse) / (1 << 20)
}

func TestFlood(t *testing.T) {
	measured(t)
	for _, kind := range []string{"junk", "long", "endless", "puts", "connect"} {
		t.Run(kind, func(t *testing.T) {
			s := &Server{Handler: noopHandler{}}
			addr := listenFor(t, s, "unix")
			w := dialWire(t, "unix", addr)
			quiet, _ := latency(t, w, 500)
			before := heap()
			stop := startFlood(t, kind, addr)
			eventually(t, "the flood comes", func() bool { return s.Clients() > floodClients/4 || kind == "connect" && s.Clients() > 1 })
			p50, p99 := latency(t, w, 100)
			grown := heap() - before
			t.Logf("%d connections of %s: another client p50 %v, p99 %v (quiet p50 %v); %.0f MiB more", floodClients, kind, p50, p99, quiet, grown)
			if p50 > 500*time.Millisecond || grown > 200 {
				t.Error("the flood drowns others")
			}
			stop()
			eventually(t, "it ends", func() bool { return s.Clients() <= 1 })
		})
	}
}

func TestThousandClientsAtWork(t *testing.T) {
	measured(t)
	needFiles(t, 2200)
	const clients, each = 1000, 50
	s := &Server{Handler: noopHandler{}}
	addr := listenFor(t, s, "unix")
	ws := make([]*wire, clients)
	for i := range ws {
		ws[i] = dialWire(t, "unix", addr)
	}
	eventually(t, "all are served", func() bool { return s.Clients() == clients })
	began := time.Now()
	var all sync.WaitGroup
	took := make([]time.Duration, clients)
	for i, w := range ws {
		all.Go(func() {
			for range each {
				if got := w.ask("del|a"); got != "ok" {
					t.Errorf("client %d: %q", i, got)
					return
				}
			}
			took[i] = time.Since(began)
		})
	}
	all.Wait()
	slices.Sort(took)
	t.Logf("%d clients, %d requests each: %.0f requests/s; the first ready after %v, the last after %v", clients, each,
		clients*each/time.Since(began).Seconds(), took[0], took[clients-1])
}

func TestThousandIdle(t *testing.T) {
	measured(t)
	needFiles(t, 2200)
	s := &Server{Handler: noopHandler{}}
	addr := listenFor(t, s, "unix")
	w := dialWire(t, "unix", addr)
	alone, _ := latency(t, w, 500)
	before := heap()
	for range 1000 {
		dialWire(t, "unix", addr)
	}
	eventually(t, "all are there", func() bool { return s.Clients() == 1001 })
	p50, p99 := latency(t, w, 500)
	t.Logf("beside 1,000 idle ones: p50 %v, p99 %v (alone p50 %v); %.1f KiB for each, both ends", p50, p99, alone, (heap()-before)*1024/1000)
	if p50 > 20*time.Millisecond {
		t.Error("idle clients slow an active one down")
	}
}

func TestSlowReaders(t *testing.T) {
	measured(t)
	s := &Server{Handler: noopHandler{}, WriteTimeout: 2 * time.Second}
	addr := listenFor(t, s, "unix")
	w := dialWire(t, "unix", addr)
	before := heap()
	burst := []byte(strings.Repeat(b64("inf")+"\n", 4096))
	var all sync.WaitGroup
	for range 200 {
		slow := dialWire(t, "unix", addr)
		all.Go(func() {
			for { // and never reads
				if _, err := slow.conn.Write(burst); err != nil {
					return
				}
			}
		})
	}
	eventually(t, "they are there", func() bool { return s.Clients() > 100 })
	p50, p99 := latency(t, w, 300)
	t.Logf("beside 200 slow readers: p50 %v, p99 %v; %.0f MiB more", p50, p99, heap()-before)
	all.Wait() // they are cut
	eventually(t, "their sessions end", func() bool { return s.Clients() == 1 })
}

// Without a descriptor left the server neither spins nor dies, and goes on when there is one.
func TestFloodOfDescriptors(t *testing.T) {
	measured(t)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	logs := &logBuffer{}
	addr := listenFor(t, &Server{Handler: noopHandler{}, Log: logs.logger()}, "unix")
	open, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	few := old
	few.Cur = uint64(len(open)) + 20
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old)
	var held []net.Conn
	for {
		c, err := net.Dial("unix", addr)
		if err != nil {
			break // ours have run out
		}
		held = append(held, c)
	}
	eventually(t, "the server has none", func() bool { return strings.Contains(logs.String(), "no new client can be accepted") })
	var u0, u1 syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u0)
	<-time.After(time.Second)
	syscall.Getrusage(syscall.RUSAGE_SELF, &u1)
	used := time.Duration(u1.Utime.Nano() + u1.Stime.Nano() - u0.Utime.Nano() - u0.Stime.Nano())
	t.Logf("%d connections; %v of processor time in a second without descriptors; the log has %d bytes", len(held), used, len(logs.String()))
	if used > 300*time.Millisecond || strings.Count(logs.String(), "no new client") > 3 {
		t.Error("it spins")
	}
	for _, c := range held {
		c.Close()
	}
	if got := dialWire(t, "unix", addr).ask("del|a"); got != "ok" {
		t.Errorf("afterwards: %q", got)
	}
}

// needFiles makes room for n descriptors.
func needFiles(t *testing.T, n uint64) {
	t.Helper()
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	if l.Cur < n {
		t.Skip("needs ", n, " descriptors (ulimit -n)")
	}
}
