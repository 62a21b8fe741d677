package feeder

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"s3apu/protocol"
)

// Each line: what lies in the bucket because of us, what then happens on disk and in the bucket, what a scan puts.
func TestScan(t *testing.T) {
	none := func(*bench) {}
	for _, c := range []struct {
		name   string
		folder func(*Folder)
		before func(*bench)
		after  func(*bench)
		rel    string
		opt    ScanOptions
		want   string
		report Report
	}{
		{"first scan", nil, none, func(b *bench) { b.write("d/f", "123"); b.write("g", "45") }, "", deep,
			"mkd p/d/|upl p/d/f|upl p/g", Report{Seen: 3, Sent: 3, Bytes: 5}},
		{"first scan, plain", func(f *Folder) { f.FolderObjects = "plain" }, none, func(b *bench) { b.write("d/f", ""); b.write("d-1", "") },
			"", deep, "mkd p/d|upl p/d-1|upl p/d/f", Report{Seen: 3, Sent: 3}},
		{"first scan, none", func(f *Folder) { f.FolderObjects = "none" }, none, func(b *bench) { b.write("d/f", "") },
			"", deep, "upl p/d/f", Report{Seen: 2, Sent: 1}},
		{"nothing changed", nil, func(b *bench) { b.write("d/f", ""); b.write("g", "") }, none, "", deep, "", Report{Seen: 3}},
		{"nothing changed, listing agrees", nil, func(b *bench) { b.write("d/f", "1"); b.write("g", "") }, none, "", listed, "", Report{Seen: 3}},
		{"changed", nil, func(b *bench) { b.write("d/f", "1"); b.write("g", "") },
			func(b *bench) { b.write("d/f", "2"); b.must(os.Chmod(b.path("d"), 0o700)) }, "", deep, "mkd p/d/|upl p/d/f", Report{Seen: 3, Sent: 2, Bytes: 1}},
		{"gone, deletes last", nil, func(b *bench) { b.write("a/f", ""); b.write("a/g", ""); b.write("k", "") },
			func(b *bench) { b.remove("a"); b.write("z", "") }, "", deep, "upl p/z|del p/a/f|del p/a/g|del p/a/", Report{Seen: 2, Sent: 1, Deleted: 3}},
		{"gone, deletes off", func(f *Folder) { f.Delete = false }, func(b *bench) { b.write("a/f", ""); b.write("k", "") },
			func(b *bench) { b.remove("a") }, "", listed, "", Report{Seen: 1}},
		{"gone, row of another source", nil, func(b *bench) { b.write("a", ""); b.write("k", "") },
			func(b *bench) { b.remove("a"); b.q.rows["p/a"].Source = "/elsewhere/a" }, "", deep, "", Report{Seen: 1}},
		{"gone, excluded since", nil, func(b *bench) { b.write("d/f", ""); b.write("k", "") }, func(b *bench) {
			b.remove("d")
			b.remake(Folder{Root: b.root, Bucket: bucketName, Prefix: "p", Delete: true, Match: func(rel string, _ bool) bool { return rel != "d" }})
		}, "", deep, "", Report{Seen: 1}},
		{"there, excluded since", nil, func(b *bench) { b.write("d/f", ""); b.write("k", "") }, func(b *bench) {
			b.remake(Folder{Root: b.root, Bucket: bucketName, Prefix: "p", Delete: true, Match: func(rel string, _ bool) bool { return rel != "d" }})
		}, "", deep, "", Report{Seen: 1}},
		{"too deep", func(f *Folder) { f.Depth = 1 }, none, func(b *bench) { b.write("a/b", ""); b.write("k", "") }, "", deep,
			"mkd p/a/|upl p/k", Report{Seen: 2, Sent: 2}},
		{"gone, too deep now", nil, func(b *bench) { b.write("a/b", ""); b.write("k", "") }, func(b *bench) {
			b.remove("a/b")
			b.remake(Folder{Root: b.root, Bucket: bucketName, Prefix: "p", Delete: true, Depth: 1})
		}, "", deep, "mkd p/a/", Report{Seen: 2, Sent: 1}}, // the folder's time has changed

		{"drift: lost in the bucket", nil, func(b *bench) { b.write("d/f", "1"); b.write("g", "") },
			func(b *bench) { delete(b.s.objs, "p/d/f"); delete(b.s.objs, "p/d/") }, "", listed, "mkd p/d/|upl p/d/f", Report{Seen: 3, Sent: 2, Bytes: 1, Drift: 2}},
		{"drift: other bytes", nil, func(b *bench) { b.write("g", "1") }, func(b *bench) { b.s.put("p/g", "2", false) }, "", listed,
			"upl p/g", Report{Seen: 1, Sent: 1, Bytes: 1, Drift: 1}},
		{"drift: other size, no ETag", nil, func(b *bench) { b.write("g", "1") },
			func(b *bench) { b.s.objs["p/g"] = object{body: "22"} }, "", listed, "upl p/g", Report{Seen: 1, Sent: 1, Bytes: 1, Drift: 1}},
		{"no drift while an upload waits", nil, func(b *bench) { b.write("g", "1") }, func(b *bench) {
			b.s.put("p/g", "2", false)
			b.q.recs["p/g"] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: "p/g", Source: b.path("g")}, Hint: true}
		}, "", listed, "", Report{Seen: 1}},
		{"drift unseen without a listing", nil, func(b *bench) { b.write("g", "1") }, func(b *bench) { delete(b.s.objs, "p/g") }, "", deep, "", Report{Seen: 1}},

		{"in the bucket already", nil, none, func(b *bench) {
			b.write("d/f", "1")
			b.s.put("p/d/f", "1", false)
			b.s.put("p/d/", "", true)
		}, "", listed, "", Report{Seen: 2, Adopted: 2}},
		{"in the bucket already, plain", func(f *Folder) { f.FolderObjects = "plain" }, none, func(b *bench) {
			b.write("d/f", "1")
			b.s.put("p/d/f", "1", false)
			b.s.put("p/d", "", true)
		}, "", listed, "", Report{Seen: 2, Adopted: 2}},
		{"in the bucket, other bytes", nil, none, func(b *bench) { b.write("f", "1"); b.s.put("p/f", "2", false) }, "", listed,
			"upl p/f", Report{Seen: 1, Sent: 1, Bytes: 1}},
		{"in the bucket, other size", nil, none, func(b *bench) { b.write("f", "1"); b.s.put("p/f", "22", false) }, "", listed,
			"upl p/f", Report{Seen: 1, Sent: 1, Bytes: 1}},
		{"foreign", nil, func(b *bench) { b.write("f", "1") },
			func(b *bench) { b.s.put("p/x", "", false); b.s.put("p/y/z", "", false); b.s.put("q", "", false) }, "", listed, "", Report{Seen: 1, Foreign: 2}},
		{"foreign stays when the tree goes", nil, func(b *bench) { b.write("d/f", "1"); b.write("k", "") },
			func(b *bench) { b.s.put("p/d/x", "", false); b.remove("d") }, "", listed, "del p/d/f|del p/d/", Report{Seen: 1, Deleted: 2, Foreign: 1}},

		{"folder becomes file", nil, func(b *bench) { b.write("x/y/z", ""); b.write("x-1", ""); b.write("x.1/2", "") },
			func(b *bench) { b.remove("x"); b.write("x", "1") }, "", deep,
			"del p/x/y/z|del p/x/y/|del p/x/|upl p/x", Report{Seen: 4, Sent: 1, Bytes: 1, Deleted: 3}},
		{"file becomes folder", nil, func(b *bench) { b.write("x", "1"); b.write("x-1", "") },
			func(b *bench) { b.remove("x"); b.write("x/y", "") }, "", deep, "del p/x|mkd p/x/|upl p/x/y", Report{Seen: 3, Sent: 2, Deleted: 1}},
		{"file becomes folder, none", func(f *Folder) { f.FolderObjects = "none" }, func(b *bench) { b.write("x", "1"); b.write("x-1", "") },
			func(b *bench) { b.remove("x"); b.write("x/y", "") }, "", deep, "del p/x|upl p/x/y", Report{Seen: 3, Sent: 1, Deleted: 1}},
		{"file becomes folder, deletes off", func(f *Folder) { f.Delete = false }, func(b *bench) { b.write("x", "1") },
			func(b *bench) { b.remove("x"); b.write("x/y", "") }, "", deep, "mkd p/x/|upl p/x/y", Report{Seen: 2, Sent: 2}},

		{"upload waits already", nil, none, func(b *bench) {
			b.write("f", "1")
			b.q.recs["p/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: "p/f", Source: b.path("f")}, Hint: true}
		}, "", deep, "", Report{Seen: 1}},
		{"upload is in a hand", nil, none, func(b *bench) {
			b.write("f", "1")
			b.q.recs["p/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: "p/f", Source: b.path("f")}, Hint: true, Leased: true}
		}, "", deep, "upl p/f", Report{Seen: 1, Sent: 1, Bytes: 1}},
		{"upload was given up", nil, none, func(b *bench) {
			b.write("f", "1")
			b.q.recs["p/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: "p/f", Source: b.path("f")}, Hint: true, Dead: true}
		}, "", deep, "upl p/f", Report{Seen: 1, Sent: 1, Bytes: 1}},
		{"a delete of ours waits, the file is back", nil, func(b *bench) { b.write("d/f", "1") }, func(b *bench) {
			b.q.recs["p/d/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Del, Key: "p/d/f"}, Hint: true}
			b.q.recs["p/d/"] = Record{Instruction: protocol.Instruction{Verb: protocol.Del, Key: "p/d/"}, Hint: true, Held: true}
		}, "", deep, "mkd p/d/|upl p/d/f", Report{Seen: 2, Sent: 2, Bytes: 1}},
		{"a client's delete waits", nil, func(b *bench) { b.write("f", "1") }, func(b *bench) {
			b.q.recs["p/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Del, Key: "p/f"}}
		}, "", deep, "", Report{Seen: 1}},
		{"a held delete waits", nil, func(b *bench) { b.write("f", "1"); b.write("k", "") }, func(b *bench) {
			b.remove("f")
			b.q.recs["p/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Del, Key: "p/f"}, Hint: true, Held: true}
		}, "", deep, "", Report{Seen: 1}},
		{"a wish for what has vanished", nil, none, func(b *bench) {
			b.q.recs["p/f"] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: "p/f", Source: b.path("f")}, Hint: true}
			b.q.recs["p/g"] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: "p/g", Source: b.path("g")}}
			b.q.recs["p/h"] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: "p/h", Source: "/elsewhere"}, Hint: true}
		}, "", deep, "del p/f", Report{Deleted: 1}},

		{"shallow", nil, func(b *bench) { b.write("a/f", ""); b.write("g", ""); b.write("k", "") },
			func(b *bench) { b.write("a/f", "2"); b.write("a/new", ""); b.write("new", ""); b.remove("g") }, "", ScanOptions{},
			"mkd p/a/|upl p/new|del p/g", Report{Seen: 3, Sent: 2, Deleted: 1}},
		{"shallow, with a listing", nil, func(b *bench) { b.write("a/f", "1"); b.write("g", "") },
			func(b *bench) { delete(b.s.objs, "p/g"); delete(b.s.objs, "p/a/f") }, "", ScanOptions{List: true}, "upl p/g", Report{Seen: 2, Sent: 1, Drift: 1}},
		{"shallow, sub-folder gone", nil, func(b *bench) { b.write("a/b/f", ""); b.write("k", "") },
			func(b *bench) { b.remove("a") }, "", ScanOptions{}, "del p/a/b/f|del p/a/b/|del p/a/", Report{Seen: 1, Deleted: 3}},
		{"shallow, sub-folder gone, none", func(f *Folder) { f.FolderObjects = "none" }, func(b *bench) { b.write("a/b/f", ""); b.write("k", "") },
			func(b *bench) { b.remove("a") }, "", ScanOptions{}, "del p/a/b/f", Report{Seen: 1, Deleted: 1}},
		{"deep, sub-folder gone of which only a file is known", func(f *Folder) { f.FolderObjects = "none" },
			func(b *bench) { b.write("a/b/c/f", ""); b.write("a/b/k", "") }, func(b *bench) { b.remove("a/b/c") }, "a/b", deep,
			"del p/a/b/c/f", Report{Seen: 2, Deleted: 1}},
		{"sub-folder, deep", nil, func(b *bench) { b.write("a/b/f", ""); b.write("z", "") },
			func(b *bench) { b.write("a/b/f", "2"); b.write("z", "2"); b.write("a/b/c/d", "") }, "a/b", deep,
			"mkd p/a/b/|mkd p/a/b/c/|upl p/a/b/c/d|upl p/a/b/f", Report{Seen: 4, Sent: 4, Bytes: 1}},
		{"new sub-folder", nil, none, func(b *bench) { b.write("a/b/f", ""); b.write("z", "2") }, "a/b", deep,
			"mkd p/a/b/|upl p/a/b/f", Report{Seen: 2, Sent: 2}},
		{"scan of what is a file", nil, none, func(b *bench) { b.write("a", "1") }, "a", deep, "upl p/a", Report{Seen: 1, Sent: 1, Bytes: 1}},
		{"scan of what is gone", nil, func(b *bench) { b.write("a/f", "1"); b.write("k", "") }, func(b *bench) { b.remove("a") }, "a", deep,
			"del p/a/f|del p/a/", Report{Deleted: 2}},
		{"scan of what is excluded", func(f *Folder) { f.Match = func(rel string, _ bool) bool { return rel != "a" } }, none,
			func(b *bench) { b.write("a/b", "1") }, "a", deep, "", Report{}},
		{"scan below the last level", func(f *Folder) { f.Depth = 1 }, none, func(b *bench) { b.write("a/b", "1") }, "a", deep,
			"mkd p/a/", Report{Seen: 1, Sent: 1}},
		{"one level left", func(f *Folder) { f.Depth = 2 }, none, func(b *bench) { b.write("a/b/c", "1") }, "a", deep,
			"mkd p/a/|mkd p/a/b/", Report{Seen: 2, Sent: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, c.folder)
			c.before(b)
			b.sync()
			c.after(b)
			r, got := b.scan(c.rel, c.opt)
			if strings.Join(got, "|") != c.want {
				t.Fatalf("put %q, want %q", strings.Join(got, "|"), c.want)
			}
			r.Took = 0
			if r != c.report {
				t.Fatalf("report %+v\n want %+v", r, c.report)
			}
		})
	}
}

