//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"s3apu/protocol"
)

// agentJob is what an agent is to keep in which bucket, and how.
type agentJob struct {
	job
	state     string // its state_dir
	s3        string // lines of [s3]
	worker    string // lines of [worker]
	reconcile string // lines of [reconcile]
}

// agent is a running agent.
type agent struct {
	*process
	socket string
	log    *os.File
	ready  chan struct{} // closed when it said that every folder was scanned once
	heard  chan struct{} // closed when all that it said is in the log

	mu      sync.Mutex
	readyAt cost // at that moment
	listed  bool // the first scan compared with the bucket's listing
	dir     string
}

// startAgent starts an agent with a configuration of its own.
func (h *harness) startAgent(ctx context.Context, b build, j agentJob) (_ *agent, err error) {
	dir, err := os.MkdirTemp("", "s3b-") // short, for the socket's sake
	if err != nil {
		return nil, err
	}
	a := &agent{dir: dir, socket: filepath.Join(dir, "s"), ready: make(chan struct{}), heard: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if a.log, err = os.CreateTemp(h.logs, "agent-*.log"); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf(`state_dir = %q
[s3]
bucket = %q
region = %q
endpoint = %q
path_style = true
access_key_id = %q
secret_access_key = %q
%s
[worker]
%s
[reconcile]
%s
[socket]
unix = %q
tcp = ""
[http]
listen = ""
[[folder]]
path = %q
prefix = %q
`, j.state, j.bucket, region, j.endpoint, accessKey, secretKey, j.s3, j.worker, j.reconcile, a.socket, j.dir, keyPrefix)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, b.path, "run", "--config", config)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.home, "TMPDIR=" + os.TempDir()}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = write, write
	a.process, err = begin(cmd)
	write.Close()
	if err != nil {
		read.Close()
		return nil, err
	}
	go a.listen(read)
	return a, nil
}

// listen keeps the agent's log and hears of what it says. It ends with the agent.
func (a *agent) listen(in io.ReadCloser) {
	defer close(a.heard)
	defer in.Close()
	said := false
	for lines := bufio.NewReader(in); ; {
		line, err := lines.ReadString('\n')
		_, _ = a.log.WriteString(line) // it is for people only
		if !said {
			a.mu.Lock()
			a.listed = a.listed || strings.Contains(line, "listed=true")
			if strings.Contains(line, "msg=ready") {
				a.readyAt, said = a.now(), true
				close(a.ready)
			}
			a.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// untilReady waits until the first scan has ended, and returns what it had cost by then.
func (a *agent) untilReady(ctx context.Context) (cost, error) {
	select {
	case <-a.ready:
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.readyAt, nil
	case <-a.ended:
		return cost{}, fmt.Errorf("the agent ended by itself: %w: %s", errors.Join(a.err), tail(a.log.Name()))
	case <-ctx.Done():
		return cost{}, ctx.Err()
	}
}

// pollGap is how often the agent's queue is asked whether it is empty. A guess: seldom enough to cost nothing.
const pollGap = 2 * time.Millisecond

// untilEmpty waits until nothing is pending in the agent's queue.
func (a *agent) untilEmpty(ctx context.Context) error {
	client, err := protocol.Dial(ctx, "unix", a.socket, "")
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // nothing is under way on it
	tick := time.NewTicker(pollGap)
	defer tick.Stop()
	for {
		info, err := client.Info(ctx)
		if err != nil || info.QSize == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// untilKept waits until the bucket has that many files, the first scan has ended and the queue is empty, and returns the
// cost of it all.
func (a *agent) untilKept(ctx context.Context, n *null, bucket string, files int) (cost, error) {
	for {
		s, err := n.state(ctx, bucket, files, 10*time.Second)
		if err != nil {
			return cost{}, err
		}
		if s.Files >= files {
			break
		}
		if a.gone() {
			return cost{}, fmt.Errorf("the agent ended with %d of %d files in the bucket: %s", s.Files, files, tail(a.log.Name()))
		}
	}
	if _, err := a.untilReady(ctx); err != nil {
		return cost{}, err
	}
	if err := a.untilEmpty(ctx); err != nil {
		return cost{}, err
	}
	return a.now(), nil
}

// end stops the agent and removes its configuration.
func (a *agent) end() error {
	err := a.stop()
	<-a.heard // all that it said is in the log
	return errors.Join(err, a.log.Close(), os.RemoveAll(a.dir))
}

// workers is the line of [worker] for a number of connections; 0 leaves it to the agent.
func workers(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("max_workers = %d", n)
}
