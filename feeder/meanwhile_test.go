package feeder

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"

	"s3apu/protocol"
)

// busyQueue has a hand that carries out an upload after so many reads.
type busyQueue struct {
	*fakeQueue
	after     int
	meanwhile func()
}

func (q *busyQueue) once() {
	if q.after--; q.after == 0 {
		q.meanwhile()
	}
}

func (q *busyQueue) Records(ctx context.Context, bucket string, prefix, after protocol.Key) iter.Seq2[Record, error] {
	all := q.fakeQueue.Records(ctx, bucket, prefix, after)
	q.once()
	return all
}

func (q *busyQueue) Ledger(ctx context.Context, bucket string, prefix, after protocol.Key) iter.Seq2[*protocol.Entry, error] {
	return func(yield func(*protocol.Entry, error) bool) {
		q.fakeQueue.Ledger(ctx, bucket, prefix, after)(yield)
		q.once()
	}
}

func (q *busyQueue) Pending(id protocol.ObjectID) (Record, bool, error) {
	rec, ok, err := q.fakeQueue.Pending(id)
	q.once()
	return rec, ok, err
}

func (q *busyQueue) Entry(id protocol.ObjectID) (*protocol.Entry, error) {
	row, err := q.fakeQueue.Entry(id)
	q.once()
	return row, err
}

// An upload that is carried out while its file's end is being judged leaves the queue and enters the ledger: it must be
// seen in one of them, or its object stays for ever.
func TestCarriedOutWhileItsFileIsMissed(t *testing.T) {
	for name, prepare := range map[string]func(b *bench) (gone string, key protocol.Key){
		"in a folder that is gone":       func(*bench) (string, protocol.Key) { return "d", "d/f" },
		"in a folder that is a file now": func(b *bench) (string, protocol.Key) { b.write("d", "file"); return "d", "d/f" },
		"of a file that is a folder now": func(b *bench) (string, protocol.Key) { b.mkdir("d"); return "d", "d" },
	} {
		for after := range 8 {
			t.Run(fmt.Sprint(name, " ", after), func(t *testing.T) {
				b := newBench(t, nil)
				b.write("keep", "so that the root is not empty")
				gone, key := prepare(b)
				path := b.path(string(key))
				q := &busyQueue{fakeQueue: newFakeQueue(), after: after + 1}
				q.recs[key] = Record{Instruction: protocol.Instruction{Verb: protocol.Upl, Bucket: bucketName, Key: key, Source: path}, Hint: true, Leased: true}
				q.meanwhile = func() {
					q.mu.Lock()
					defer q.mu.Unlock()
					delete(q.recs, key)
					q.rows[key] = &protocol.Entry{Bucket: bucketName, Key: key, Verb: protocol.Upl, Source: path, ETag: "x"}
				}
				f, err := New(Folder{Root: b.root, Bucket: bucketName, Delete: true}, q, nil, func(string, protocol.Stat) bool { return true }, nil, nil)
				b.must(err)
				b.must(f.Change(t.Context(), []string{gone}))
				if rec := q.recs[key]; rec.Verb != protocol.Del {
					t.Errorf("nothing ends %q: the queue holds %+v", key, q.recs)
				}
			})
		}
	}
}

// A file's delete is held, or was dropped by a person; a folder takes the name, then a file again: what was in the folder
// goes, although the first file's row is still there.
func TestFileFolderFileWithAHeldDelete(t *testing.T) {
	for _, dropped := range []bool{false, true} {
		t.Run(fmt.Sprint("dropped ", dropped), func(t *testing.T) {
			b := newBench(t, nil)
			b.write("keep", "k")
			b.write("x", "first")
			b.sync()
			b.remove("x")
			if !dropped {
				b.q.recs["p/x"] = Record{Instruction: protocol.Instruction{Verb: protocol.Del, Bucket: bucketName, Key: "p/x"}, Hint: true, Held: true}
			}
			for _, key := range []protocol.Key{"p/x/", "p/x/inside"} { // carried out while the name was a folder's
				verb := protocol.Upl
				if key.IsFolder() {
					verb = protocol.Mkd
				}
				b.q.rows[key] = &protocol.Entry{Bucket: bucketName, Key: key, Verb: verb, Source: b.path(strings.TrimSuffix(string(key[2:]), "/")), ETag: "e"}
			}
			b.write("x", "again a file")
			b.change("x")
			for _, key := range []protocol.Key{"p/x/", "p/x/inside"} {
				if b.q.recs[key].Verb != protocol.Del {
					t.Errorf("nothing ends %s: %+v", key, b.q.recs)
				}
			}
			if b.q.recs["p/x"].Verb != protocol.Upl {
				t.Errorf("the file is not sent: %+v", b.q.recs["p/x"])
			}
		})
	}
}
