package queuetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"

	"s3apu/protocol"
	"s3apu/queue"
)

func row(key string) *protocol.Entry {
	return &protocol.Entry{
		Bucket: bucket, Key: protocol.Key(key), Verb: protocol.Upl, Source: "/src/" + key,
		Stat: protocol.Stat{
			Size: 1 << 40, MTime: 1_700_000_000_123456789, CTime: -5, Dev: 1 << 63, Ino: 42, Mode: 0o100644, UID: 1<<32 - 1,
		},
		ETag: "d41d8cd98f00b204e9800998ecf8427e", MD5: "d41d8cd98f00b204e9800998ecf8427e", PartSize: 5 << 20,
		VersionID: "v", Put: 1_800_000_000_000000000,
	}
}

// keys gathers the keys of a ledger iteration.
func (w *world) keys(prefix, after string) []string {
	w.Helper()
	var out []string
	for e, err := range w.q.Ledger(w.ctx, bucket, protocol.Key(prefix), protocol.Key(after)) {
		w.ok(err)
		out = append(out, string(e.Key))
	}
	return out
}

// rows puts rows into the ledger.
func (w *world) rows(n int) {
	w.Helper()
	es := make([]*protocol.Entry, n)
	for i := range es {
		es[i] = row(fmt.Sprintf("a%03d", i))
	}
	w.ok(w.q.Adopt(w.ctx, es...))
}

