package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"s3apu/protocol"
)

// renamedRig has uploaded the file "old" under the key "old", and renamed it to "new" since. It returns the delivery that
// follows from that.
func renamedRig(t *testing.T, r *rig, size int) protocol.Delivery {
	t.Helper()
	old := r.file("old", size, 1)
	r.run(Config{MultipartAbove: 8 << 20, PartSize: 5 << 20})
	r.src.put(upl("old", old))
	r.src.drain(t, time.Minute)
	to := filepath.Join(r.dir, "new.txt")
	must(t, os.Rename(old, to))
	d := hint(upl("new.txt", to))
	d.From, d.Origin = "/"+testBucket+"/old", r.src.row("old")
	return d
}

// rewrite changes a file's bytes and leaves inode, size and modification time as they were.
func rewrite(t *testing.T, path string) {
	t.Helper()
	fi, err := os.Stat(path)
	must(t, err)
	must(t, os.WriteFile(path, content(int(fi.Size()), 77), 0))
	must(t, os.Chtimes(path, fi.ModTime(), fi.ModTime()))
}

// replace is what somebody else's upload leaves.
func (r *rig) replace(key protocol.Key) {
	o := r.store.objects[key]
	o.ETag, o.Meta = "other", nil
}

// A renamed file is copied within S3 and carries what a new upload would carry; whatever is in doubt is sent instead.
func TestRenamedFile(t *testing.T) {
	fates := map[string]protocol.OriginFate{ // else it was renamed
		"written since, and the time set back":        protocol.OriginApart,
		"old object replaced":                         protocol.OriginForeign,
		"old object replaced, and copies always fail": protocol.OriginForeign,
	}
	for _, tc := range []struct {
		name         string
		change       func(t *testing.T, r *rig, d *protocol.Delivery)
		puts, copies int
	}{
		{"renamed", func(*testing.T, *rig, *protocol.Delivery) {}, 0, 1},
		{"renamed and made unreadable for others", func(t *testing.T, _ *rig, d *protocol.Delivery) {
			must(t, os.Chmod(d.Source, 0o600))
		}, 0, 1},
		{"no row of the old object", func(_ *testing.T, _ *rig, d *protocol.Delivery) { d.Origin = nil }, 1, 0},
		{"row of a folder", func(_ *testing.T, _ *rig, d *protocol.Delivery) { e := *d.Origin; e.Verb = protocol.Mkd; d.Origin = &e }, 1, 0},
		{"row of another file", func(_ *testing.T, _ *rig, d *protocol.Delivery) { e := *d.Origin; e.Ino++; d.Origin = &e }, 1, 0},
		{"written since", func(t *testing.T, _ *rig, d *protocol.Delivery) {
			rewrite(t, d.Source)
			must(t, os.Chtimes(d.Source, time.Now(), time.Now()))
		}, 1, 0},
		{"written since, and the time set back", func(t *testing.T, _ *rig, d *protocol.Delivery) { rewrite(t, d.Source) }, 1, 0},
		{"time zero", func(t *testing.T, _ *rig, d *protocol.Delivery) {
			must(t, os.Chtimes(d.Source, time.Unix(0, 0), time.Unix(0, 0)))
			e := *d.Origin
			e.MTime = 0
			d.Origin = &e
		}, 1, 0},
		{"old object gone", func(_ *testing.T, r *rig, _ *protocol.Delivery) { delete(r.store.objects, "old") }, 1, 1},
		{"old object replaced", func(_ *testing.T, r *rig, _ *protocol.Delivery) { r.replace("old") }, 1, 1},
		{"old object replaced by a hand of ours whose answer was lost", func(_ *testing.T, r *rig, d *protocol.Delivery) {
			o := r.store.objects["old"]
			o.ETag = "other"
			by := protocol.Delivery{Token: 7, Queue: testQueue, Instruction: protocol.Instruction{Bucket: testBucket, Key: "old"}}
			o.Meta = marked(&by, "old", protocol.Headers{ContentType: o.ContentType, Meta: o.Meta}, o.Size, "other").Meta
		}, 1, 1},
		{"copies forbidden", func(_ *testing.T, r *rig, _ *protocol.Delivery) {
			r.store.before = forPrefix("", "copy", s3Error(protocol.KindTarget, 403))
		}, 1, 1},
		{"copies always fail", func(_ *testing.T, r *rig, _ *protocol.Delivery) {
			r.store.before = forPrefix("", "copy", s3Error(protocol.KindTransient, 500))
		}, 1, copyTries},
		{"old object replaced, and copies always fail", func(_ *testing.T, r *rig, _ *protocol.Delivery) {
			r.replace("old")
			r.store.before = forPrefix("", "copy", s3Error(protocol.KindTransient, 500))
		}, 1, copyTries},
		{"another bucket's object", func(_ *testing.T, _ *rig, d *protocol.Delivery) { d.From = "/other/old" }, 1, 0},
		{"no object's name", func(_ *testing.T, _ *rig, d *protocol.Delivery) { d.From = "old" }, 1, 0},
	} {
		for _, size := range []int{10, 2 << 20, 12 << 20} { // from memory, from the file, in parts
			if size == 2<<20 && tc.puts > 0 {
				continue // as the small one
			}
			t.Run(tc.name, func(t *testing.T) {
				bubble(t, func(t *testing.T, r *rig) {
					d := renamedRig(t, r, size)
					tc.change(t, r, &d)
					r.src.put(d)
					r.src.drain(t, time.Hour)
					puts := r.store.count("put") + r.store.count("start") - 1
					if c := r.store.count("copy"); puts != tc.puts || c != tc.copies {
						t.Errorf("%d uploads, %d copies; want %d, %d", puts, c, tc.puts, tc.copies)
					}
					st, e := lstat(d.Source)
					if e != nil {
						t.Fatal(e)
					}
					all := r.src.results("new.txt")
					if fate := all[len(all)-1].Origin; fate != fates[tc.name] {
						t.Errorf("the fate of the old object is %d, want %d", fate, fates[tc.name])
					}
					row, o := r.src.row("new.txt"), r.store.object("new.txt")
					if row == nil || row.Stat != st || row.Source != d.Source || o == nil || o.ETag != row.ETag || o.Size != st.Size {
						t.Fatalf("row %+v\nobject %+v\nfile %+v", row, o, st)
					}
					body, err := os.ReadFile(d.Source)
					must(t, err)
					if size <= 8<<20 && o.ETag != md5Hex(body) {
						t.Error("the object holds other bytes than the file")
					}
					want := r.pool.cfg.headers("text/plain", st)
					if o.ContentType != want.ContentType || o.Meta["mode"] != want.Meta["mode"] || o.Meta["mtime"] != want.Meta["mtime"] {
						t.Errorf("the object carries %q, %v, want %q, %v", o.ContentType, o.Meta, want.ContentType, want.Meta)
					}
				})
			})
		}
	}
}

