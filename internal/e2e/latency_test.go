//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"s3apu/internal/s3servers"
)

// TestFromCloseToTheBucket writes single files one after another and measures the time from close() until the endpoint
// has answered the upload: with an endpoint that costs nothing, and with a real one.
func TestFromCloseToTheBucket(t *testing.T) {
	gate(t)
	t.Run("null", func(t *testing.T) {
		counts := newTally("e2e-latency")
		measureLatency(t, newBox(t, serveNull(t, counts), "e2e-latency"), counts)
	})
	for _, kind := range realServers {
		t.Run(string(kind), func(t *testing.T) {
			srv := s3servers.Start(t, kind)
			srv.Bucket(t, "e2e-latency")
			counts := newTally("e2e-latency")
			b := boxFor(t, srv, "e2e-latency")
			b.endpoint = serveProxy(t, srv.Endpoint, counts)
			measureLatency(t, b, counts)
		})
	}
}

func measureLatency(t *testing.T, b *box, counts *tally) {
	t.Helper()
	const files, bound = 200, 50 * time.Millisecond
	b.save(t)
	must(t, os.Mkdir(filepath.Join(b.tree, "camera"), 0o755))
	answered := make(chan string, files) // each key is answered at least once
	counts.heard = func(key string, _ int) {
		select {
		case answered <- key:
		default:
		}
	}
	a := b.startReady(t)
	var took []time.Duration
	for i := range files {
		name := fmt.Sprintf("image %03d.jpg", i)
		f, err := os.Create(filepath.Join(b.tree, "camera", name))
		must(t, err)
		_, err = f.Write(noise(uint64(i), 4096))
		must(t, err)
		must(t, f.Close())
		closed := time.Now()
		await(t, answered, "in/camera/"+name)
		when, _ := counts.at("in/camera/" + name)
		took = append(took, when.Sub(closed))
	}
	a.stop(t)
	t.Logf("from close() to the answer, %d single files: p50 %v, p90 %v, p99 %v, longest %v",
		files, middle(took, 0.5), middle(took, 0.9), middle(took, 0.99), middle(took, 1))
	if p50 := middle(took, 0.5); p50 >= bound {
		t.Errorf("the median is %v, below %v is the promise", p50, bound)
	}
}

// await reads answers until that of the key comes.
func await(t *testing.T, answered <-chan string, key string) {
	t.Helper()
	late := time.NewTimer(settledIn)
	defer late.Stop()
	for {
		select {
		case got := <-answered:
			if got == key {
				return
			}
		case <-late.C:
			t.Fatalf("%s was not put within %v", key, settledIn)
		}
	}
}
