package worker

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"s3apu/protocol"
)

func TestVerbsReachTheBucket(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.store.objects["old"] = &protocol.Object{Key: "old", ETag: "e"}
		sizes := map[string]int{"empty.txt": 0, "one.jpg": 1, "page.html": 4096, "mib.bin": 1 << 20, "over.bin": 1<<20 + 1, "more.mp4": 3<<20 + 17}
		for name, size := range sizes {
			r.src.put(upl("in/"+name, r.file(name, size, 3)))
		}
		sub := filepath.Join(r.dir, "sub")
		if err := os.Mkdir(sub, 0o750); err != nil {
			t.Fatal(err)
		}
		r.src.put(order(protocol.Mkd, "in/sub/", sub), order(protocol.Mkd, "made/", ""), order(protocol.Cpo, "new", "/b/old"))
		r.run(Config{MaxWorkers: 3})
		r.src.drain(t, time.Minute)
		r.src.put(order(protocol.Del, "old", ""))
		r.src.drain(t, time.Minute)
		r.stop()

		for name, size := range sizes {
			o, want := r.store.object(protocol.Key("in/"+name)), md5Hex(content(size, 3))
			if o == nil || o.ETag != want || o.Size != int64(size) {
				t.Fatalf("%s: the object is %+v", name, o)
			}
			row := r.src.row(protocol.Key("in/" + name))
			if row == nil || row.ETag != want || row.MD5 != want || row.Size != int64(size) || row.Put == 0 || row.Verb != protocol.Upl || row.Ino == 0 {
				t.Errorf("%s: the row is %+v", name, row)
			}
		}
		if o := r.store.object("in/one.jpg"); o.ContentType != "image/jpeg" || o.Meta["mode"] != "0100644" {
			t.Errorf("headers are %q %v", o.ContentType, o.Meta)
		}
		if o := r.store.object("in/sub/"); o == nil || o.Size != 0 || o.ContentType != folderType || o.Meta["mode"] != "040750" {
			t.Errorf("the folder is %+v", o)
		}
		if o := r.store.object("made/"); o == nil || o.Meta["mode"] != "040755" || o.Meta["uid"] != "1" {
			t.Errorf("the folder from the socket is %+v", o)
		}
		if row := r.src.row("new"); row == nil || row.Verb != protocol.Cpo || row.ETag != "e" || r.store.object("new") == nil {
			t.Errorf("the copy's row is %+v", row)
		}
		if r.store.object("old") != nil {
			t.Error("the object is still there")
		}
		if len(r.events) != 10 {
			t.Errorf("%d events, not 10", len(r.events))
		}
		s := r.pool.Stats()
		if p := s.Performance; p.Total != 10 || p.Upl != 6 || p.Mkd != 2 || p.Cpo != 1 || p.Del != 1 || p.Largest != 3<<20+17 || p.Smallest != 0 {
			t.Errorf("the figures are %+v", p)
		}
	})
}

func TestFolderObjects(t *testing.T) {
	for _, tc := range []struct{ layout, key, object string }{
		{"slash", "a/b/", "a/b/"}, {"slash", "a/b", "a/b/"}, {"plain", "a/b/", "a/b"}, {"plain", "a/b", "a/b"}, {"none", "a/b/", ""},
	} {
		t.Run(tc.layout+" "+tc.key, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.run(Config{FolderObjects: tc.layout})
				r.src.put(hint(order(protocol.Mkd, tc.key, r.dir)))
				r.src.drain(t, time.Minute)
				if tc.object == "" {
					if r.store.requests() != 0 || r.src.row(protocol.Key(tc.key)) != nil {
						t.Error("something was written")
					}
					return
				}
				if r.store.object(protocol.Key(tc.object)) == nil || r.src.row(protocol.Key(tc.key)) == nil {
					t.Fatalf("objects %v, rows %v", r.store.objects, r.src.ledger)
				}
				r.src.put(hint(order(protocol.Mkd, tc.key, r.dir)))
				r.src.drain(t, time.Minute)
				if n := r.store.count("put"); n != 1 {
					t.Errorf("an unchanged folder was put %d times", n)
				}
				if err := os.Chmod(r.dir, 0o711); err != nil {
					t.Fatal(err)
				}
				r.src.put(hint(order(protocol.Mkd, tc.key, r.dir)))
				r.src.drain(t, time.Minute)
				if o := r.store.object(protocol.Key(tc.object)); o.Meta["mode"] != "040711" {
					t.Errorf("the folder's new mode is %v", o.Meta)
				}
				must(t, os.Remove(r.dir))
				r.src.put(hint(order(protocol.Del, tc.key, "")))
				r.src.drain(t, time.Minute)
				if r.store.object(protocol.Key(tc.object)) != nil || r.src.row(protocol.Key(tc.key)) != nil {
					t.Error("the folder is still there")
				}
			})
		})
	}
}

