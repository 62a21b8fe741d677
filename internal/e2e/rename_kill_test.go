//go:build linux

package e2e

import (
	"fmt"
	"testing"
	"time"

	"s3apu/internal/s3servers"
)

// renameSteps are the failpoints that the rename of one file comes to, and how often: its copy and the delete of its old
// name are put at once and carried out one after the other.
var renameSteps = []struct {
	point string
	times int
}{
	{"feeder.put", 1}, {"queue.put", 1}, {"queue.put.done", 1}, {"queue.leased", 2}, {"worker.rename", 1},
	{"worker.renamed", 1}, {"queue.settle", 2}, {"queue.settled", 2}, {"worker.delete", 1}, {"worker.deleted", 1},
}

// TestKilledInARename kills the agent at each step of the rename of one file, and of a folder with one, with nothing else going
// on. After the next start the bucket equals the tree, no delete waits for a person, and no byte was sent for it.
func TestKilledInARename(t *testing.T) {
	gate(t)
	prog := buildFailpoints(t)
	for _, step := range renameSteps {
		for n := 1; n <= step.times; n++ {
			for _, what := range []string{"file", "folder"} {
				t.Run(fmt.Sprintf("%s@%d/%s", step.point, n, what), func(t *testing.T) {
					t.Parallel()
					killedInARename(t, prog, step.point, n, what)
				})
			}
		}
	}
}

func killedInARename(t *testing.T, prog, point string, n int, what string) {
	srv := s3servers.Start(t, s3servers.Folder)
	r := &renames{T: t, b: boxFor(t, srv, "points"), s3: srv.Bucket(t, "points")}
	r.b.endpoint = r.c.count(t, srv.Endpoint)
	r.b.save(t)
	r.b.put(t, keeper, []byte("stays"))
	r.b.put(t, "file", noise(1, 1000))
	r.b.put(t, "folder/in it", noise(2, 1000))
	a := r.b.startReady(t)
	p := &person{}
	settle := func() {
		t.Helper()
		if _, err := r.b.settle(t.Context(), r.s3, p, settledIn); err != nil {
			t.Fatal(err)
		}
	}
	settle()
	a.stop(t)
	sent := r.c.sent.Load()

	log := &output{}
	armed := r.b.startArmed(t, prog, point, n, log)
	eventually(t, readyIn, func() error {
		if armed.gone() || log.has("msg=ready") {
			return nil
		}
		return fmt.Errorf("it is not ready:\n%s", log.tail(20))
	})
	r.rename(what, "renamed")
	select {
	case <-armed.ended:
	case <-time.After(settledIn):
		t.Fatalf("nothing comes to the failpoint\n%s", log.tail(30))
	}

	a = r.b.startReady(t)
	settle()
	a.stop(t)
	if n := r.c.sent.Load() - sent; n != 0 || p.released != 0 {
		t.Errorf("%d bytes were sent, %d deletes were held", n, p.released)
	}
	r.b.booksAgree(t, srv, r.s3)
}
