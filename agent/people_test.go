package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"s3apu/protocol"
)

// A folder that is suddenly empty deletes nothing until a person says so.
func TestEmptiedFolderIsHeld(t *testing.T) {
	r := newRig(t)
	for i := range 5 {
		r.write(fmt.Sprint("f", i), "x")
	}
	r.start()
	r.waitEqual("the feed")
	for i := range 5 {
		r.must(os.Remove(filepath.Join(r.inbox, fmt.Sprint("f", i))))
	}
	r.waitFor("deletes are held", func() bool { return r.agent.Health().Held > 0 && r.agent.Health().Folders[0].Dirty == 0 })
	r.write("new", "uploads go on")
	r.waitFor("an upload", func() bool { return r.held()["new"] != "" })
	client, err := protocol.Dial(t.Context(), "unix", r.cfg.SocketPath(), "")
	r.must(err)
	defer func() { _ = client.Close() }()
	held, err := client.Held(t.Context(), protocol.ObjectID{}, 100)
	r.must(err)
	if len(held) == 0 || held[0].Verb != protocol.Del {
		t.Fatalf("held: %+v", held)
	}
	for _, h := range held {
		if _, ok := r.held()[string(h.Key)]; !ok {
			t.Errorf("%s was deleted though it is held", h.Key)
		}
	}
	if n, err := client.Drop(t.Context(), []protocol.ObjectID{held[0].ID()}); n != 1 || err != nil {
		t.Fatalf("drop: %d %v", n, err)
	}
	if n, err := client.Release(t.Context(), nil); n != len(held)-1 || err != nil {
		t.Fatalf("release: %d %v", n, err)
	}
	r.waitFor("the released are gone", func() bool {
		got := r.held()
		for _, h := range held[1:] {
			if _, ok := got[string(h.Key)]; ok {
				return false
			}
		}
		return true
	})
	if _, ok := r.held()[string(held[0].Key)]; !ok {
		t.Error("the dropped delete was carried out")
	}
}

