//go:build !unix

package watcher

import (
	"testing"
	"time"
)

func fifo(*testing.T, string) {}

func cpuTime() time.Duration { return 0 }
