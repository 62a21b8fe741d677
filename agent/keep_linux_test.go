package agent

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"s3apu/protocol"
)

// A file goes while S3 is away, and a person who sees that says delete = false and starts the agent again: the delete that
// waits is not made any more.
func TestDeleteFalseEndsWaitingDeletes(t *testing.T) {
	r := newRig(t)
	var down atomic.Bool
	r.cfg.S3.Endpoint = r.proxy(&down)
	r.write("f", "1")
	r.write("stays", "2")
	r.start()
	r.waitEqual("the feed")
	down.Store(true)
	r.must(os.Remove(filepath.Join(r.inbox, "f")))
	r.waitFor("the delete", func() bool {
		rec, ok, err := r.agent.queue.Pending(protocol.ObjectID{Bucket: testBucket, Key: "f"})
		r.must(err)
		return ok && rec.Verb == protocol.Del
	})
	r.stop()
	down.Store(false)
	no := false
	r.cfg.Folders[0].Delete = &no
	r.start()
	r.waitFor("the end of the queue", func() bool { return r.agent.queue.Info().QSize == 0 })
	if got := r.held()["f"]; got != "1" {
		t.Errorf("the object holds %q, want it as it was", got)
	}
}
