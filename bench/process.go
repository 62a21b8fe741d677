//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cost is what something took.
type cost struct {
	wall time.Duration
	cpu  time.Duration // user and system
	peak int64         // of resident memory, in bytes
}

// process is a running program whose cost is measured.
type process struct {
	cmd     *exec.Cmd
	began   time.Time
	sampled atomic.Int64 // the last VmHWM that was seen
	ended   chan struct{}
	err     error // how it ended, once ended is closed
	total   cost  // once ended is closed
}

// sampleGap is how often the peak memory of a process is read. A guess: what grows in the last 20 ms is missed.
const sampleGap = 20 * time.Millisecond

// begin starts a program. It ends with ctx at the latest.
func begin(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, began: time.Now(), ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan struct{})
	go p.sample(exited)
	go func() {
		err := cmd.Wait()
		wall := time.Since(p.began)
		close(exited)
		p.err = err
		p.total = cost{wall: wall, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peak: p.peakAtEnd()}
		close(p.ended)
	}()
	return p, nil
}

// sample reads the peak memory again and again. The kernel's own figure at the end (ru_maxrss) is not below the peak of
// whoever started the process, because it counts the memory that both shared before exec (kernel/fork, fs/exec.c).
func (p *process) sample(exited chan struct{}) {
	tick := time.NewTicker(sampleGap)
	defer tick.Stop()
	for {
		if n := statusBytes(p.cmd.Process.Pid, "VmHWM"); n > p.sampled.Load() {
			p.sampled.Store(n)
		}
		select {
		case <-tick.C:
		case <-exited:
			return
		}
	}
}

// peakAtEnd is exact where the kernel's figure can be that of the process, else what was sampled.
func (p *process) peakAtEnd() int64 {
	usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return p.sampled.Load()
	}
	if kernel := usage.Maxrss << 10; kernel > statusBytes(os.Getpid(), "VmHWM") {
		return kernel
	}
	return p.sampled.Load()
}

// now is the cost until now.
func (p *process) now() cost {
	pid := p.cmd.Process.Pid
	return cost{wall: time.Since(p.began), cpu: cpuOf(pid), peak: statusBytes(pid, "VmHWM")}
}

// gone reports whether the process has ended.
func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// stopIn is how long an agent may take to end after SIGTERM: twice what its unit gives it.
const stopIn = 60 * time.Second

// stop ends the process gently, and by force if that takes too long.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	late := time.NewTimer(stopIn)
	defer late.Stop()
	select {
	case <-p.ended:
		return nil
	case <-late.C:
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return fmt.Errorf("%s did not end within %v of SIGTERM", filepath.Base(p.cmd.Path), stopIn)
}

// cpuOf reads the CPU clock of a process (clock_getcpuclockid(3)); 0 if there is none.
func cpuOf(pid int) time.Duration {
	const sched = 2 // CPUCLOCK_SCHED, of the whole process (include/linux/posix-timers.h)
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|sched, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// statusBytes reads a size from /proc/PID/status (proc_pid_status(5)); 0 if there is none.
func statusBytes(pid int, name string) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		value, ok := bytes.CutPrefix(line, []byte(name+":"))
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(value), []byte(" kB"))), 10, 64)
		if err != nil {
			return 0
		}
		return n << 10
	}
	return 0
}

// runToEnd runs a program to its end. What it prints goes to a file that is named where it fails.
func (h *harness) runToEnd(ctx context.Context, cmd *exec.Cmd) (cost, error) {
	log, err := os.CreateTemp(h.logs, filepath.Base(cmd.Path)+"-*.log")
	if err != nil {
		return cost{}, err
	}
	defer log.Close()
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.Stderr = log
	p, err := begin(cmd)
	if err != nil {
		return cost{}, err
	}
	<-p.ended
	if p.err != nil {
		return p.total, fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), errors.Join(p.err, ctx.Err()), tail(log.Name()))
	}
	return p.total, nil
}

// tail is the end of a log, in one line.
func tail(file string) string {
	const most = 600 // bytes; a guess: a few lines
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	text = bytes.TrimSpace(text)
	text = text[max(0, len(text)-most):]
	return string(bytes.ReplaceAll(text, []byte("\n"), []byte(" / ")))
}
