package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What the socket refuses reaches the main log at once, and then as a count; S3 APU's file has each.
func TestRefusedRequestsDoNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var stream bytes.Buffer
		l, err := OpenLogs(Log{Level: "info", Format: "text", Folder: dir}, &stream)
		if err != nil {
			t.Fatal(err)
		}
		said := func() (lines []string) {
			for line := range strings.Lines(stream.String()) {
				lines = append(lines, strings.TrimSpace(line))
			}
			stream.Reset()
			return lines
		}
		refuse := func(n int, uid int) {
			for i := range n { // each over a connection of its own
				l.Queue.Warn("invalid request", "err", "no", "peer", fmt.Sprintf("unix pid=%d uid=%d", 100+i, uid), "request", fmt.Sprint(i))
			}
		}
		refuse(500, 7)
		refuse(1, 8)
		if got := said(); len(got) != 2 || !strings.Contains(got[0], "request=0") || !strings.Contains(got[1], "uid=8") {
			t.Errorf("at once: %q", got)
		}
		l.settle()
		if got := said(); len(got) != 0 {
			t.Errorf("too early: %q", got)
		}
		<-time.After(calmEvery)
		l.settle()
		if got := said(); len(got) != 1 || !strings.Contains(got[0], "request=499") || !strings.Contains(got[0], "not_logged=498") {
			t.Errorf("after %v: %q", calmEvery, got)
		}
		l.Queue.Warn("invalid request", "peer", "unix pid=1 uid=7", "not_logged", 40)
		for i := range 2 * calmPeers { // more peers than are told apart
			l.Queue.Warn("a client was refused", "peer", fmt.Sprintf("tcp 10.0.%d.%d:99", i/256, i%256))
		}
		if got := said(); len(got) > calmPeers+1 {
			t.Errorf("%d peers: %d lines", 2*calmPeers, len(got))
		}
		l.Queue.Error("a request failed", "peer", "unix uid=7")
		l.Queue.Error("a request failed", "peer", "unix uid=7")
		if got := said(); len(got) != 2 {
			t.Errorf("errors: %q", got)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got := said(); len(got) != 2 || !strings.Contains(strings.Join(got, ""), "not_logged=40") {
			t.Errorf("at the end: %q", got)
		}
		text, err := os.ReadFile(filepath.Join(dir, queueErrorFile))
		if n := strings.Count(string(text), "\n"); err != nil || n != 500+1+1+2*calmPeers+2 {
			t.Errorf("%s has %d lines, %v", queueErrorFile, n, err)
		}
	})
}