func TestHintedDeleteNeedsTheLedger(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.store.objects["theirs"] = &protocol.Object{Key: "theirs"}
		r.src.put(hint(order(protocol.Del, "theirs", "")))
		r.run(Config{})
		r.src.drain(t, time.Minute)
		if r.store.requests() != 0 || r.store.object("theirs") == nil {
			t.Error("an object that is not ours was touched")
		}
	})
}

// A delete that was decided when the file was gone is not carried out if it is back by then.
func TestHintedDeleteLooksOnceMore(t *testing.T) {
	for _, tc := range []struct {
		name string
		verb protocol.Verb
		make func(t *testing.T, path string)
		kept bool
	}{
		{"gone", protocol.Upl, func(*testing.T, string) {}, false},
		{"back", protocol.Upl, func(t *testing.T, path string) { must(t, os.WriteFile(path, nil, 0o600)) }, true},
		{"a folder now", protocol.Upl, func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, false},
		{"folder gone", protocol.Mkd, func(*testing.T, string) {}, false},
		{"folder back", protocol.Mkd, func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, true},
		{"a file now", protocol.Mkd, func(t *testing.T, path string) { must(t, os.WriteFile(path, nil, 0o600)) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				path := filepath.Join(r.dir, "x")
				tc.make(t, path)
				r.store.objects["ours"] = &protocol.Object{Key: "ours"}
				d := hint(order(protocol.Del, "ours", ""))
				r.src.ledger[protocol.ObjectID{Bucket: testBucket, Key: "ours"}] = &protocol.Entry{Bucket: testBucket, Key: "ours", Verb: tc.verb, Source: path}
				r.src.put(d)
				r.run(Config{FolderObjects: FolderPlain})
				r.src.drain(t, time.Minute)
				if kept := r.store.object("ours") != nil; kept != tc.kept {
					t.Errorf("kept: %v", kept)
				}
			})
		})
	}
}

