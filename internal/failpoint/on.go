//go:build failpoints

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// armed is the one place that is on, how often it may still be passed, and how to end. It is read once, before main.
var armed = parse(os.Getenv("S3APU_FAILPOINT"))

type point struct {
	name string
	left atomic.Int64
}

// parse reads "name=kill@N". What cannot be read ends the process: a test that kills nothing shows nothing.
func parse(text string) *point {
	p := new(point)
	if text == "" {
		return p
	}
	name, n, ok := strings.Cut(text, "=kill@")
	count, err := strconv.ParseInt(n, 10, 64)
	if !ok || err != nil || count < 1 {
		panic("S3APU_FAILPOINT must be NAME=kill@N, and is " + strconv.Quote(text))
	}
	p.name = name
	p.left.Store(count)
	return p
}

// Here marks a place between two durable steps, and ends the process if it is the one that the environment names.
func Here(name string) {
	if name != armed.name || armed.left.Add(-1) != 0 {
		return
	}
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill() // it does not return in time to tell
	}
	select {}
}
