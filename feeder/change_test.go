package feeder

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"s3apu/protocol"
)

// Each line: what lies in the bucket because of us, what then happens on disk, which paths are reported, what is put.
func TestChange(t *testing.T) {
	none := func(*bench) {}
	for _, c := range []struct {
		name   string
		folder func(*Folder)
		before func(*bench)
		after  func(*bench)
		rels   []string
		want   string
	}{
		{"new file", nil, none, func(b *bench) { b.write("f", "1") }, []string{"f"}, "upl p/f"},
		{"new file without prefix", func(f *Folder) { f.Prefix = "" }, none, func(b *bench) { b.write("f", "1") }, []string{"f"}, "upl f"},
		{"prefix with a slash", func(f *Folder) { f.Prefix = "p/q/" }, none, func(b *bench) { b.write("f", "1") }, []string{"f"}, "upl p/q/f"},
		{"unchanged file", nil, func(b *bench) { b.write("f", "1") }, none, []string{"f"}, ""},
		{"modified file", nil, func(b *bench) { b.write("f", "1") }, func(b *bench) { b.write("f", "2") }, []string{"f"}, "upl p/f"},
		{"chmod", nil, func(b *bench) { b.write("f", "1") }, func(b *bench) { b.must(os.Chmod(b.path("f"), 0o600)) }, []string{"f"}, "upl p/f"},
		{"touch", nil, func(b *bench) { b.write("f", "1") },
			func(b *bench) { b.must(os.Chtimes(b.path("f"), time.Time{}, time.Unix(9, 9))) }, []string{"f"}, "upl p/f"},
		{"row of another source", nil, func(b *bench) { b.write("f", "1") },
			func(b *bench) { b.q.rows["p/f"].Source = "/elsewhere/f" }, []string{"f"}, "upl p/f"},
		{"equal, but an upload waits", nil, func(b *bench) { b.write("f", "1") }, func(b *bench) {
			b.q.recs["p/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: "p/f", Source: b.path("f")}, Hint: true}
		}, []string{"f"}, "upl p/f"},
		{"equal, but a delete of ours waits", nil, func(b *bench) { b.write("f", "1") }, func(b *bench) {
			b.q.recs["p/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Del, Key: "p/f"}, Hint: true}
		}, []string{"f"}, "upl p/f"},
		{"a client's delete waits", nil, func(b *bench) { b.write("f", "1") }, func(b *bench) {
			b.q.recs["p/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Del, Key: "p/f"}}
		}, []string{"f"}, ""},

		{"new folder", nil, none, func(b *bench) { b.mkdir("d") }, []string{"d"}, "mkd p/d/"},
		{"new folder, plain", func(f *Folder) { f.FolderObjects = "plain" }, none, func(b *bench) { b.mkdir("d") }, []string{"d"}, "mkd p/d"},
		{"new folder, none", func(f *Folder) { f.FolderObjects = "none" }, none, func(b *bench) { b.mkdir("d") }, []string{"d"}, ""},
		{"new folder with children nobody reported", nil, none, func(b *bench) { b.write("d/f", "") }, []string{"d"}, "mkd p/d/"},
		{"unchanged folder", nil, func(b *bench) { b.mkdir("d") }, none, []string{"d"}, ""},
		{"chmod of a folder", nil, func(b *bench) { b.mkdir("d") }, func(b *bench) { b.must(os.Chmod(b.path("d"), 0o700)) }, []string{"d"}, "mkd p/d/"},

		{"file in what was a file, before its folder is heard of", nil, func(b *bench) { b.write("d", "1"); b.write("k", "") },
			func(b *bench) { b.remove("d"); b.write("d/f", "2"); b.write("d/g", "3") }, []string{"d/f", "d/g"}, "del p/d|upl p/d/f|upl p/d/g"},
		{"folder in what was a file, before its folder is heard of", nil, func(b *bench) { b.write("d", "1"); b.write("k", "") },
			func(b *bench) { b.remove("d"); b.write("d/e/f", "2") }, []string{"d/e", "d/e/f"}, "del p/d|mkd p/d/e/|upl p/d/e/f"},
		{"file two folders below what was a file that is on its way", nil, func(b *bench) { b.write("k", "") }, func(b *bench) {
			b.write("d/e/f", "2")
			b.q.recs["p/d"] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: "p/d", Source: b.path("d")}, Hint: true, Leased: true}
		}, []string{"d/e/f"}, "del p/d|upl p/d/e/f"},

		{"gone file", nil, func(b *bench) { b.write("f", "1"); b.write("g", "") }, func(b *bench) { b.remove("f") }, []string{"f"}, "del p/f"},
		{"gone, deletes off", func(f *Folder) { f.Delete = false }, func(b *bench) { b.write("f", "1") }, func(b *bench) { b.remove("f") }, []string{"f"}, ""},
		{"never there", nil, none, none, []string{"f", "a/b/c"}, ""},
		{"gone folder", nil, func(b *bench) { b.write("d/e/f", ""); b.write("d/g", ""); b.write("d-1", "") },
			func(b *bench) { b.remove("d") }, []string{"d"}, "del p/d/e/f|del p/d/e/|del p/d/g|del p/d/"},
		{"gone folder, plain", func(f *Folder) { f.FolderObjects = "plain" },
			func(b *bench) { b.write("d/e/f", ""); b.write("d/g", ""); b.write("d-1", "") },
			func(b *bench) { b.remove("d") }, []string{"d"}, "del p/d/e/f|del p/d/e|del p/d/g|del p/d"},
		{"gone folder, none", func(f *Folder) { f.FolderObjects = "none" },
			func(b *bench) { b.write("d/e/f", ""); b.write("d/g", ""); b.write("k", "") },
			func(b *bench) { b.remove("d") }, []string{"d"}, "del p/d/e/f|del p/d/g"},
		{"gone folder and what was in it", nil, func(b *bench) { b.write("d/f", ""); b.write("k", "") },
			func(b *bench) { b.remove("d") }, []string{"d", "d/f"}, "del p/d/f|del p/d/"},
		{"gone, row of another source", nil, func(b *bench) { b.write("f", "1"); b.write("k", "") },
			func(b *bench) { b.remove("f"); b.q.rows["p/f"].Source = "/elsewhere/f" }, []string{"f"}, ""},
		{"gone, row of a copy", nil, func(b *bench) { b.write("f", "1"); b.write("k", "") },
			func(b *bench) { b.remove("f"); b.q.rows["p/f"].Verb = protocol.Cpo }, []string{"f"}, ""},
		{"gone, a held delete waits", nil, func(b *bench) { b.write("f", "1"); b.write("k", "") }, func(b *bench) {
			b.remove("f")
			b.q.recs["p/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Del, Key: "p/f"}, Hint: true, Held: true}
		}, []string{"f"}, ""},
		{"gone, a delete was given up", nil, func(b *bench) { b.write("f", "1"); b.write("k", "") }, func(b *bench) {
			b.remove("f")
			b.q.recs["p/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Del, Key: "p/f"}, Hint: true, Dead: true}
		}, []string{"f"}, "del p/f"},
		{"gone before it was uploaded", nil, none, func(b *bench) {
			b.q.recs["p/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: "p/f", Source: b.path("f")}, Hint: true}
		}, []string{"f"}, "del p/f"},
		{"a client's upload of what is not there yet", nil, none, func(b *bench) {
			b.q.recs["p/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: "p/f", Source: b.path("f")}}
		}, []string{"f"}, ""},
		{"failures below a gone folder", nil, none, func(b *bench) {
			b.q.recs["p/d/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: "p/d/f", Source: b.path("d/f")}, Hint: true, Dead: true}
		}, []string{"d"}, ""},
		{"deletes come last", nil, func(b *bench) { b.write("f", "1") },
			func(b *bench) { b.remove("f"); b.write("g", "") }, []string{"f", "g"}, "upl p/g|del p/f"},

		{"folder becomes file", nil, func(b *bench) { b.write("x/y/z", ""); b.write("x-1", "") },
			func(b *bench) { b.remove("x"); b.write("x", "1") }, []string{"x"}, "del p/x/y/z|del p/x/y/|del p/x/|upl p/x"},
		{"folder becomes file, plain", func(f *Folder) { f.FolderObjects = "plain" }, func(b *bench) { b.write("x/y/z", "") },
			func(b *bench) { b.remove("x"); b.write("x", "1") }, []string{"x"}, "del p/x/y/z|del p/x/y|upl p/x"},
		{"folder becomes file, all reported", nil, func(b *bench) { b.write("x/y", ""); b.write("k", "") },
			func(b *bench) { b.remove("x"); b.write("x", "1") }, []string{"x", "x/y"}, "del p/x/y|del p/x/|upl p/x"},
		{"file becomes folder", nil, func(b *bench) { b.write("x", "1") },
			func(b *bench) { b.remove("x"); b.write("x/y", "") }, []string{"x", "x/y"}, "del p/x|mkd p/x/|upl p/x/y"},
		{"file becomes folder, plain", func(f *Folder) { f.FolderObjects = "plain" }, func(b *bench) { b.write("x", "1") },
			func(b *bench) { b.remove("x"); b.mkdir("x") }, []string{"x"}, "mkd p/x"},
		{"file becomes folder, none", func(f *Folder) { f.FolderObjects = "none" }, func(b *bench) { b.write("x", "1") },
			func(b *bench) { b.remove("x"); b.write("x/y", "") }, []string{"x", "x/y"}, "del p/x|upl p/x/y"},
		{"file becomes folder before it was uploaded", nil, none, func(b *bench) {
			b.mkdir("x")
			b.q.recs["p/x"] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: "p/x", Source: b.path("x")}, Hint: true}
		}, []string{"x"}, "del p/x|mkd p/x/"},

		{"the root and the empty list", nil, none, none, []string{""}, ""},
		{"excluded", func(f *Folder) { f.Match = func(rel string, _ bool) bool { return rel != "d" } }, none,
			func(b *bench) { b.write("d/f", "") }, []string{"d", "d/f"}, ""},
		{"gone and excluded since", nil, func(b *bench) { b.write("d/f", ""); b.write("k", "") }, func(b *bench) {
			b.remove("d")
			b.remake(Folder{Root: b.root, Bucket: bucketName, Prefix: "p", Delete: true, Match: func(rel string, _ bool) bool { return rel != "d" }})
		}, []string{"d", "d/f"}, ""},
		{"too deep", func(f *Folder) { f.Depth = 2 }, none, func(b *bench) { b.write("a/b/c", "") }, []string{"a", "a/b", "a/b/c"}, "mkd p/a/|mkd p/a/b/"},
		{"gone and too deep", nil, func(b *bench) { b.write("a/b/c", ""); b.write("k", "") }, func(b *bench) {
			b.remove("a/b/c")
			b.remake(Folder{Root: b.root, Bucket: bucketName, Prefix: "p", Delete: true, Depth: 2})
		}, []string{"a/b/c"}, ""},
		{"odd but possible names", nil, none, func(b *bench) {
			for _, n := range []string{"| ; % # ? + &", "new\nline", "é 日本", " ", "a\\b"} {
				b.write(n, "")
			}
		}, []string{"| ; % # ? + &", "new\nline", "é 日本", " "}, "upl p/| ; % # ? + &|upl p/new\nline|upl p/é 日本|upl p/ "},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, c.folder)
			c.before(b)
			b.sync()
			puts := b.q.puts
			c.after(b)
			got := b.change(c.rels...)
			if strings.Join(got, "|") != c.want {
				t.Fatalf("put %q, want %q", strings.Join(got, "|"), c.want)
			}
			if n := b.q.puts - puts; n > 1 {
				t.Errorf("%d calls of Put", n)
			}
		})
	}
}

// A failure goes when its file goes, whether deletes are allowed or not.
func TestFailureOfAGoneFileIsForgotten(t *testing.T) {
	for _, del := range []bool{true, false} {
		b := newBench(t, func(f *Folder) { f.Delete = del })
		for _, rel := range []string{"f", "d/f", "e/f", "e/g"} {
			key := protocol.Key("p/" + rel)
			b.q.recs[key] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: key, Source: b.path(rel)}, Hint: rel != "e/g", Dead: true}
		}
		b.want(b.change("f", "d"))
		_, put := b.scan("", deep)
		b.want(put)
		if !slices.Equal(b.q.dropped, []protocol.Key{"p/f", "p/d/f", "p/e/f"}) {
			t.Fatalf("dropped %q", b.q.dropped)
		}
	}
}