func TestOnlyWhatDiffersIsSent(t *testing.T) {
	newer := time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
	for _, tc := range []struct {
		name             string
		change           func(t *testing.T, r *rig, d *protocol.Delivery)
		explicit         bool
		puts, copies     int // after the first upload
		heads, unchanged int
	}{
		{"nothing", func(*testing.T, *rig, *protocol.Delivery) {}, false, 0, 0, 0, 1},
		{"nothing, explicit", func(*testing.T, *rig, *protocol.Delivery) {}, true, 0, 1, 0, 0},
		{"chmod", func(t *testing.T, _ *rig, d *protocol.Delivery) { must(t, os.Chmod(d.Source, 0o600)) }, false, 0, 1, 0, 0},
		{"touch", func(t *testing.T, _ *rig, d *protocol.Delivery) { must(t, os.Chtimes(d.Source, newer, newer)) }, false, 0, 1, 0, 0},
		{"moved root", func(t *testing.T, r *rig, d *protocol.Delivery) {
			to := filepath.Join(r.dir, "moved")
			must(t, os.Rename(d.Source, to))
			d.Source = to
		}, false, 0, 0, 0, 0},
		{"same size, other bytes", func(t *testing.T, _ *rig, d *protocol.Delivery) {
			fi, err := os.Stat(d.Source)
			must(t, err)
			must(t, os.WriteFile(d.Source, content(int(fi.Size()), 99), 0))
		}, false, 1, 0, 0, 0},
		{"grown", func(t *testing.T, _ *rig, d *protocol.Delivery) {
			fi, err := os.Stat(d.Source)
			must(t, err)
			must(t, os.WriteFile(d.Source, content(int(fi.Size())+1, 1), 0))
		}, false, 1, 0, 0, 0},
		{"chmod, object gone", func(t *testing.T, r *rig, d *protocol.Delivery) {
			must(t, os.Chmod(d.Source, 0o600))
			delete(r.store.objects, d.Key)
		}, false, 1, 1, 0, 0},
		{"chmod, object replaced", func(t *testing.T, r *rig, d *protocol.Delivery) {
			must(t, os.Chmod(d.Source, 0o600))
			r.store.objects[d.Key].ETag = "other"
		}, false, 1, 1, 0, 0},
		{"chmod, copies forbidden", func(t *testing.T, r *rig, d *protocol.Delivery) {
			must(t, os.Chmod(d.Source, 0o600))
			r.store.before = forPrefix("", "copy", s3Error(protocol.KindTarget, 403))
		}, false, 1, 1, 0, 0},
		{"again, arrived", func(_ *testing.T, r *rig, d *protocol.Delivery) {
			d.Again = true
			clear(r.src.ledger)
		}, false, 0, 0, 1, 0},
		{"again, not arrived", func(_ *testing.T, r *rig, d *protocol.Delivery) {
			d.Again = true
			clear(r.src.ledger)
			clear(r.store.objects)
		}, false, 1, 0, 1, 0},
		{"again, other metadata", func(_ *testing.T, r *rig, d *protocol.Delivery) {
			d.Again = true
			clear(r.src.ledger)
			r.store.objects[d.Key].Meta = nil
		}, false, 1, 0, 1, 0},
	} {
		for _, size := range []int{10, 2 << 20, 12 << 20} { // from memory, from the file, in parts
			t.Run(fmt.Sprint(tc.name, " ", size), func(t *testing.T) {
				bubble(t, func(t *testing.T, r *rig) {
					d := upl("k.txt", r.file("f", size, 1))
					r.run(Config{MultipartAbove: 8 << 20, PartSize: 5 << 20})
					r.src.put(d)
					r.src.drain(t, time.Minute)
					puts := func() int { return r.store.count("put") + r.store.count("start") }
					if puts() != 1 {
						t.Fatalf("%d uploads of a new file", puts())
					}
					d.Hint = !tc.explicit
					tc.change(t, r, &d)
					before := r.store.requests()
					r.src.put(d)
					r.src.drain(t, time.Minute)
					if p, c, h := puts()-1, r.store.count("copy"), r.store.count("head"); p != tc.puts || c != tc.copies || h != tc.heads {
						t.Errorf("%d uploads, %d copies, %d looks; want %d, %d, %d", p, c, h, tc.puts, tc.copies, tc.heads)
					}
					if tc.unchanged == 1 && r.store.requests() != before {
						t.Error("a request was made for nothing")
					}
					st, e := lstat(d.Source)
					if e != nil {
						t.Fatal(e)
					}
					row, o := r.src.row("k.txt"), r.store.object("k.txt")
					if row == nil || row.Stat != st || row.Source != d.Source || o == nil || o.ETag != row.ETag || o.Size != st.Size {
						t.Fatalf("row %+v\nobject %+v\nfile %+v", row, o, st)
					}
					if want := r.pool.cfg.headers("text/plain", st).Meta; o.Meta["mode"] != want["mode"] || o.Meta["mtime"] != want["mtime"] {
						t.Errorf("the object carries %v, want %v", o.Meta, want)
					}
				})
			})
		}
	}
}

