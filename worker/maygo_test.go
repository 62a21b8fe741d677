package worker

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"s3apu/protocol"
)

// deletedOnceBack runs a Pool that may not delete what was made from path until it has asked more often than MaxRetries, and
// expects that the object stays so long, and no longer.
func (r *rig) deletedOnceBack(key protocol.Key, path string, cfg Config) {
	r.t.Helper()
	const asks = 6
	var asked atomic.Int32
	cfg.MayGo = func(source string) error {
		switch {
		case source != path:
			r.t.Error(source)
		case asked.Add(1) < asks:
			if r.store.object(key) == nil {
				r.t.Error("it was deleted")
			}
			return errors.New("another folder lies in its place")
		}
		return nil
	}
	r.run(cfg)
	r.src.drain(r.t, time.Hour)
	if r.store.object(key) != nil || asked.Load() != asks || len(r.src.dead) > 0 {
		r.t.Error(r.store.object(key), asked.Load(), r.src.dead)
	}
}

// A file that is missing because its disk is away is not gone: the delete waits, for as long as it takes.
func TestDeleteWaitsForItsFolder(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		path := filepath.Join(r.dir, "gone")
		r.store.objects["ours"] = &protocol.Object{Key: "ours"}
		r.src.ledger[protocol.ObjectID{Bucket: testBucket, Key: "ours"}] =
			&protocol.Entry{Bucket: testBucket, Key: "ours", Verb: protocol.Upl, Source: path}
		r.src.put(hint(order(protocol.Del, "ours", "")))
		r.deletedOnceBack("ours", path, Config{})
	})
}

// An upload whose answer was lost waits as well while the disk of its file is away: what it left in the bucket may be all
// that there is of the file then. The same holds for the delete that follows such an upload.
func TestOrphanWaitsForItsFolder(t *testing.T) {
	for _, verb := range []protocol.Verb{protocol.Upl, protocol.Mkd, protocol.Del} {
		t.Run(verb.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				path := filepath.Join(r.dir, "gone")
				d := hint(order(verb, "p/gone", path))
				if d.Again, d.First = true, 1; verb == protocol.Del {
					d.Source = ""
				}
				earlier := d
				earlier.Bucket, earlier.Token, earlier.Queue = testBucket, 1, testQueue
				hd := marked(&earlier, d.Key, protocol.Headers{Meta: map[string]string{"mode": "0100644"}}, 0, "")
				r.store.objects[d.Key] = &protocol.Object{Key: d.Key, Meta: hd.Meta}
				r.src.token = 1
				r.src.put(d)
				r.deletedOnceBack("p/gone", path, Config{Folders: []Folder{{Path: r.dir, Prefix: "p"}}})
			})
		})
	}
}

// Deletes that were put before the folder was told to delete nothing, and wait since, are not carried out; what a client
// asks for is.
func TestDeletesOfAFolderThatKeepsAll(t *testing.T) {
	for name, tc := range map[string]struct {
		d    protocol.Delivery
		kept bool
	}{
		"hint":   {hint(order(protocol.Del, "p/gone", "")), true},
		"client": {order(protocol.Del, "p/gone", ""), false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.store.objects["p/gone"] = &protocol.Object{Key: "p/gone"}
				r.src.ledger[protocol.ObjectID{Bucket: testBucket, Key: "p/gone"}] =
					&protocol.Entry{Bucket: testBucket, Key: "p/gone", Verb: protocol.Upl, Source: filepath.Join(r.dir, "gone")}
				r.src.put(tc.d)
				r.run(Config{Folders: []Folder{{Path: r.dir, Prefix: "p", Keep: true}}})
				r.src.drain(t, time.Hour)
				if kept := r.store.object("p/gone") != nil; kept != tc.kept || kept != (r.src.row("p/gone") != nil) {
					t.Errorf("kept: %v, row %v", kept, r.src.row("p/gone"))
				}
			})
		})
	}
}
