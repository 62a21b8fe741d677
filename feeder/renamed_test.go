package feeder

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"s3apu/protocol"
)

func (b *bench) rename(from, to string) {
	b.Helper()
	b.must(os.MkdirAll(filepath.Dir(b.path(to)), 0o755))
	b.must(os.Rename(b.path(from), b.path(to)))
}

// equal compares files and objects.
func (b *bench) equal() {
	b.Helper()
	want := map[string]string{}
	b.must(filepath.WalkDir(b.root, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == b.root {
			return err
		}
		key := "p/" + strings.TrimPrefix(path, b.root+"/")
		if d.IsDir() {
			want[key+"/"] = ""
			return nil
		}
		body, err := os.ReadFile(path)
		want[key] = string(body)
		return err
	}))
	for key, o := range b.s.objs {
		body, ok := want[string(key)]
		if !ok || body != o.body {
			b.Errorf("%s is in the bucket with %q, on disk %v %q", key, o.body, ok, body)
		}
		delete(want, string(key))
	}
	for key := range want {
		b.Errorf("%s is not in the bucket", key)
	}
}

// What the instructions are for a rename, by whatever it is found.
func TestRename(t *testing.T) {
	whole := func(b *bench) []string { _, put := b.scan("", deep); return put }
	for name, c := range map[string]struct {
		before func(b *bench) // brings the tree into its state, then it is uploaded
		then   func(b *bench)
		find   func(b *bench) []string
		want   []string
		copies int
	}{
		"a file": {
			then:   func(b *bench) { b.rename("a", "b") },
			find:   func(b *bench) []string { return b.change("b") },
			want:   []string{"cpo p/a p/b", "del p/a"},
			copies: 1,
		},
		"a file, both names at once": {
			then:   func(b *bench) { b.rename("a", "b") },
			find:   func(b *bench) []string { return b.change("a", "b") },
			want:   []string{"cpo p/a p/b", "del p/a", "del p/a"}, // the second one changes nothing: one record a key
			copies: 1,
		},
		"a file, by a scan that misses the old name first": {
			then: func(b *bench) { b.rename("a", "z") }, find: whole,
			want: []string{"cpo p/a p/z", "del p/a"}, copies: 1,
		},
		"a file, by a scan that meets the new name first": {
			before: func(b *bench) { b.write("z", "1") },
			then:   func(b *bench) { b.rename("z", "b") }, find: whole,
			want: []string{"cpo p/z p/b", "del p/z"}, copies: 1,
		},
		"a file over another": {
			before: func(b *bench) { b.write("b", "2") },
			then:   func(b *bench) { b.rename("a", "b") },
			find:   func(b *bench) []string { return b.change("b") },
			want:   []string{"cpo p/a p/b", "del p/a"}, copies: 1,
		},
		"a file of which only owner and mode changed as well": {
			then: func(b *bench) { b.must(os.Chmod(b.path("a"), 0o600)); b.rename("a", "b") },
			find: func(b *bench) []string { return b.change("b") },
			want: []string{"cpo p/a p/b", "del p/a"}, copies: 1,
		},
		"a file that was written afterwards": {
			then: func(b *bench) { b.rename("a", "b"); b.write("b", "2") },
			find: func(b *bench) []string { return b.change("b", "a") },
			want: []string{"upl p/b", "del p/a"},
		},
		"a file with the time 1970": {
			before: func(b *bench) { b.must(os.Chtimes(b.path("a"), time.Time{}, time.Unix(0, 0))) },
			then:   func(b *bench) { b.rename("a", "b") },
			find:   func(b *bench) []string { return b.change("b", "a") },
			want:   []string{"upl p/b", "del p/a"},
		},
		"a hard link": {
			then: func(b *bench) { b.must(os.Link(b.path("a"), b.path("b"))) },
			find: func(b *bench) []string { return b.change("b") },
			want: []string{"cpo p/a p/b"}, copies: 1,
		},
		"a log that is rotated": {
			then: func(b *bench) { b.rename("a", "a.1"); b.write("a", "2") },
			find: func(b *bench) []string { return append(b.change("a.1"), b.change("a")...) },
			want: []string{"cpo p/a p/a.1", "upl p/a"}, copies: 1,
		},
		"a log that is rotated, the new one first": {
			then: func(b *bench) { b.rename("a", "a.1"); b.write("a", "2") },
			find: func(b *bench) []string { return b.change("a", "a.1") },
			want: []string{"cpo p/a p/a.1", "upl p/a"}, copies: 1,
		},
		"logs that are rotated, by a scan": {
			before: func(b *bench) { b.write("a.1", "old") },
			then:   func(b *bench) { b.rename("a.1", "a.2"); b.rename("a", "a.1"); b.write("a", "2") },
			find:   whole,
			want:   []string{"cpo p/a.1 p/a.2", "cpo p/a p/a.1", "upl p/a"}, copies: 2,
		},
		"a swap": {
			before: func(b *bench) { b.write("b", "2") },
			then:   func(b *bench) { b.rename("a", "t"); b.rename("b", "a"); b.rename("t", "b") },
			find:   func(b *bench) []string { return b.change("a", "b") },
			want:   []string{"cpo p/a p/b", "cpo p/b p/a"}, copies: 1, // by then b is another object
		},
		"twice before it is seen": {
			then: func(b *bench) { b.rename("a", "b"); b.rename("b", "c") },
			find: func(b *bench) []string { return b.change("b", "c") },
			want: []string{"cpo p/a p/c", "del p/a"}, copies: 1,
		},
		"back before it is seen": {
			then: func(b *bench) { b.rename("a", "b"); b.rename("b", "a") },
			find: func(b *bench) []string { return b.change("a", "b") },
			want: []string{"upl p/a"}, // the worker finds that only the change time differs
		},
		"into a folder of its own name": {
			then: func(b *bench) { b.rename("a", "t"); b.rename("t", "a/x") },
			find: func(b *bench) []string { return b.change("a", "a/x") },
			want: []string{"del p/a", "mkd p/a/", "upl p/a/x"},
		},
		"out of a folder that it takes the name of": {
			before: func(b *bench) { b.write("d/x", "3") },
			then:   func(b *bench) { b.rename("d/x", "t"); b.remove("d"); b.rename("t", "d") },
			find:   func(b *bench) []string { return b.change("d") },
			want:   []string{"del p/d/x", "del p/d/", "upl p/d"},
		},
		"an atomic save": {
			then: func(b *bench) { b.write(".a.tmp", "2"); b.rename(".a.tmp", "a") },
			find: func(b *bench) []string { return b.change(".a.tmp", "a") },
			want: []string{"upl p/a"},
		},
		"an atomic save whose temporary file was uploaded": {
			before: func(b *bench) { b.write(".a.tmp", "2") },
			then:   func(b *bench) { b.rename(".a.tmp", "a") },
			find:   func(b *bench) []string { return b.change("a") },
			want:   []string{"cpo p/.a.tmp p/a", "del p/.a.tmp"}, copies: 1,
		},
		"a folder": {
			before: func(b *bench) { b.write("d/x", "3"); b.write("d/e/y", "4") },
			then:   func(b *bench) { b.rename("d", "c") },
			find:   func(b *bench) []string { _, put := b.scan("c", ScanOptions{Deep: true, Live: true}); return put },
			want: []string{"mkd p/c/", "del p/d/", "mkd p/c/e/", "del p/d/e/", "cpo p/d/e/y p/c/e/y", "del p/d/e/y",
				"cpo p/d/x p/c/x", "del p/d/x"},
			copies: 2,
		},
		"a folder and one in it": {
			before: func(b *bench) { b.write("d/e/y", "4") },
			then:   func(b *bench) { b.rename("d", "c"); b.rename("c/e", "c/f") }, find: whole,
			want: []string{"mkd p/c/", "mkd p/c/f/", "del p/d/e/", "cpo p/d/e/y p/c/f/y", "del p/d/e/y", "del p/d/"}, copies: 1, // the time of d changed
		},
		"folders that swap their names": {
			before: func(b *bench) { b.write("d/x", "3"); b.write("e/x", "4"); b.write("e/y", "5") },
			then:   func(b *bench) { b.rename("d", "t"); b.rename("e", "d"); b.rename("t", "e") }, find: whole,
			want: nil, copies: 2, // e/y to d/y, and one of the two x
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.write("a", "1")
			b.write("keep", "0")
			if c.before != nil {
				c.before(b)
			}
			b.sync()
			c.then(b)
			b.q.all = nil
			put := c.find(b)
			if c.want != nil {
				b.want(put, c.want...)
			}
			b.q.log, b.q.all = b.q.all, nil
			b.must(b.q.carryOut(b.s))
			if b.q.copies != c.copies {
				t.Errorf("%d files were copied, want %d", b.q.copies, c.copies)
			}
			b.sync() // times of folders
			b.equal()
		})
	}
}