func TestChangeIsLive(t *testing.T) {
	b := newBench(t, nil)
	b.write("f", "1")
	b.q.onPut = func(w []Wish) error {
		if w[0].Class != protocol.Live || w[0].Bucket != bucketName || w[0].Source != b.path("f") {
			t.Errorf("wish %+v", w[0])
		}
		return nil
	}
	b.want(b.change("f"), "upl p/f")
}

func TestMkdCarriesItsPath(t *testing.T) {
	b := newBench(t, nil)
	b.mkdir("d/e")
	b.q.onPut = func(w []Wish) error {
		if w[0].Source != b.path("d/e") {
			t.Errorf("wish %+v", w[0])
		}
		return nil
	}
	b.want(b.change("d/e"), "mkd p/d/e/")
}

func TestBusyFileIsMarked(t *testing.T) {
	b := newBench(t, nil)
	b.write("f", "1")
	b.write("g", "1")
	b.busy["f"] = true
	b.want(b.change("f", "g"), "upl p/g")
	r, put := b.scan("", deep)
	b.want(put) // g waits in the queue already
	if !slices.Equal(b.marked, []string{"f", "f"}) || r.Busy != 1 {
		t.Fatalf("marked %q, report %+v", b.marked, r)
	}
}

// TestBusyFilesThatAreLeftToTheWorkers: a scan asks all the same whether a file is at rest if it is about to take the place of another
// name, and if its row would be forgotten; a change and a scan of a folder's own entries ask always.
func TestBusyFilesThatAreLeftToTheWorkers(t *testing.T) {
	for _, c := range []struct {
		name    string
		unasked bool
		make    func(b *bench)
		want    string // "": it is marked
	}{
		{"left", true, func(b *bench) { b.write("f", "1") }, "upl p/f"},
		{"not left", false, func(b *bench) { b.write("f", "1") }, ""},
		{"left, and other than its row", true, func(b *bench) { b.write("f", "1"); b.sync(); b.write("f", "22") }, "upl p/f"},
		{"renamed", true, func(b *bench) { b.write("a", "1"); b.sync(); b.must(os.Rename(b.path("a"), b.path("f"))) }, ""},
		{"other object", true, func(b *bench) { b.write("f", "1"); b.sync(); b.s.objs["p/f"] = object{body: "22"} }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, func(f *Folder) { f.Unasked, f.Delete = func(protocol.Stat) bool { return c.unasked }, false })
			c.make(b)
			b.busy["f"] = true
			r, put := b.scan("", listed)
			if c.want != "" {
				b.want(put, c.want)
			} else if b.want(put); r.Busy != 1 || !slices.Equal(b.marked, []string{"f"}) {
				t.Errorf("marked %q, report %+v", b.marked, r)
			}
			if row, err := b.f.queue.Entry(protocol.ObjectID{Bucket: bucketName, Key: "p/f"}); c.name == "other object" && (row == nil || err != nil) {
				t.Errorf("the row is gone: %v", err)
			}
		})
	}
	b := newBench(t, func(f *Folder) { f.Unasked = func(protocol.Stat) bool { return true } })
	b.write("f", "1")
	b.busy["f"] = true
	b.want(b.change("f"))
	_, put := b.scan("", ScanOptions{Live: true})
	b.want(put)
}

