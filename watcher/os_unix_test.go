//go:build unix

package watcher

import (
	"syscall"
	"testing"
	"time"
)

func fifo(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o600)) }

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