// A folder with more files than a mass delete has: no delete is held, before its old name is reported as gone or after.
func TestRenamedFolderIsNoMassDelete(t *testing.T) {
	const files = holdLeast + 500
	for name, find := range map[string]func(b *bench){
		"the new name first": func(b *bench) {
			_, err := b.f.Scan(b.Context(), "c", ScanOptions{Deep: true, Live: true})
			b.must(err)
			b.must(b.f.Change(b.Context(), []string{"d"}))
		},
		"a scan of everything": func(b *bench) {
			_, err := b.f.Scan(b.Context(), "", deep)
			b.must(err)
		},
		"the old name first": func(b *bench) { // its deletes are held, until the new name is seen
			b.must(b.f.Change(b.Context(), []string{"d"}))
			if n := b.q.held(); n <= files {
				b.Errorf("%d are held", n)
			}
			_, err := b.f.Scan(b.Context(), "c", ScanOptions{Deep: true, Live: true})
			b.must(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.write("keep", "0")
			for i := range files {
				b.write(fmt.Sprintf("d/%d/%d", i%10, i), fmt.Sprint(i))
			}
			b.sync()
			b.rename("d", "c")
			find(b)
			if n := b.q.held(); n > 0 {
				t.Fatalf("%d deletes are held", n)
			}
			b.must(b.q.carryOut(b.s))
			b.equal()
			if b.q.copies != files {
				t.Errorf("%d of %d files were copied", b.q.copies, files)
			}
			if name == "the old name first" { // those were counted before it was known what they are
				return
			}
			if held, why := b.f.guard.hold(holdLeast); held {
				t.Errorf("a delete after it is held: %s", why)
			}
		})
	}
}