var ledgerTests = map[string]func(w *world){
	"a row is what was written": func(w *world) {
		for _, change := range []func(e *protocol.Entry){
			func(*protocol.Entry) {},
			func(e *protocol.Entry) { e.MD5 = "" },
			func(e *protocol.Entry) { e.MD5, e.ETag = "", "" },
			func(e *protocol.Entry) { e.ETag = "0123456789abcdef0123456789abcdef-12" },
			func(e *protocol.Entry) { e.MD5 = "D41D8CD98F00B204E9800998ECF8427E" },
			func(e *protocol.Entry) { *e = protocol.Entry{Bucket: bucket, Key: "a"} },
		} {
			e := row("a")
			change(e)
			w.ok(w.q.Adopt(w.ctx, e))
			got, err := w.q.Entry(id("a"))
			w.ok(err)
			check(w, "entry", *got, *e)
		}
	},
	"in the order of the keys, by prefix, behind a key": func(w *world) {
		all := []string{"a", "a.b", "a/", "a/b", "a/b/c", "a0", "b", "é", "\U0010ffff"}
		for i := range all {
			w.ok(w.q.Adopt(w.ctx, row(all[len(all)-1-i])))
		}
		other := row("a/other")
		other.Bucket = "bucket2"
		w.ok(w.q.Adopt(w.ctx, other))
		w.put(upl("a/x", "1"))
		sort.Strings(all)
		for _, c := range []struct{ prefix, after string }{
			{"", ""}, {"a", ""}, {"a/", ""}, {"", "a/"}, {"a/", "a/b"}, {"a/", "a"}, {"a/", "b"}, {"x", ""}, {"", "zzz"},
		} {
			var want []string
			for _, k := range all {
				if len(k) >= len(c.prefix) && k[:len(c.prefix)] == c.prefix && k > c.after {
					want = append(want, k)
				}
			}
			if got := w.keys(c.prefix, c.after); !slices.Equal(got, want) {
				w.Fatalf("prefix %q after %q: %q, want %q", c.prefix, c.after, got, want)
			}
		}
	},
	"forget": func(w *world) {
		w.ok(w.q.Adopt(w.ctx, row("a"), row("b"), row("c")))
		w.ok(w.q.Forget(w.ctx, id("a"), id("c"), id("x")))
		w.reopen()
		check(w, "left", fmt.Sprint(w.keys("", "")), "[b]")
	},
	"one moment is seen, and the queue may be used meanwhile": func(w *world) {
		w.rows(600)
		n := 0
		for e, err := range w.q.Ledger(w.ctx, bucket, "", "") {
			w.ok(err)
			if n++; n%20 == 1 {
				w.ok(w.q.Forget(w.ctx, e.ID(), id("a599")))
				w.put(upl(string(e.Key), "1"))
				w.ok(w.q.Adopt(w.ctx, row("z"+string(e.Key))))
			}
		}
		check(w, "seen", n, 600)
	},
	"breaking off, contexts and close end an iteration": func(w *world) {
		w.rows(600)
		for range w.q.Ledger(w.ctx, bucket, "", "") {
			break
		}
		ctx, cancel := context.WithCancel(w.ctx)
		defer cancel()
		var last error
		for _, err := range w.q.Ledger(ctx, bucket, "", "") {
			cancel()
			last = err
		}
		check(w, "cancelled", errors.Is(last, context.Canceled), true)
		closed := make(chan error, 1)
		var inside error
		var once sync.Once
		for _, err := range w.q.Ledger(w.ctx, bucket, "", "") {
			if last = err; err != nil {
				break
			}
			if inside == nil {
				once.Do(func() { go func() { closed <- w.q.Close() }() })
				_, inside = w.q.Memo("x") // fails from the close on
			}
		}
		w.ok(<-closed)
		if last != nil && !errors.Is(last, queue.ErrClosed) {
			w.Fatalf("ended by %v", last)
		}
		w.open()
	},
	"uploads": func(w *world) {
		u := &protocol.Upload{
			Bucket: bucket, Key: "a", UploadID: "u1", PartSize: 5 << 20, Stat: row("a").Stat, Began: 5,
			Parts: []protocol.Part{{Number: 1, Size: 5 << 20, ETag: "d41d8cd98f00b204e9800998ecf8427e"}, {Number: 2, Size: 3, ETag: "x"}},
		}
		none, err := w.q.LoadUpload(id("a"))
		w.ok(err)
		check(w, "none", none == nil, true)
		w.ok(w.q.SaveUpload(w.ctx, u))
		w.ok(w.q.SaveUpload(w.ctx, &protocol.Upload{Bucket: "other", Key: "b", UploadID: "u2"}))
		w.reopen()
		got, err := w.q.LoadUpload(id("a"))
		w.ok(err)
		check(w, "upload", fmt.Sprintf("%+v", *got), fmt.Sprintf("%+v", *u))
		var all []string
		for u, err := range w.q.Uploads(w.ctx) {
			w.ok(err)
			all = append(all, u.UploadID)
		}
		check(w, "all", fmt.Sprint(all), "[u1 u2]")
		w.ok(w.q.DropUpload(w.ctx, id("a")))
		got, err = w.q.LoadUpload(id("a"))
		w.ok(err)
		check(w, "gone", got == nil, true)
	},
	"memos": func(w *world) {
		v, err := w.q.Memo("x")
		w.ok(err)
		check(w, "none", v == nil, true)
		w.ok(w.q.SetMemo(w.ctx, "x", []byte("1")))
		w.ok(w.q.SetMemo(w.ctx, "xy", []byte("2")))
		w.reopen()
		v, err = w.q.Memo("x")
		w.ok(err)
		check(w, "value", string(v), "1")
		w.ok(w.q.SetMemo(w.ctx, "x", nil))
		v, err = w.q.Memo("x")
		w.ok(err)
		check(w, "removed", v == nil, true)
	},
	"rows of keys that could be no rows are refused": func(w *world) {
		w.refused(w.q.Adopt(w.ctx, &protocol.Entry{Bucket: "a\x00b", Key: "a"}), protocol.KindItem)
		w.refused(w.q.Adopt(w.ctx, &protocol.Entry{Bucket: bucket}), protocol.KindItem)
		w.refused(w.q.SaveUpload(w.ctx, &protocol.Upload{Bucket: bucket}), protocol.KindItem)
		it := upl("a", "1")
		it.Bucket = "a\x00b"
		w.refused(w.q.Put(w.ctx, it), protocol.KindItem)
	},
}