func TestErrorOfTheQueueMarksAgain(t *testing.T) {
	b := newBench(t, nil)
	b.write("f", "1")
	full := &protocol.Error{Op: "put", Kind: protocol.KindLocal, Err: errors.New("disk full")}
	b.q.onPut = func([]Wish) error { return full }
	if err := b.f.Change(t.Context(), []string{"f", "gone"}); !errors.Is(err, full) {
		t.Fatal(err)
	}
	if !slices.Equal(b.marked, []string{"f", "gone"}) {
		t.Fatalf("marked %q", b.marked)
	}
	b.q.onPut = nil
	b.want(b.change(b.marked...), "upl p/f")
}

// A file that is there again when the deletes are put is not deleted.
func TestBackBeforeTheDelete(t *testing.T) {
	b := newBench(t, nil)
	b.write("f", "1")
	b.write("g", "1")
	b.sync()
	b.remove("f")
	b.write("new", "")
	b.q.onPend = func(key protocol.Key) {
		if key == "p/new" {
			b.write("f", "2")
		}
	}
	b.want(b.change("f", "new"), "upl p/new")
}

func TestChangeEndsWithItsContext(t *testing.T) {
	b := newBench(t, nil)
	b.write("f", "1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.f.Change(ctx, []string{"f"}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	b.want(b.q.take())
}

// Links are neither followed nor taken for a reason to delete.
func TestLinks(t *testing.T) {
	b := newBench(t, nil)
	other := t.TempDir()
	b.write("d/f", "1")
	b.write("g", "1")
	b.sync()
	b.remove("d")
	b.remove("g")
	if err := os.Symlink(other, b.path("d")); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	b.must(os.Symlink(other+"/missing", b.path("g")))
	b.must(os.Symlink(other, b.path("new")))
	b.must(os.WriteFile(other+"/x", nil, 0o644))
	b.want(b.change("d", "d/f", "d/x", "g", "new", "new/x"))
	r, put := b.scan("", deep)
	b.want(put)
	if r.Skipped < 3 || b.f.Total().Skipped < 9 {
		t.Fatalf("report %+v, total %+v", r, b.f.Total())
	}
}

func TestNewRefuses(t *testing.T) {
	root := t.TempDir()
	file := root + "/file"
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		folder Folder
		kind   protocol.Kind
	}{
		{Folder{Root: "relative"}, protocol.KindUsage},
		{Folder{Root: root, Prefix: "/x"}, protocol.KindUsage},
		{Folder{Root: root, Prefix: "x/../y"}, protocol.KindUsage},
		{Folder{Root: root, Prefix: "\xff"}, protocol.KindUsage},
		{Folder{Root: root, Depth: -1}, protocol.KindUsage},
		{Folder{Root: root, FolderObjects: "slashes"}, protocol.KindUsage},
		{Folder{Root: root + "/missing"}, protocol.KindLocal},
		{Folder{Root: file}, protocol.KindLocal},
	} {
		_, err := New(c.folder, newFakeQueue(), nil, nil, nil, nil)
		kindIs(t, err, c.kind)
	}
	_, err := New(Folder{Root: root + "/missing"}, newFakeQueue(), nil, nil, nil, nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestSettledFor(t *testing.T) {
	now := time.Now().UnixNano()
	for _, c := range []struct {
		settle       time.Duration
		mtime, ctime int64
		want         bool
	}{
		{0, now, now, true},
		{time.Hour, now, now, false},
		{time.Hour, 0, now - int64(time.Minute), false},
		{time.Hour, 0, now - 2*int64(time.Hour), true},
		{time.Hour, now + int64(24*time.Hour), 0, true}, // the clock was set back: not busy for ever
	} {
		if got := settledFor(c.settle)("", protocol.Stat{MTime: c.mtime, CTime: c.ctime}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
