package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"s3apu/feeder"
	"s3apu/protocol"
)

// What is held is told with its reason, also after a restart; what is dropped stays in the bucket and is not wished for again.
func TestHoldsAreExplainedAndDropped(t *testing.T) {
	r := newRig(t)
	r.write("d/a", "1")
	r.write("d/b", "2")
	r.start()
	r.waitEqual("the feed")
	r.must(os.Rename(filepath.Join(r.inbox, "d"), filepath.Join(t.TempDir(), "d"))) // at one blow: what goes first alone is no mass
	explained := func() bool {
		h := r.agent.Health()
		return h.Held == 3 && len(h.Holds) == 1 && h.Holds[0].Folder == r.inbox && strings.Contains(h.Holds[0].Why, "empty") && h.OK
	}
	r.waitFor("three held deletes and why", explained)
	r.stop()
	r.start()
	r.waitFor("the same after a restart", explained)
	handler := clientHandler{queue: r.agent.queue, bucket: r.cfg.S3.Bucket}
	if n, err := handler.Drop(t.Context(), nil); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := r.agent.folders[0].feed.Scan(t.Context(), "", feeder.ScanOptions{Deep: true}); err != nil {
		t.Fatal(err)
	}
	if n := r.agent.queue.Stats().Pending(); n != 0 || len(r.held()) != 3 {
		t.Fatalf("%d wait, %d objects", n, len(r.held()))
	}
	if rec, ok, err := r.agent.queue.Pending(protocol.ObjectID{Bucket: r.cfg.S3.Bucket, Key: "d/a"}); ok || err != nil {
		t.Fatal(rec, err)
	}
}

// A file that vanishes while the marker is away is deleted soon after the marker is back: nobody waits for the hourly
// comparison.
func TestMarkerIsBack(t *testing.T) {
	r := newRig(t)
	r.cfg.Folders[0].Marker = ".here"
	r.write(".here", "")
	r.write("a", "1")
	r.write("keep", "1")
	r.start()
	r.waitEqual("the feed")
	r.must(os.Remove(filepath.Join(r.inbox, ".here")))
	r.must(os.Remove(filepath.Join(r.inbox, "a")))
	r.waitFor("the missing marker in the state", func() bool {
		f := r.agent.Health().Folders[0]
		return !f.OK && strings.Contains(f.State, ".here") && !strings.Contains(f.State, "did not end")
	})
	if _, ok := r.held()["a"]; !ok {
		t.Fatal("deleted without the marker")
	}
	r.write(".here", "")
	r.waitEqual("the marker is back")
}

func TestMarkerIsChecked(t *testing.T) {
	r := newRig(t)
	for marker, good := range map[string]bool{"": true, ".here": true, "a/b": true, "/etc/x": false, "../x": false, "a/../../x": false, ".": false} {
		r.cfg.Folders[0].Marker = marker
		if err := r.cfg.Check(); (err == nil) != good {
			t.Errorf("%q: %v", marker, err)
		}
	}
}