func TestScanIsBackfillUnlessTold(t *testing.T) {
	for live, want := range map[bool]protocol.Class{false: protocol.Backfill, true: protocol.Live} {
		b := newBench(t, nil)
		b.write("f", "1")
		b.q.onPut = func(w []Wish) error {
			if w[0].Class != want {
				t.Errorf("class %s, want %s", w[0].Class, want)
			}
			return nil
		}
		b.scan("", ScanOptions{Deep: true, Live: live})
	}
}

func TestScanPutsInBatches(t *testing.T) {
	b := newBench(t, nil)
	for i := range scanBatch*2 + 1 {
		b.must(os.WriteFile(b.path(fmt.Sprintf("f%04d", i)), nil, 0o644))
	}
	if _, put := b.scan("", deep); len(put) != 2*scanBatch+1 || b.q.puts != 3 || !slices.IsSorted(put) {
		t.Fatalf("%d instructions in %d calls", len(put), b.q.puts)
	}
}

func TestDriftForgetsBeforeItPuts(t *testing.T) {
	b := newBench(t, nil)
	b.write("f", "1")
	b.sync()
	delete(b.s.objs, "p/f")
	b.q.onPut = func([]Wish) error {
		if b.q.rows["p/f"] != nil {
			t.Error("the row is there when the upload is put")
		}
		return nil
	}
	_, err := b.f.Scan(t.Context(), "", listed)
	b.must(err)
	b.must(b.q.carryOut(b.s))
	if b.s.objs["p/f"].body != "1" {
		t.Fatal("not uploaded")
	}
}

