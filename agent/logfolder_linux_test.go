package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLogFolderRefuses: the disk of [log] folder is full at the start, then read-only. The agent works, says so on its
// stream and in its state, and the files go on when they can.
func TestLogFolderRefuses(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	r.mountAt(dir, "size=128k")
	empty := r.fillAt(dir)
	r.cfg.Log.Folder = dir
	stream := &safeBuffer{}
	logs, err := OpenLogs(r.cfg.Log, stream)
	r.must(err)
	r.logs = logs
	t.Cleanup(func() { r.must(logs.Close()) })
	r.write("first", "1")
	r.start()
	r.waitEqual("with a full log folder")
	refused := func() bool {
		h := r.agent.Health()
		return h.OK && len(h.Notes) == 1 && strings.Contains(h.Notes[0], "[log] folder")
	}
	r.waitFor("the state tells of the full disk", refused)
	if stream.count("the log files cannot be written") != 1 {
		t.Errorf("the stream says:\n%s", stream)
	}
	empty()
	r.waitFor("the files go on", func() bool { return len(r.agent.Health().Notes) == 0 })
	r.write("second", "2")
	r.waitEqual("with room")
	events := func() string {
		text, err := os.ReadFile(filepath.Join(dir, workerEventFile))
		r.must(err)
		return string(text)
	}
	r.waitFor("the event file has the second file", func() bool { return strings.Contains(events(), "key=second") })
	if text := events(); !strings.Contains(text, "lines are missing here") {
		t.Errorf("the event file says:\n%s", text)
	}

	r.stop()
	r.must(logs.Close())
	r.must(unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=128k"))
	if err := r.cfg.CheckLogFolder(); err == nil || !strings.Contains(err.Error(), "read-only file system; make [log] folder writable") {
		t.Errorf("check says %v", err)
	}
	r.logs, err = OpenLogs(r.cfg.Log, stream)
	r.must(err)
	r.start()
	r.waitFor("the state tells of the read-only disk", refused)
	r.write("third", "3")
	r.waitEqual("with a read-only log folder")
	r.stop()
	r.must(r.logs.Close())
}