// The answer to a copy was lost: the second hand looks first, and does not copy once more.
func TestRenamedFileAgain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := renamedRig(t, r, 10)
		lost := false
		r.store.after = func(_ context.Context, op string, _ protocol.Key) error {
			if op == "copy" && !lost {
				lost = true
				return s3Error(protocol.KindTransient, 0)
			}
			return nil
		}
		d.Again = true // as the queue says after an unsure result
		r.src.put(d)
		r.src.drain(t, time.Hour)
		if c, p := r.store.count("copy"), r.store.count("put"); c != 1 || p != 1 {
			t.Errorf("%d copies and %d uploads, want one of each", c, p)
		}
		if row := r.src.row("new.txt"); row == nil || row.ETag != r.src.row("old").ETag {
			t.Errorf("row %+v", row)
		}
	})
}

// The file goes while its object is copied: the result is unsure, so that the next hand looks for the orphan and ends it.
func TestRenamedFileVanishesInTheCopy(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := renamedRig(t, r, 10)
		r.store.after = func(_ context.Context, op string, _ protocol.Key) error {
			if op == "copy" {
				return os.Remove(d.Source)
			}
			return nil
		}
		r.src.put(d)
		r.src.drain(t, time.Hour)
		first := r.src.results("new.txt")[0]
		if first.Err == nil || !first.Unsure {
			t.Fatalf("the first result is %+v, want an unsure failure", first)
		}
		d.Again, d.First = true, first.Delivery.Token
		r.src.put(d)
		r.src.drain(t, time.Hour)
		if o := r.store.object("new.txt"); o != nil {
			t.Errorf("an orphan is left: %+v", o)
		}
	})
}