// Of a rename of most, and a loss of many: what is lost is held, what was renamed is not.
func TestLossBesideARenameIsHeld(t *testing.T) {
	b := newBench(t, nil)
	b.write("keep", "0")
	for i := range 2 * (holdLeast + 1) {
		b.write(fmt.Sprintf("d/%d/%d", i%2, i), fmt.Sprint(i))
	}
	b.sync()
	b.rename("d/0", "z")
	b.remove("d/1")
	_, err := b.f.Scan(b.Context(), "", deep)
	b.must(err)
	if n := b.q.held(); n != holdLeast+2 { // the files and their folder
		t.Errorf("%d deletes are held", n)
	}
	b.must(b.q.carryOut(b.s))
	if b.q.copies != holdLeast+1 {
		t.Errorf("%d files were copied", b.q.copies)
	}
}

// More missing files than a scan remembers one by one, all of them renamed to what sorts behind.
func TestRenameBeyondWhatAScanRemembers(t *testing.T) {
	const files = holdLeast + 200
	b := newBench(t, nil)
	b.f.remembers = 100
	b.write("keep", "0")
	for i := range files {
		b.write(fmt.Sprintf("d/%05d", i), "x")
	}
	b.sync()
	b.rename("d", "z")
	r, err := b.f.Scan(b.Context(), "", deep)
	b.must(err)
	if n := b.q.held(); n > 0 || r.Renamed != files || r.Bytes != 0 {
		t.Errorf("%d deletes are held; %v", n, r)
	}
	b.must(b.q.carryOut(b.s))
	b.equal()
}

// The inode number of a folder that is gone is given to a new one: that frees no delete that was held.
func TestReusedFolderFreesNothing(t *testing.T) {
	b := newBench(t, nil)
	b.write("d/x", "1")
	b.write("keep", "0")
	b.sync()
	b.remove("d")
	b.mkdir("e")
	st, err := lstat(b.path("e"))
	b.must(err)
	b.q.rows["p/d/"].Ino, b.q.rows["p/d/"].Dev = st.Ino, st.Dev
	b.q.recs["p/d/"] = Record{Instruction: protocol.Instruction{Verb: protocol.Del, Key: "p/d/"}, Hint: true, Held: true}
	b.want(b.change("e"), "mkd p/e/")
}

// The inode number of a file that is gone is given to one of the same size, whose time is set to that of the first: that
// frees no delete that was held, as long as its bytes are others.
func TestReusedFileFreesNothing(t *testing.T) {
	for text, want := range map[string][]string{"2": {"cpo p/a p/b"}, "1": {"cpo p/a p/b", "del p/a"}} {
		b := newBench(t, nil)
		b.write("a", "1")
		b.write("keep", "0")
		b.sync()
		row := b.q.rows["p/a"]
		b.remove("a")
		b.write("b", text)
		b.must(os.Chtimes(b.path("b"), time.Unix(0, row.MTime), time.Unix(0, row.MTime)))
		st, err := lstat(b.path("b"))
		b.must(err)
		row.Ino, row.Dev = st.Ino, st.Dev
		b.q.recs["p/a"] = Record{Instruction: protocol.Instruction{Verb: protocol.Del, Key: "p/a"}, Hint: true, Held: true}
		b.want(b.change("b"), want...)
	}
}