// TestFolderAgain has folder objects of which nobody learned whether they were sent: what is there is not sent twice.
func TestFolderAgain(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*rig)
		puts   int
	}{
		{"arrived", func(*rig) {}, 1},
		{"not arrived", func(r *rig) { clear(r.store.objects) }, 2},
		{"other metadata", func(r *rig) { r.store.objects["a/"].Meta = nil }, 2},
		{"a file's", func(r *rig) { r.store.objects["a/"].Size = 1 }, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				d := hint(order(protocol.Mkd, "a/", r.dir))
				r.run(Config{})
				r.src.put(d)
				r.src.drain(t, time.Minute)
				d.Again = true
				clear(r.src.ledger)
				tc.change(r)
				r.src.put(d)
				r.src.drain(t, time.Minute)
				if n := r.store.count("put"); n != tc.puts {
					t.Errorf("%d uploads, not %d", n, tc.puts)
				}
				if row, o := r.src.row("a/"), r.store.object("a/"); row == nil || o == nil || row.ETag != o.ETag || o.Size != 0 || o.Meta["mode"] == "" {
					t.Errorf("row %+v\nobject %+v", row, o)
				}
			})
		})
	}
}

func TestMissingSource(t *testing.T) {
	t.Run("explicit: three looks, five seconds apart", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			r.src.put(upl("k", filepath.Join(r.dir, "not yet")))
			r.run(Config{})
			began := time.Now()
			r.src.drain(t, time.Minute)
			if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
				t.Errorf("given up after %v", took)
			}
			if e := r.src.deadReason("k"); e == nil || e.Kind != protocol.KindVanished || len(r.src.results("k")) != 3 {
				t.Errorf("the end is %v after %d looks", e, len(r.src.results("k")))
			}
		})
	})
	t.Run("explicit: it comes late", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			r.src.put(upl("k", filepath.Join(r.dir, "late")))
			r.run(Config{})
			waitFor(t, time.Minute, func() bool { return len(r.src.results("k")) == 2 })
			r.file("late", 5, 1)
			r.src.drain(t, time.Minute)
			if r.store.object("k") == nil {
				t.Error("not there")
			}
		})
	})
	t.Run("hint: at once", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			r.src.ledger[protocol.ObjectID{Bucket: testBucket, Key: "k"}] = &protocol.Entry{Bucket: testBucket, Key: "k"}
			r.src.put(hint(upl("k", filepath.Join(r.dir, "gone"))), hint(upl("f", r.dir)))
			r.run(Config{})
			r.src.drain(t, time.Second)
			if r.src.row("k") == nil || r.store.requests() != 0 {
				t.Error("the row must stay and nothing be sent")
			}
		})
	})
}

func TestSourcesThatAreNoFiles(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		must(t, os.Symlink(r.file("real", 3, 1), filepath.Join(r.dir, "link")))
		r.src.put(upl("link", filepath.Join(r.dir, "link")), upl("folder", r.dir), hint(upl("hinted", filepath.Join(r.dir, "link"))))
		r.run(Config{MaxRetries: 2})
		r.src.drain(t, time.Minute)
		for _, k := range []protocol.Key{"link", "folder"} {
			if e := r.src.deadReason(k); e == nil || e.Kind != protocol.KindItem || len(r.src.results(k)) != 2 {
				t.Errorf("%s ended with %v after %d attempts", k, e, len(r.src.results(k)))
			}
		}
		if r.store.requests() != 0 || r.src.deadReason("hinted") != nil { // a hint is about what lay there before
			t.Errorf("%d requests, the hint ended with %v", r.store.requests(), r.src.deadReason("hinted"))
		}
	})
}

func TestFileErrors(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want protocol.Kind
	}{
		{fs.ErrNotExist, protocol.KindVanished}, {fs.ErrPermission, protocol.KindItem}, {os.ErrClosed, protocol.KindLocal},
	} {
		if e := fileError("/p", &fs.PathError{Op: "open", Path: "/p", Err: tc.err}); e.Kind != tc.want || strings.Count(e.Error(), "/p") != 1 {
			t.Errorf("%v is %v: %v", tc.err, e.Kind, e)
		}
	}
}