// What del did to a folder in 2010 it does today, wherever the folder's object is kept.
func TestMkdThenDel(t *testing.T) {
	r := newRig(t)
	r.start()
	client, err := protocol.Dial(t.Context(), "unix", r.cfg.SocketPath(), "")
	r.must(err)
	defer func() { _ = client.Close() }()
	put := func(ins ...protocol.Instruction) { t.Helper(); r.must(client.Put(t.Context(), ins)) }
	mkd, del := protocol.Instruction{Verb: protocol.Mkd, Key: "a/b"}, protocol.Instruction{Verb: protocol.Del, Key: "a/b"}
	put(mkd)
	r.waitFor("the folder", func() bool { _, ok := r.held()["a/b/"]; return ok })
	put(del)
	r.waitFor("no folder", func() bool { return len(r.held()) == 0 })
	put(mkd, del)
	r.waitFor("an empty queue", func() bool { return r.agent.Health().Queued == 0 })
	if got := r.held(); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

// A name that is not UTF-8 is listed under a readable form; that form is nobody's key, also when somebody retries.
func TestBadNameIsNeverSent(t *testing.T) {
	r := newRig(t)
	r.write("good", "g")
	r.write("bad\xff", "b")
	r.start()
	r.waitFor("the good one", func() bool { return r.held()["good"] == "g" })
	client, err := protocol.Dial(t.Context(), "unix", r.cfg.SocketPath(), "")
	r.must(err)
	defer func() { _ = client.Close() }()
	_, err = client.Retry(t.Context(), nil)
	r.must(err)
	r.waitFor("it is listed", func() bool { return r.agent.Health().Failed == 1 && r.agent.Health().Queued == 0 })
	if got := r.held(); len(got) != 1 {
		t.Errorf("the bucket holds %v", got)
	}
}

func TestPartSizeOf(t *testing.T) {
	for size, want := range map[int64]int64{0: 0, multipartAbove: 0, multipartAbove + 1: partSize, 1 << 30: partSize, 1 << 40: 105 << 20} {
		if got := partSizeOf(size); got != want {
			t.Errorf("%d bytes: parts of %d, want %d", size, got, want)
		}
	}
}

// A large file that is in the bucket already, sent in our parts, is not sent again.
func TestFirstFeedKnowsItsParts(t *testing.T) {
	r := newRig(t)
	big := make([]byte, multipartAbove+12345)
	for i := range big {
		big[i] = byte(i * 7)
	}
	r.write("big.bin", string(big))
	r.start()
	r.waitEqual("the feed")
	r.waitFor("an empty queue", func() bool { return r.agent.Health().Queued == 0 })
	r.stop()
	r.must(os.RemoveAll(r.cfg.QueueDir()))
	writes := r.countWrites()
	r.start()
	r.waitFor("an empty queue", func() bool { return r.agent.Health().Queued == 0 })
	if n := writes.Load(); n != 0 {
		t.Errorf("%d PUTs", n)
	}
}

// Another folder in the root's place, put there while the agent was off, deletes nothing by itself.
func TestRootReplacedWhileOff(t *testing.T) {
	r := newRig(t)
	for i := range 5 {
		r.write(fmt.Sprint("f", i), "x")
	}
	r.start()
	r.waitEqual("the feed")
	r.stop()
	r.must(os.Rename(r.inbox, r.inbox+".real"))
	r.must(os.Mkdir(r.inbox, 0o750))
	r.write("newfile", "n")
	r.start()
	r.waitFor("the new file, and deletes are held", func() bool { return r.held()["newfile"] == "n" && r.agent.Health().Held == 5 })
	if n := len(r.held()); n != 6 {
		t.Errorf("the bucket holds %d objects", n)
	}
	r.stop()
	r.start() // and so it stays
	r.waitFor("still held", func() bool { return r.agent.Health().Held == 5 && len(r.held()) == 6 })
}

// The same while the agent runs.
func TestRootReplacedLive(t *testing.T) {
	r := newRig(t)
	for i := range 5 {
		r.write(fmt.Sprint("f", i), "x")
	}
	r.start()
	r.waitEqual("the feed")
	r.must(os.Rename(r.inbox, r.inbox+".real"))
	r.must(os.Mkdir(r.inbox, 0o750))
	r.write("newfile", "n")
	r.waitFor("the new file, and deletes are held", func() bool { return r.held()["newfile"] == "n" && r.agent.Health().Held == 5 })
	if n := len(r.held()); n != 6 {
		t.Errorf("the bucket holds %d objects", n)
	}
}

// A folder that was replaced by a link after its file was accepted does not open the way to files elsewhere.
func TestLinksThatLeadOutLater(t *testing.T) {
	r := newRig(t)
	outside := t.TempDir()
	r.must(os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	r.must(os.Mkdir(filepath.Join(r.inbox, "R"), 0o750))
	r.start()
	r.waitEqual("the feed")
	client, err := protocol.Dial(t.Context(), "unix", r.cfg.SocketPath(), "")
	r.must(err)
	defer func() { _ = client.Close() }()
	r.must(client.Put(t.Context(), []protocol.Instruction{{Verb: protocol.Upl, Source: filepath.Join(r.inbox, "R", "secret"), Key: "leak"}}))
	r.must(os.Remove(filepath.Join(r.inbox, "R")))
	r.must(os.Symlink(outside, filepath.Join(r.inbox, "R")))
	r.waitFor("it is given up", func() bool { return r.agent.Health().Failed == 1 })
	if _, leaked := r.held()["leak"]; leaked {
		t.Error("the secret is in the bucket")
	}
}

// A folder that was uploaded from may be away at the start: it is looked for, and the agent does its other work. One that
// never was is a fault of the configuration.
func TestStartsWhileAFolderIsAway(t *testing.T) {
	r := newRig(t)
	for i := range 5 {
		r.write(fmt.Sprint("f", i), "x")
	}
	r.must(os.Rename(r.inbox, r.inbox+".away"))
	r.must(os.MkdirAll(r.cfg.QueueDir(), 0o750))
	_, err := New(t.Context(), r.cfg, Options{})
	if protocol.KindOf(err) != protocol.KindLocal || !strings.Contains(err.Error(), "mount its disk") {
		t.Fatal(err)
	}
	r.must(os.Rename(r.inbox+".away", r.inbox))
	r.start()
	r.waitEqual("the feed")
	r.stop()
	r.must(os.Rename(r.inbox, r.inbox+".away"))
	r.launch()
	r.waitFor("word of it", func() bool { h := r.agent.Health(); return !h.OK && !h.Folders[0].OK })
	if n := len(r.held()); n != 5 {
		t.Errorf("the bucket holds %d objects", n)
	}
	r.must(os.Remove(r.inbox + ".away/f3"))
	r.must(os.Rename(r.inbox+".away", r.inbox))
	r.waitEqual("it came back") // and what went from it meanwhile is no matter for a person
	r.waitFor("all is well", func() bool { h := r.agent.Health(); return h.OK && h.Held == 0 })
}