// A copy of an object of parts may have other parts than we know (above 5 GiB they are copied one by one): the next
// rename, and a change of the mode, copy all the same.
func TestRenamedFileOfUnknownParts(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := renamedRig(t, r, 12<<20)
		n := 0
		r.store.copied = func(o *protocol.Object) { n++; o.ETag = fmt.Sprintf("%032x-2", n) }
		r.src.put(d)
		r.src.drain(t, time.Hour)
		must(t, os.Chmod(d.Source, 0o600))
		r.src.put(hint(upl("new.txt", d.Source)))
		r.src.drain(t, time.Hour)
		to := filepath.Join(r.dir, "third")
		must(t, os.Rename(d.Source, to))
		next := hint(upl("third", to))
		next.From, next.Origin = "/"+testBucket+"/new.txt", r.src.row("new.txt")
		r.src.put(next)
		r.src.drain(t, time.Hour)
		if c, p := r.store.count("copy"), r.store.count("put")+r.store.count("start"); c != 3 || p != 1 {
			t.Errorf("%d copies and %d uploads, want 3 and 1", c, p)
		}
	})
}

// The same for metadata that change twice.
func TestChmodOfUnknownParts(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		path := r.file("a", 12<<20, 1)
		r.run(Config{MultipartAbove: 8 << 20, PartSize: 5 << 20})
		n := 0
		r.store.copied = func(o *protocol.Object) { n++; o.ETag = fmt.Sprintf("%032x-2", n) }
		for _, mode := range []os.FileMode{0o644, 0o600, 0o640} {
			must(t, os.Chmod(path, mode))
			r.src.put(hint(upl("a", path)))
			r.src.drain(t, time.Hour)
		}
		if c, p := r.store.count("copy"), r.store.count("start"); c != 2 || p != 1 {
			t.Errorf("%d copies and %d uploads, want 2 and 1", c, p)
		}
	})
}

// A store that copies something else than it should is not believed.
func TestRenamedFileVerified(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := renamedRig(t, r, 10)
		r.store.copied = func(o *protocol.Object) { o.ETag = md5Hex([]byte("other")) }
		r.src.put(d)
		r.src.drain(t, time.Hour)
		if o := r.store.object("new.txt"); r.store.count("put") != 2 || o.ETag != md5Hex(content(10, 1)) {
			t.Errorf("%d uploads, object %+v", r.store.count("put"), o)
		}
	})
}

// The old object can neither be copied nor looked at, as one whose disk is damaged: the file is sent all the same.
func TestRenamedFileWithAnUnreadableOrigin(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := renamedRig(t, r, 10)
		r.store.before = func(_ context.Context, op string, key protocol.Key) error {
			if op == "copy" || op == "head" && key == "old" {
				return s3Error(protocol.KindTransient, 500)
			}
			return nil
		}
		r.src.put(d)
		r.src.drain(t, time.Hour)
		if row := r.src.row("new.txt"); row == nil || r.store.object("new.txt") == nil {
			t.Errorf("row %+v", row)
		}
	})
}
