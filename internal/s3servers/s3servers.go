// Package s3servers starts S3 servers for tests: those that live in the test's own process at once, real ones as
// processes of their own where the environment allows it. It owns the processes that it starts and their temporary
// folders, and ends both with the test. It fails by failing or skipping the test, with the reason.
package s3servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers/inprocess"
	"s3apu/protocol"
)

// Kind names a server.
type Kind string

// The servers.
const (
	Memory    Kind = "gofakes3"  // gofakes3 with its own store, in memory
	Folder    Kind = "inprocess" // the one of package inprocess, in a temporary folder
	VersityGW Kind = "versitygw" // a process
	MinIO     Kind = "minio"     // a process
)

// Kinds is all of them, those that always run first.
func Kinds() []Kind { return []Kind{Memory, Folder, VersityGW, MinIO} }

// Environment variables that let tests use servers of other projects: the first has to be 1, the second may name the
// folder of their programs, which else are looked for on PATH.
const (
	EnvUse = "S3APU_E2E"
	EnvBin = "S3APU_E2E_BIN"
)

// Server is a running server.
type Server struct {
	Kind      Kind
	Endpoint  string // http://127.0.0.1:port
	AccessKey string
	SecretKey string
	Region    string
	Root      string // the folder in which it keeps its data; empty for Memory

	side, home string // of a program: what it keeps beside its data
	end        func() // ends the program
}

// Start starts a server that ends with the test. It skips the test, with the reason, if the server cannot be had.
func Start(t testing.TB, kind Kind) *Server {
	t.Helper()
	s := &Server{Kind: kind, AccessKey: "s3apu-test-key", SecretKey: "s3apu-test-secret", Region: "us-east-1"} //nolint:gosec // keys of servers that live as long as a test
	keys := map[string]string{s.AccessKey: s.SecretKey}
	switch kind {
	case Memory:
		s.serve(t, gofakes3.New(s3mem.New(), gofakes3.WithoutVersioning(), gofakes3.WithV4Auth(keys)).Server())
	case Folder:
		s.Root = t.TempDir()
		h, err := inprocess.New(s.Root, keys)
		if err != nil {
			t.Fatal(err)
		}
		s.serve(t, h)
	case VersityGW, MinIO:
		s.Root, s.side, s.home = t.TempDir(), t.TempDir(), t.TempDir()
		s.Endpoint = "http://" + freeAddr(t)
		s.run(t)
	default:
		t.Fatalf("no such server: %s", kind)
	}
	return s
}

// Config returns what [bucket.Open] needs to reach a bucket of the server.
func (s *Server) Config(name string) bucket.Config {
	return bucket.Config{Bucket: name, Endpoint: s.Endpoint, Region: s.Region, AccessKeyID: s.AccessKey, SecretAccessKey: s.SecretKey}
}

// Bucket makes a bucket and opens it; it is closed with the test.
func (s *Server) Bucket(t testing.TB, name string) *bucket.Bucket {
	t.Helper()
	b, err := bucket.Open(t.Context(), s.Config(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// serve serves h on a loopback port.
func (s *Server) serve(t testing.TB, h http.Handler) {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	s.Endpoint = srv.URL
}

// program finds a server's program, or skips the test.
func program(t testing.TB, kind Kind) string {
	t.Helper()
	if os.Getenv(EnvUse) != "1" {
		t.Skipf("%s is a program of its own: set %s=1, and %s to its folder if it is not on PATH", kind, EnvUse, EnvBin)
	}
	name := string(kind)
	if dir := os.Getenv(EnvBin); dir != "" {
		name = filepath.Join(dir, name)
	}
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: %v", kind, err)
	}
	return path
}

// Times are guesses, generous ones: MinIO takes two seconds to start on a busy machine.
const (
	startTimeout = 30 * time.Second
	stopTimeout  = 5 * time.Second
	pollGap      = 20 * time.Millisecond
)

// Rotate ends the server's program and starts it again at the same address, with the same data and other keys.
func (s *Server) Rotate(t testing.TB, accessKey, secretKey string) {
	t.Helper()
	s.end()
	s.AccessKey, s.SecretKey = accessKey, secretKey
	s.run(t)
}

// run starts the server's program at its address and waits until it answers.
func (s *Server) run(t testing.TB) {
	t.Helper()
	prog := program(t, s.Kind)
	addr := strings.TrimPrefix(s.Endpoint, "http://")
	var cmd *exec.Cmd
	ctx := context.WithoutCancel(t.Context()) // that ends before the test's cleanup, which stops the server gently
	switch s.Kind {
	case VersityGW:
		// Metadata goes into a folder of its own: the temporary folder's file system may lack extended attributes.
		cmd = exec.CommandContext(ctx, prog, "--port", addr, "--region", s.Region, "--quiet", "--keep-alive", "posix", "--sidecar", s.side, s.Root)
		cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
	case MinIO:
		cmd = exec.CommandContext(ctx, prog, "server", "--quiet", "--address", addr, "--console-address", "127.0.0.1:0", s.Root)
		cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey,
			"MINIO_UPDATE=off", "MINIO_REGION="+s.Region, "HOME="+s.home)
	}
	out := &buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	s.end = sync.OnceFunc(func() { stop(t, cmd.Process, exited) })
	t.Cleanup(s.end)
	if err := s.wait(t.Context(), exited); err != nil {
		t.Fatalf("%s: %v\n%s", s.Kind, err, out)
	}
}

// wait waits until the server answers requests that are signed: that there is no such bucket.
func (s *Server) wait(ctx context.Context, exited chan error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	path := "/"
	if s.Kind == MinIO {
		path = "/minio/health/ready"
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	b, err := bucket.Open(ctx, s.Config("no-such-bucket"))
	if err != nil {
		return err
	}
	defer b.Close()
	tick := time.NewTicker(pollGap)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint+path, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close() // nobody reads it
			if resp.StatusCode < 500 {
				// MinIO says that it is ready before it knows buckets and keys.
				err = b.Probe(ctx)
				if e := new(protocol.Error); errors.As(err, &e) && e.Code == "NoSuchBucket" {
					return nil
				}
			}
		}
		select {
		case err := <-exited:
			exited <- err
			return fmt.Errorf("it ended at once: %w", errors.Join(err, errors.New("see its output")))
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", errors.Join(err, ctx.Err()))
		case <-tick.C:
		}
	}
}

// stop ends the process, gently at first, and waits for its end.
func stop(t testing.TB, p *os.Process, exited <-chan error) {
	if p.Signal(os.Interrupt) == nil {
		select {
		case <-exited:
			return
		case <-time.After(stopTimeout):
		}
	}
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("kill process %d: %v", p.Pid, err)
	}
	<-exited
}

// freeAddr returns a loopback address that nobody listened on a moment ago.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// buffer keeps the output of a process, which is read while it still writes.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