// A row that is replaced between the moment of the ledger's stream and that of the listing is no drift.
func TestNewerRowIsNoDrift(t *testing.T) {
	b := newBench(t, nil)
	b.write("f", "1")
	b.sync()
	b.q.onLedger = func(protocol.Key) {
		b.q.onLedger = nil
		b.s.put("p/f", "1", false)
		o := b.s.objs["p/f"]
		o.etag = strings.Repeat("0", 32)
		b.s.objs["p/f"] = o
		b.q.rows["p/f"] = &protocol.Entry{Bucket: bucketName, Key: "p/f", Verb: protocol.Upl, Source: b.path("f"), Stat: b.q.rows["p/f"].Stat, ETag: o.etag, Put: 99}
	}
	r, put := b.scan("", listed)
	b.want(put)
	if r.Drift != 0 || len(b.q.forgotten) != 0 {
		t.Fatalf("report %+v", r)
	}
}

func TestListingFails(t *testing.T) {
	broken := errors.New("connection reset")
	for at := range 4 {
		b := newBench(t, nil)
		for _, f := range []string{"a", "b", "c"} {
			b.write(f, f)
		}
		b.sync()
		b.write("d", "d")
		b.s.put("p/d", "d", false)
		b.s.fail, b.s.at = broken, at
		r, put := b.scan("", listed)
		b.want(put, "upl p/d")
		if !errors.Is(r.Degraded, broken) || r.Drift != 0 {
			t.Fatalf("%d: report %+v", at, r)
		}
	}
}

