package worker

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"s3apu/protocol"
)

// A delete of what the ledger says is ours leaves alone what somebody else has written over it since, says so once and
// forgets the row. What a client of the socket asks for is deleted whoever wrote it.
func TestOverwrittenObjectStays(t *testing.T) {
	const etag, other = "0123456789abcdef0123456789abcdef", "00000000000000000000000000000000"
	object := func(key protocol.Key, etag string, token uint64) *protocol.Object {
		o := &protocol.Object{Key: key, Size: 7, ETag: etag, ContentType: "text/plain", Meta: map[string]string{"mode": "0100644"}}
		if token > 0 {
			d := &protocol.Delivery{Token: token, Queue: testQueue, Instruction: protocol.Instruction{Bucket: testBucket, Key: key}}
			o.Meta = marked(d, key, protocol.Headers{ContentType: o.ContentType, Meta: o.Meta}, o.Size, etag).Meta
		}
		return o
	}
	for _, tc := range []struct {
		name   string
		verb   protocol.Verb // of the row
		known  string        // the row's ETag
		object *protocol.Object
		asked  bool // by a client
		kept   bool
		heads  int
	}{
		{"as the ledger says", protocol.Upl, etag, object("k", etag, 0), false, false, 1},
		{"written in capitals", protocol.Upl, strings.ToUpper(etag), object("k", etag, 0), false, false, 1},
		{"somebody else's", protocol.Upl, etag, object("k", other, 0), false, true, 1},
		{"somebody else's, in parts", protocol.Upl, etag, object("k", etag+"-2", 0), false, true, 1},
		{"somebody else's, with a mark for other bytes", protocol.Upl, etag, func() *protocol.Object {
			o := object("k", etag, 3)
			o.ETag = other
			return o
		}(), false, true, 1},
		{"ours, but its answer was lost", protocol.Upl, etag, object("k", other, 3), false, false, 1},
		{"gone already", protocol.Upl, etag, nil, false, false, 1},
		{"a folder as the ledger says", protocol.Mkd, etag, object("k/", etag, 0), false, false, 1},
		{"somebody else's folder", protocol.Mkd, etag, object("k/", other, 0), false, true, 1},
		{"a server without ETags", protocol.Upl, "", object("k", "", 0), false, false, 0},
		{"somebody else's, as a client asks", protocol.Upl, etag, object("k", other, 0), true, false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				key := protocol.Key("k")
				if tc.verb == protocol.Mkd {
					key += "/"
				}
				if tc.object != nil {
					r.store.objects[key] = tc.object
				}
				r.src.token = 5
				r.src.ledger[protocol.ObjectID{Bucket: testBucket, Key: key}] =
					&protocol.Entry{Bucket: testBucket, Key: key, Verb: tc.verb, ETag: tc.known, Source: filepath.Join(r.dir, "gone")}
				d := order(protocol.Del, string(key), "")
				d.Hint = !tc.asked
				r.src.put(d)
				r.run(Config{})
				r.src.drain(t, time.Minute)
				if kept := r.store.object(key) != nil; kept != tc.kept {
					t.Errorf("kept: %v", kept)
				}
				if row := r.src.row(key); row != nil {
					t.Errorf("the row stays: %+v", row)
				}
				n := 0
				if tc.kept {
					n = 1
				}
				if said := r.log.count("written by somebody else"); said != n || r.pool.Stats().Foreign != int64(n) {
					t.Errorf("said %d times, counted %d, want %d", said, r.pool.Stats().Foreign, n)
				}
				if heads := r.store.count("head"); heads != tc.heads {
					t.Errorf("%d looks, want %d", heads, tc.heads)
				}
			})
		})
	}
}

// As long as the object cannot be looked at it is not deleted.
func TestDeleteWaitsForALook(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.store.objects["k"] = &protocol.Object{Key: "k", ETag: "e"}
		r.src.ledger[protocol.ObjectID{Bucket: testBucket, Key: "k"}] =
			&protocol.Entry{Bucket: testBucket, Key: "k", Verb: protocol.Upl, ETag: "e", Source: filepath.Join(r.dir, "gone")}
		r.src.put(hint(order(protocol.Del, "k", "")))
		failures := 3
		r.store.before = func(_ context.Context, op string, _ protocol.Key) error {
			if op == "head" && failures > 0 {
				failures--
				return s3Error(protocol.KindTransient, 500)
			}
			if op == "delete" && failures > 0 {
				t.Error("it is deleted without a look")
			}
			return nil
		}
		r.run(Config{})
		r.src.drain(t, time.Hour)
		if r.store.object("k") != nil || failures > 0 {
			t.Errorf("it stays, with %d failures left", failures)
		}
	})
}
