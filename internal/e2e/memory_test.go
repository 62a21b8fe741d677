//go:build linux

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMemoryDoesNotGrowWithTheTree feeds 10,000 and 100,000 files to an endpoint that keeps nothing and compares the
// peak memory of the two agents.
func TestMemoryDoesNotGrowWithTheTree(t *testing.T) {
	gate(t)
	const most = 16 << 10 // KiB
	small := peakOfFeed(t, 10_000)
	large := peakOfFeed(t, 100_000)
	t.Logf("peak memory (VmHWM): %.1f MiB for 10,000 files, %.1f MiB for 100,000; %+.1f MiB",
		float64(small)/1024, float64(large)/1024, float64(large-small)/1024)
	if large-small >= most {
		t.Errorf("the peaks differ by %d KiB, less than %d is the promise", large-small, most)
	}
}

// peakOfFeed returns the peak memory in KiB of an agent that fed n small files.
func peakOfFeed(t *testing.T, n int) int {
	t.Helper()
	counts := newTally("e2e-memory")
	b := newBox(t, serveNull(t, counts), "e2e-memory")
	b.save(t)
	const perFolder = 200
	for i := range n {
		dir := filepath.Join(b.tree, fmt.Sprintf("%03d", i/perFolder))
		if i%perFolder == 0 {
			must(t, os.Mkdir(dir, 0o755))
		}
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%06d.dat", i)), []byte(strconv.Itoa(i)), 0o644))
	}
	began := time.Now()
	a := b.start(t)
	objects := n + n/perFolder
	eventually(t, 10*time.Minute, func() error {
		if a.gone() {
			t.Fatal("the agent ended by itself")
		}
		if got := counts.answeredKeys(); got < objects {
			return fmt.Errorf("%d of %d objects were put", got, objects)
		}
		if !a.log.has("msg=ready") {
			return errors.New("the agent is not ready")
		}
		return nil
	})
	took := time.Since(began)
	peak := statusField(t, a.cmd.Process.Pid, "VmHWM")
	a.stop(t)
	t.Logf("%d files: %v, %.0f a second, peak %.1f MiB", n, took.Round(time.Millisecond), float64(n)/took.Seconds(), float64(peak)/1024)
	return peak
}

// statusField reads a size in KiB from /proc/PID/status (proc_pid_status(5)).
func statusField(t *testing.T, pid int, name string) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			must(t, err)
			return n
		}
	}
	t.Fatalf("no %s in /proc/%d/status", name, pid)
	return 0
}