func TestScanWithoutLister(t *testing.T) {
	b := newBench(t, nil)
	b.f.list = nil
	b.write("a", "1")
	r, put := b.scan("", listed)
	b.want(put, "upl p/a")
	if r.Degraded != nil {
		t.Fatal(r.Degraded)
	}
}

func TestScanEndsWithItsContext(t *testing.T) {
	b := newBench(t, nil)
	for i := range 50 {
		b.write(fmt.Sprintf("f%02d", i), "1")
	}
	b.sync()
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	b.q.onLedger = func(protocol.Key) {
		if n++; n == 10 {
			cancel()
		}
	}
	b.remove("f49")
	began := time.Now()
	if _, err := b.f.Scan(ctx, "", listed); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if n > 12 || time.Since(began) > time.Second {
		t.Fatalf("%d rows in %s after the end", n, time.Since(began))
	}
	b.want(b.q.take())
}

// failingLedger breaks off behind the first row.
type failingLedger struct{ *fakeQueue }

func (q failingLedger) Ledger(ctx context.Context, bucket string, prefix, after protocol.Key) iter.Seq2[*protocol.Entry, error] {
	return func(yield func(*protocol.Entry, error) bool) {
		for e := range q.fakeQueue.Ledger(ctx, bucket, prefix, after) {
			if !yield(e, nil) {
				return
			}
			break
		}
		yield(nil, &protocol.Error{Op: "read", Kind: protocol.KindDamaged})
	}
}

