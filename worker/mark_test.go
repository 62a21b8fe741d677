package worker

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"s3apu/protocol"
)

// The answer to an upload was lost and its file is gone: what may lie in the bucket is looked at, and deleted if an earlier
// hand of this instruction put it there as it is. What somebody else put there stays, however much it looks like ours.
func TestLostAnswerLeavesNoOrphan(t *testing.T) {
	plain := protocol.Headers{ContentType: "text/plain", Meta: map[string]string{
		"mode": "0100644", "mtime": "1700000000.000000001", "uid": "0", "gid": "0"}}
	const size, etag = 7, "0123456789abcdef0123456789abcdef"
	by := func(queue string, token uint64, key protocol.Key, etag string) *protocol.Object {
		d := &protocol.Delivery{Token: token, Queue: queue, Instruction: protocol.Instruction{Bucket: testBucket, Key: key}}
		hd := marked(d, key, plain, size, etag)
		return &protocol.Object{Key: "k", Size: size, ETag: "0123456789abcdef0123456789abcdef", ContentType: hd.ContentType, Meta: hd.Meta}
	}
	changed := func(f func(o *protocol.Object)) *protocol.Object {
		o := by(testQueue, 5, "k", etag)
		o.Meta = maps.Clone(o.Meta)
		f(o)
		return o
	}
	ours, inParts := by(testQueue, 5, "k", etag), by(testQueue, 5, "k", "")
	inParts.ETag = "0123456789abcdef0123456789abcdef-2"
	for _, tc := range []struct {
		name   string
		verb   protocol.Verb
		object *protocol.Object
		kept   bool
	}{
		{"delete, ours", protocol.Del, ours, false},
		{"delete, ours, in parts", protocol.Del, inParts, false},
		{"delete, ours of the first hand", protocol.Del, by(testQueue, 4, "k", etag), false},
		{"upload of a vanished file, ours", protocol.Upl, ours, false},
		{"upload of what is a folder by now, ours", protocol.Upl, ours, false},
		{"folder that has gone, ours", protocol.Mkd, ours, false},
		{"folder that is a file by now, ours", protocol.Mkd, ours, false},
		{"delete, without any mark", protocol.Del, changed(func(o *protocol.Object) { delete(o.Meta, markName) }), true},
		{"delete, without metadata", protocol.Del, changed(func(o *protocol.Object) { o.Meta = nil }), true},
		{"delete, another queue's", protocol.Del, by("another", 5, "k", etag), true},
		{"delete, ours of long ago, which a person let stay", protocol.Del, by(testQueue, 3, "k", etag), true},
		{"delete, of a hand that was not yet", protocol.Del, by(testQueue, 50, "k", etag), true},
		{"delete, a copy of another of ours", protocol.Del, by(testQueue, 5, "other", etag), true},
		{"delete, other content", protocol.Del, changed(func(o *protocol.Object) { o.ETag = strings.Repeat("0", 32) }), true},
		{"delete, another size", protocol.Del, changed(func(o *protocol.Object) { o.Size++ }), true},
		{"delete, after a chmod by s3fs", protocol.Del, changed(func(o *protocol.Object) { o.Meta["mode"] = "0100600" }), true},
		{"delete, after a write by s3fs", protocol.Del, changed(func(o *protocol.Object) { o.Meta["mtime"] = "1700000001" }), true},
		{"delete, of another type", protocol.Del, changed(func(o *protocol.Object) { o.ContentType = "image/png" }), true},
		{"delete, a mark that is none", protocol.Del, changed(func(o *protocol.Object) { o.Meta[markName] = "5" }), true},
		{"upload of a vanished file, another's", protocol.Upl, changed(func(o *protocol.Object) { delete(o.Meta, markName) }), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.store.objects["k"] = tc.object
				source := ""
				switch {
				case tc.verb == protocol.Del:
				case strings.Contains(tc.name, "is a folder"):
					source = r.dir
				case strings.Contains(tc.name, "is a file"):
					source = r.file("file", 1, 1)
				default:
					source = filepath.Join(r.dir, "gone")
				}
				d := hint(order(tc.verb, "k", source))
				d.Again, d.First = true, 4
				r.src.token = 6
				r.src.put(d)
				r.run(Config{})
				r.src.drain(t, time.Minute)
				if kept := r.store.object("k") != nil; kept != tc.kept {
					t.Errorf("kept: %v", kept)
				}
			})
		})
	}
}

// Whatever way an object was sent, the next hand knows it again by its mark.
func TestEverythingSentIsKnownAgain(t *testing.T) {
	for name, size := range map[string]int{"in one": 10, "empty": 0, "in parts": 12 << 20} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				source := r.file("f", size, 1)
				lost := true
				r.store.after = func(_ context.Context, op string, _ protocol.Key) error {
					if lost && (op == "put" || op == "finish") {
						lost = false
						if err := os.Remove(source); err != nil {
							t.Error(err)
						}
						return s3Error(protocol.KindTransient, 0)
					}
					return nil
				}
				r.src.put(hint(order(protocol.Upl, "k", source)))
				r.run(Config{MultipartAbove: 6 << 20, PartSize: 5 << 20})
				r.src.drain(t, time.Hour)
				if o := r.store.object("k"); lost || o != nil {
					t.Errorf("lost %v, an orphan is left: %+v", !lost, o)
				}
			})
		})
	}
}

// BenchmarkMark is what a mark costs a PUT.
func BenchmarkMark(b *testing.B) {
	hd := protocol.Headers{ContentType: "text/plain", Meta: map[string]string{"mode": "0100644", "mtime": "1700000000.000000001", "uid": "0", "gid": "0"}}
	d := &protocol.Delivery{Token: 1 << 40, Queue: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Instruction: protocol.Instruction{Bucket: "bucket"}}
	for b.Loop() {
		marked(d, "some/folder/some file.txt", hd, 1000, "0123456789abcdef0123456789abcdef")
	}
}
