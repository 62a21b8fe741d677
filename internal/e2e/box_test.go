//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"s3apu/internal/s3servers"
	"s3apu/protocol"
)

// Times are guesses with wide margins for a busy machine of two cores; nothing here waits them out when all is well.
const (
	readyIn = 60 * time.Second
	endsIn  = 40 * time.Second // the unit gives 30 s
	pollGap = 25 * time.Millisecond
)

// box is one agent with everything around it: a watched tree, a configuration, a state, in a folder that ends with the
// test. Its path is short, because a unix socket's may not be long.
type box struct {
	dir, tree, config, socket, state string
	bucket, endpoint, key, secret    string
	prefix                           string
	extra                            string // more configuration, in TOML
	server                           string // more lines for the [s3] section
	folder                           string // more lines for the [[folder]] section
	user                             *syscall.Credential
	around                           func(*exec.Cmd) // changes how a program of ours is run; may be nil
	foreign                          []protocol.Key  // objects below prefix that somebody else put there, and that must stay
}

// newBox makes the folders; the configuration is written by save, after the fields were set.
func newBox(t *testing.T, endpoint, bucket string) *box {
	t.Helper()
	dir, err := os.MkdirTemp("", "s3e-") //nolint:usetesting // t.TempDir is too long for a socket and closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	b := &box{dir: dir, tree: filepath.Join(dir, "tree"), config: filepath.Join(dir, "config.toml"),
		socket: filepath.Join(dir, "s"), state: filepath.Join(dir, "state"),
		bucket: bucket, endpoint: endpoint, key: "s3apu-test-key", secret: "s3apu-test-secret", prefix: "in"}
	if err := os.Mkdir(b.tree, 0o755); err != nil {
		t.Fatal(err)
	}
	return b
}

// boxFor makes a box for a bucket of a server.
func boxFor(t *testing.T, srv *s3servers.Server, bucket string) *box {
	t.Helper()
	b := newBox(t, srv.Endpoint, bucket)
	b.key, b.secret = srv.AccessKey, srv.SecretKey
	return b
}

// save writes the configuration.
func (b *box) save(t *testing.T) {
	t.Helper()
	text := fmt.Sprintf(`state_dir = %q
[s3]
bucket = %q
region = "us-east-1"
endpoint = %q
path_style = true
access_key_id = %q
secret_access_key = %q
%s
[socket]
unix = %q
tcp = ""
%s
[[folder]]
path = %q
prefix = %q
settle = "200ms"
%s
`, b.state, b.bucket, b.endpoint, b.key, b.secret, b.server, b.socket, b.rest(), b.tree, b.prefix, b.folder)
	if err := os.WriteFile(b.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if b.user != nil {
		b.own(t, b.config)
	}
}

// rest is the extra configuration, with the status page off unless it says something of its own.
func (b *box) rest() string {
	if strings.Contains(b.extra, "[http]") {
		return b.extra
	}
	return b.extra + "\n[http]\nlisten = \"\"\n"
}

// own gives files to the box's user.
func (b *box) own(t *testing.T, files ...string) {
	t.Helper()
	for _, file := range files {
		if err := os.Lchown(file, int(b.user.Uid), int(b.user.Gid)); err != nil {
			t.Fatal(err)
		}
	}
}

// command prepares a program of ours with a clean environment.
func (b *box) command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(name), append(args, "--config", b.config)...)
	cmd.Dir = b.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "TMPDIR=" + os.TempDir()}
	if b.user != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.user}
	}
	if b.around != nil {
		b.around(cmd)
	}
	return cmd
}

// run runs a program to its end and returns its exit code and what it printed.
func (b *box) run(t *testing.T, name string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := b.command(t, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// agent is a running "s3apu-agent run".
type agent struct {
	cmd   *exec.Cmd
	log   *output
	ended chan struct{} // closed when the process is gone
}

// start starts the agent; it is killed with the test if nothing else ended it. A failed test shows the end of its log.
func (b *box) start(t *testing.T) *agent {
	t.Helper()
	log := &output{}
	a := b.startLogging(t, log)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the agent's log:\n%s", log.tail(60))
		}
	})
	return a
}

// startLogging is start for agents that come and go and share a log.
func (b *box) startLogging(t *testing.T, log *output) *agent {
	t.Helper()
	a := &agent{cmd: b.command(t, "s3apu-agent", "run"), log: log, ended: make(chan struct{})}
	a.cmd.Stdout, a.cmd.Stderr = a.log, a.log
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = a.cmd.Wait() // how it ended is read from its ProcessState
		close(a.ended)
	}()
	t.Cleanup(func() {
		_ = a.cmd.Process.Kill() // it may have ended by itself
		<-a.ended
	})
	return a
}

// startReady starts the agent and waits until it says that it is ready.
func (b *box) startReady(t *testing.T) *agent {
	t.Helper()
	a := b.start(t)
	eventually(t, readyIn, func() error {
		if a.gone() {
			t.Fatalf("the agent ended with %d before it was ready", a.cmd.ProcessState.ExitCode())
		}
		if !a.log.has("msg=ready") {
			return errors.New("the agent does not say that it is ready")
		}
		return nil
	})
	return a
}

func (a *agent) gone() bool {
	select {
	case <-a.ended:
		return true
	default:
		return false
	}
}

// stop ends the agent as a service manager does, and expects exit code 0.
func (a *agent) stop(t *testing.T) {
	t.Helper()
	began := time.Now()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.ended:
	case <-time.After(endsIn):
		t.Fatalf("the agent did not end within %v of SIGTERM", endsIn)
	}
	if code := a.cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("the agent ended with %d on SIGTERM, want 0", code)
	}
	t.Logf("SIGTERM to the end: %v", time.Since(began).Round(time.Millisecond))
}

// kill is kill -9.
func (a *agent) kill(t *testing.T) {
	t.Helper()
	if err := a.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-a.ended
}

// output keeps what a process prints, while it prints it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) lines() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Split(strings.TrimRight(o.text.String(), "\n"), "\n")
}

func (o *output) has(word string) bool { return o.count(word) > 0 }

// count returns in how many lines the word is.
func (o *output) count(word string) int {
	n := 0
	for _, line := range o.lines() {
		if strings.Contains(line, word) {
			n++
		}
	}
	return n
}

func (o *output) tail(n int) string {
	all := o.lines()
	return strings.Join(all[max(0, len(all)-n):], "\n")
}

// eventually asks again and again until is returns nil, and fails the test with its last words when the time is over.
func eventually(t *testing.T, within time.Duration, is func() error) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(pollGap)
	defer tick.Stop()
	for {
		err := is()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("after %v: %v", within, err)
		}
	}
}

// freeAddr returns a loopback address that nobody listened on a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ordinaryUser is somebody who may not read everything, if we are root and can become anybody; else ourselves.
func ordinaryUser() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534} // nobody on every Linux
}

// middle returns the value at the share p of the sorted list.
func middle(all []time.Duration, p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(float64(len(sorted))*p))].Round(10 * time.Microsecond)
}