// A ledger that cannot be read must not look like one that ends: no deletes, no uploads of what it might have.
func TestLedgerFails(t *testing.T) {
	b := newBench(t, nil)
	for _, f := range []string{"a", "b", "c"} {
		b.write(f, f)
	}
	b.sync()
	b.remove("a")
	b.f.queue = failingLedger{b.q}
	_, err := b.f.Scan(t.Context(), "", deep)
	kindIs(t, err, protocol.KindDamaged)
	b.want(b.q.take())
}

// More rows to be deleted than are remembered.
func TestManyDeletes(t *testing.T) {
	b := newBench(t, nil)
	b.write("keep/k", "")
	b.write("zz", "")
	b.sync()
	st, err := lstat(b.path("zz"))
	b.must(err)
	n := deferMax + 500
	for i := range n {
		rel := fmt.Sprintf("gone/%d/f%05d", i%7, i)
		b.q.rows[protocol.Key("p/"+rel)] = &protocol.Entry{Bucket: bucketName, Key: protocol.Key("p/" + rel), Verb: protocol.Upl, Source: b.path(rel), Stat: st}
	}
	r, put := b.scan("", deep)
	if r.Held != int64(n) || r.Deleted != 0 || len(put) != n {
		t.Fatalf("report %+v, put %d", r, len(put))
	}
	seen := map[string]bool{}
	for _, p := range put {
		if !strings.HasPrefix(p, "held p/gone/") || seen[p] {
			t.Fatal(p)
		}
		seen[p] = true
	}
	// The next scan leaves the held ones alone.
	r, put = b.scan("", deep)
	b.want(put)
	if r.Held+r.Deleted != 0 {
		t.Fatalf("report %+v", r)
	}
}

func TestRenumberedDevice(t *testing.T) {
	b := newBench(t, nil)
	b.write("f", "1")
	b.write("d/g", "1")
	b.write("d/h", "1")
	b.sync()
	dev := b.q.rows["p/f"].Dev
	if dev == 0 {
		t.Skip("no device numbers on this system")
	}
	for _, row := range b.q.rows {
		row.Dev += 1000
	}
	b.remove("d/h")
	r, put := b.scan("", deep)
	// The folder has a new time; h is gone for certain, because g shows that its device is the one that is there.
	b.want(put, "mkd p/d/", "del p/d/h")
	if r.Adopted != 2 || b.q.rows["p/f"].Dev != dev || b.q.rows["p/d/g"].Dev != dev {
		t.Fatalf("report %+v", r)
	}
	b.must(b.q.carryOut(b.s))
	b.q.rows["p/f"].Dev += 1000
	b.want(b.change("f"))
	if b.q.rows["p/f"].Dev != dev {
		t.Fatal("a change does not learn the device")
	}
}
