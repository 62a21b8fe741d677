package agent

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"s3apu/protocol"
)

// link makes or retargets a link in the inbox in one step.
func (r *rig) link(to, rel string) {
	r.t.Helper()
	path := filepath.Join(r.inbox, rel)
	r.must(os.MkdirAll(filepath.Dir(path), 0o750))
	r.must(os.Symlink(to, path+".new"))
	r.must(os.Rename(path+".new", path))
}

func (r *rig) rm(rel string) {
	r.t.Helper()
	r.must(os.RemoveAll(filepath.Join(r.inbox, rel)))
}

// waitHeld waits until the bucket holds exactly these objects, folders left out.
func (r *rig) waitHeld(what string, want map[string]string) {
	r.t.Helper()
	var got map[string]string
	equal := func() bool {
		got = r.held()
		n := 0
		for key, text := range got {
			if protocol.Key(key).IsFolder() {
				continue
			}
			if n++; want[key] != text || text == "" {
				return false
			}
		}
		return n == len(want)
	}
	for end := time.Now().Add(patience); !equal(); {
		if time.Now().After(end) {
			r.t.Fatalf("%s: the bucket holds %q, want %q", what, got, want)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// steps returns a function that waits until the bucket holds want, which it changes as it is told before.
func (r *rig) steps(want map[string]string) func(what string, changed map[string]string, gone ...string) {
	return func(what string, changed map[string]string, gone ...string) {
		r.t.Helper()
		maps.Copy(want, changed)
		for _, k := range gone {
			delete(want, k)
		}
		r.waitHeld(what, want)
	}
}

func TestSymlinksFollowed(t *testing.T) {
	r := newRig(t)
	outside := t.TempDir()
	r.must(os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	r.cfg.Folders[0].Symlinks = "follow"
	r.cfg.Folders[0].Exclude = []string{"private"}
	r.write("a", "1")
	r.write("d/x", "2")
	r.write("d/e/y", "3")
	r.write("private/p", "no")
	r.link("a", "la")
	r.link("d", "ld")
	r.link(filepath.Join(outside, "secret"), "out")
	r.link(outside, "outd")
	r.link("nothing", "gone")
	r.link("self", "self")
	r.link("..", "d/up")
	r.link("private/p", "pp")
	r.link("../a", "d/la") // ld/la lies behind two links
	want := map[string]string{"a": "1", "la": "1", "d/x": "2", "d/e/y": "3", "ld/x": "2", "ld/e/y": "3", "d/la": "1"}
	r.start()
	r.waitHeld("the feed", want)
	r.waitFor("the links that are not followed", func() bool { last := r.agent.folders[0].lastScan.Load(); return last != nil && last.Report.Links >= 6 })

	step := r.steps(want)
	r.write("a", "changed")
	step("a file behind links has changed", map[string]string{"a": "changed", "la": "changed", "d/la": "changed"})
	r.write("d/new", "4")
	step("a file is new behind a link to a folder", map[string]string{"d/new": "4", "ld/new": "4"})
	r.write("d/f/g/h", "5")
	step("folders are new behind a link to a folder", map[string]string{"d/f/g/h": "5", "ld/f/g/h": "5"})
	r.rm("d/x")
	step("a file has gone behind a link to a folder", nil, "d/x", "ld/x")
	r.write("b", "6")
	r.link("b", "la")
	step("a link leads elsewhere", map[string]string{"b": "6", "la": "6"})
	r.link("d/e", "ld")
	step("a link leads to another folder", map[string]string{"ld/y": "3"}, "ld/e/y", "ld/new", "ld/f/g/h")
	r.rm("ld")
	step("a link to a folder has gone", nil, "ld/y")
	r.rm("b")
	step("what a link leads to has gone", nil, "b", "la")
	r.rm("la")
	r.write("la", "a file")
	step("a link has become a file", map[string]string{"la": "a file"})
	r.rm("la")
	r.link("d/e", "la")
	step("a file has become a link to a folder", map[string]string{"la/y": "3"}, "la")
	r.rm("la")
	r.write("la/own", "7")
	step("a link to a folder has become a folder", map[string]string{"la/own": "7"}, "la/y")
	r.rm("la")
	r.link("a", "la")
	step("a folder has become a link to a file", map[string]string{"la": "changed"}, "la/own")
	r.link(filepath.Join(outside, "secret"), "la")
	r.write("last", "8")
	step("a link leads out now: its object stays as it was", map[string]string{"last": "8"})
}

func TestSymlinksStored(t *testing.T) {
	r := newRig(t)
	r.cfg.Folders[0].Symlinks = "store"
	r.write("a", "1")
	r.write("d/x", "2")
	r.link("a", "la")
	r.link("d", "ld")
	r.link("/etc/passwd", "out")
	r.link("nothing", "gone")
	want := map[string]string{"a": "1", "d/x": "2", "la": "a", "ld": "d", "out": "/etc/passwd", "gone": "nothing"}
	r.start()
	r.waitHeld("the feed", want)
	o, err := r.bucket.Head(t.Context(), "la")
	r.must(err)
	if o.Meta["mode"] != "0120777" {
		t.Errorf("the mode of a link is %q", o.Meta["mode"])
	}
	step := r.steps(want)
	r.link("b", "la")
	step("another target of the same length", map[string]string{"la": "b"})
	r.rm("out")
	step("a link has gone", nil, "out")
	r.rm("la")
	r.write("la", "a file")
	step("a link has become a file", map[string]string{"la": "a file"})
	r.rm("la")
	r.link("a", "la")
	step("a file has become a link", map[string]string{"la": "a"})
	r.rm("d")
	r.link("ld", "d")
	step("a folder has become a link", map[string]string{"d": "ld"}, "d/x")
	r.rm("d")
	r.write("d/x", "3")
	step("a link has become a folder", map[string]string{"d/x": "3"}, "d")
	r.stop()
	r.rm("gone")
	r.link("c", "la")
	r.start()
	step("while the agent was off", map[string]string{"la": "c"}, "gone")
}

// Links that lead to folders which hold links in turn: what follows from a change comes to an end.
func TestSymlinksThatCross(t *testing.T) {
	r := newRig(t)
	r.cfg.Folders[0].Symlinks = "follow"
	r.write("a/1", "1")
	r.write("b/2", "2")
	r.link("../b", "a/l")
	r.link("../a", "b/k")
	want := map[string]string{"a/1": "1", "b/2": "2", "a/l/2": "2", "b/k/1": "1"}
	r.start()
	r.waitHeld("the feed", want)
	r.write("b/new/3", "3")
	r.link("../b", "a/l") // made again
	want["b/new/3"], want["a/l/new/3"] = "3", "3"
	r.waitHeld("a change behind both", want)
	f := r.agent.folders[0]
	r.waitFor("the end of the scans", func() bool {
		return !f.rescans.pending(f.rescans.last()) && r.agent.queue.Info().QSize == 0
	})
}

// A root that holds nothing but links is not empty where links are something: nothing is held.
func TestSymlinksFillARoot(t *testing.T) {
	r := newRig(t)
	r.cfg.Folders[0].Symlinks = "store"
	r.link("nowhere", "l")
	r.write("f", "1")
	r.start()
	r.waitHeld("the feed", map[string]string{"f": "1", "l": "nowhere"})
	r.rm("f")
	r.waitHeld("all files are gone", map[string]string{"l": "nowhere"})
}

func TestBadSymlinksAreRefused(t *testing.T) {
	r := newRig(t)
	for word, good := range map[string]bool{"": true, "skip": true, "follow": true, "store": true, "copy": false} {
		r.cfg.Folders[0].Symlinks = word
		if err := r.cfg.Check(); (err == nil) != good {
			t.Errorf("%q: %v", word, err)
		}
	}
}
