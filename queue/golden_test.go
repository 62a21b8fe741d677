package queue_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"s3apu/protocol"
	"s3apu/queue"
)

var update = flag.Bool("update", false, "make the golden store anew; only for a new format, beside the old one")

const golden = "testdata/golden"

func goldenTime() time.Time { return time.Unix(1_800_000_000, 0).UTC() }

// TestGolden: a store of each format that was ever released opens, for ever, and holds what was put into it.
func TestGolden(t *testing.T) {
	if *update {
		makeGolden(t)
	}
	dir := t.TempDir() + "/q"
	must(t, os.CopyFS(dir, os.DirFS(golden+"/v1")))
	q := open(t, dir, queue.Options{Now: goldenTime})
	got := dump(t, q)
	if *update {
		must(t, os.WriteFile(golden+"/v1.txt", []byte(got), 0o600))
	}
	want, err := os.ReadFile(golden + "/v1.txt")
	must(t, err)
	if got != string(want) {
		t.Errorf("the golden store holds\n%s\nand should hold\n%s", got, want)
	}
	// It has no index by inode; that is made on opening.
	row, err := q.MadeFrom(bucket, 4, 5)
	must(t, err)
	if row == nil || row.Key != "done" {
		t.Errorf("device 4, inode 5 is %+v, want the row of done", row)
	}
	// And it can be worked on: everything that may go goes.
	for q.Stats().Ready+q.Stats().Blocked > 0 {
		ds, err := q.Lease(t.Context(), bucket, 100, 0, 0)
		must(t, err)
		if len(ds) == 0 {
			break // what waits for a later time, or for the lease that goes on
		}
		for _, d := range ds {
			_, err := q.Settle(t.Context(), []protocol.Result{{Delivery: d}})
			must(t, err)
		}
	}
	must(t, q.Close())
}

// dump writes down all that a store holds.
func dump(t *testing.T, q *queue.Queue) string {
	t.Helper()
	var b strings.Builder
	for r, err := range q.Records(t.Context(), bucket, "", "") {
		must(t, err)
		fmt.Fprintf(&b, "record %s %q %q %v %v hint=%v again=%v gen=%d attempts=%d since=%d next=%d %v %q at=%d blocker=%q further=%d\n",
			r.Verb, r.Key, r.Source, r.State, r.Class, r.Hint, r.Again, r.Gen, r.Attempts, r.Since.Unix(), r.Next.Unix(),
			r.Kind, r.Reason, r.Failed.Unix(), r.Blocker.Key, r.Further)
	}
	for e, err := range q.Ledger(t.Context(), bucket, "", "") {
		must(t, err)
		fmt.Fprintf(&b, "entry %+v\n", *e)
	}
	for u, err := range q.Uploads(t.Context()) {
		must(t, err)
		fmt.Fprintf(&b, "upload %+v\n", *u)
	}
	memo, err := q.Memo("memo")
	must(t, err)
	fmt.Fprintf(&b, "memo %s\ncount %+v\n", memo, q.Stats().Count)
	return b.String()
}

// makeGolden makes a store with something of everything, part of it in a table and part of it in the log.
func makeGolden(t *testing.T) {
	t.Helper()
	dir := t.TempDir() + "/q"
	opt := queue.Options{Now: goldenTime}
	q := open(t, dir, opt)
	put := func(v protocol.Verb, key, source string, change func(*queue.Item)) {
		it := queue.Item{Instruction: protocol.Instruction{Verb: v, Bucket: bucket, Key: protocol.Key(key), Source: source}}
		if change != nil {
			change(&it)
		}
		must(t, q.Put(t.Context(), it))
	}
	settle := func(key string, hold time.Duration, r *protocol.Result) {
		ds, err := q.Lease(t.Context(), bucket, 1, 0, hold)
		must(t, err)
		if len(ds) != 1 || string(ds[0].Key) != key {
			t.Fatalf("leased %v, want %s", ds, key)
		}
		if r != nil {
			r.Delivery = ds[0]
			_, err = q.Settle(t.Context(), []protocol.Result{*r})
			must(t, err)
		}
	}
	bad := &protocol.Error{Op: "upload", Object: "x", Kind: protocol.KindTransient, Status: 500, Err: errors.New("no")}
	put(protocol.Upl, "dead", "/src/dead", nil)
	settle("dead", 0, &protocol.Result{Err: bad, Dead: true})
	put(protocol.Upl, "waits", "/src/waits", nil)
	settle("waits", 0, &protocol.Result{Err: bad, Delay: time.Hour})
	put(protocol.Upl, "done", "/src/done", nil)
	settle("done", 0, &protocol.Result{Entry: &protocol.Entry{
		Bucket: bucket, Key: "done", Verb: protocol.Upl, Source: "/src/done",
		Stat: protocol.Stat{Size: 1, MTime: 2, CTime: 3, Dev: 4, Ino: 5, Mode: 0o100644, UID: 6, GID: 7},
		ETag: "d41d8cd98f00b204e9800998ecf8427e", MD5: "d41d8cd98f00b204e9800998ecf8427e", Put: 8,
	}})
	put(protocol.Upl, "leased", "/src/leased", nil)
	settle("leased", 24*time.Hour, nil)
	put(protocol.Del, "leased", "", nil)
	must(t, q.Close())
	q = open(t, dir, opt) // from here on it is in the log
	put(protocol.Upl, "lost", "/src/lost", nil)
	settle("lost", 0, nil)
	put(protocol.Upl, "a", "/src/a", nil)
	put(protocol.Cpo, "b", "/bucket/a", nil)
	put(protocol.Del, "a", "", nil)
	put(protocol.Mkd, "é/日本/", "", func(i *queue.Item) { i.Class, i.Hint = protocol.Backfill, true })
	put(protocol.Del, "held", "", func(i *queue.Item) { i.Held, i.Hint = true, true })
	must(t, q.Fail(t.Context(), queue.Item{Instruction: protocol.Instruction{
		Verb: protocol.Upl, Bucket: bucket, Key: `bad\xff`, Source: "/src/bad",
	}}, &protocol.Error{Op: "name", Kind: protocol.KindItem, Err: protocol.ErrKeyUTF8}))
	must(t, q.Adopt(t.Context(), &protocol.Entry{Bucket: bucket, Key: "adopted", Verb: protocol.Mkd, ETag: "x-2", PartSize: 5 << 20}))
	must(t, q.SaveUpload(t.Context(), &protocol.Upload{
		Bucket: bucket, Key: "big", UploadID: "u", PartSize: 5 << 20, Parts: []protocol.Part{{Number: 1, Size: 5 << 20, ETag: "e"}},
	}))
	must(t, q.SetMemo(t.Context(), "memo", []byte("value")))
	must(t, q.Close())
	must(t, os.RemoveAll(golden))
	must(t, os.CopyFS(golden+"/v1", os.DirFS(dir)))
	for _, lock := range []string{"LOCK", "v1/LOCK"} {
		must(t, os.Remove(filepath.Join(golden, "v1", lock)))
	}
}
