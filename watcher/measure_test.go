package watcher

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"
)

var measure = flag.Bool("measure", false, "run the long measurements (10,000 folders, idle CPU)")

// From close() to Next for single small files.
func TestLatency(t *testing.T) {
	root := t.TempDir()
	w := watched(t, Config{Root: root})
	var took []time.Duration
	for i := range 200 {
		name := fmt.Sprintf("f%d", i)
		write(t, root, name, "some content")
		closed := time.Now()
		for found := false; !found; {
			events, err := w.Next(context.Background(), 10)
			must(t, err)
			found = slices.ContainsFunc(events, func(e Event) bool { return e.Path == name })
		}
		took = append(took, time.Since(closed))
	}
	slices.Sort(took)
	t.Logf("close to Next over 200 files: median %v, p99 %v, most %v", took[100], took[198], took[199])
	if took[100] > 50*time.Millisecond {
		t.Errorf("the median is %v", took[100])
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// 10,000 folders: the time to watch them, the memory, and the CPU of idling.
func TestTenThousandFolders(t *testing.T) {
	if !*measure {
		t.Skip("a measurement: run it with -measure")
	}
	root := t.TempDir()
	for i := range 100 {
		for j := range 99 {
			must(t, os.MkdirAll(filepath.Join(root, fmt.Sprintf("folder%02d/sub%02d", i, j)), 0o755))
		}
	}
	before, began := heap(), time.Now()
	w := watched(t, Config{Root: root})
	took := time.Since(began)
	after := heap()
	s := w.Stats()
	t.Logf("%d folders watched in %v, %d bytes of heap each, %d KiB in all", s.Watches, took,
		(after-before)/uint64(s.Watches), (after-before)/1024)
	const calm = 20 * time.Second
	cpu := cpuTime()
	<-time.After(calm) // what is measured is the passing of time
	used := cpuTime() - cpu
	t.Logf("idle for %v: %v of CPU, %.4f %%", calm, used, 100*float64(used)/float64(calm))
}
