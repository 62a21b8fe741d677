package feeder

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"s3apu/protocol"
)

// bigTree makes folders of 1,000 empty files each.
func bigTree(t testing.TB, root string, files int) {
	t.Helper()
	for i := range files {
		dir := filepath.Join(root, fmt.Sprintf("d%04d", i/1000))
		if i%1000 == 0 {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("file-%04d.dat", i%1000)))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// treeQueue has a row for everything in a tree that bigTree made, and remembers nothing.
type treeQueue struct {
	*fakeQueue
	root    string
	folders int
	files   int // rows in each folder; those that are more than there are files stand for deleted ones
	read    func(rows int)
	empty   bool // no rows
	put     int
}

func (q *treeQueue) Ledger(_ context.Context, _ string, _, after protocol.Key) iter.Seq2[*protocol.Entry, error] {
	return func(yield func(*protocol.Entry, error) bool) {
		if q.empty {
			return
		}
		n := 0
		say := func(e *protocol.Entry, rel string) bool {
			if e.Key <= after {
				return true
			}
			e.Source = q.root + "/" + rel
			st, err := lstat(e.Source)
			if err != nil {
				st = protocol.Stat{Mode: protocol.ModeFile}
			}
			e.Stat = st
			if n++; q.read != nil {
				q.read(n)
			}
			return yield(e, nil)
		}
		for d := range q.folders {
			rel := fmt.Sprintf("d%04d", d)
			if !say(&protocol.Entry{Bucket: bucketName, Key: protocol.Key(rel + "/"), Verb: protocol.Mkd}, rel) {
				return
			}
			for f := range q.files {
				rel := fmt.Sprintf("d%04d/file-%04d.dat", d, f)
				if !say(&protocol.Entry{Bucket: bucketName, Key: protocol.Key(rel), Verb: protocol.Upl}, rel) {
					return
				}
			}
		}
	}
}

func (q *treeQueue) Put(_ context.Context, w ...Wish) error {
	if q.put += len(w); q.read != nil {
		q.read(q.put)
	}
	return nil
}

func (q *treeQueue) Entry(id protocol.ObjectID) (*protocol.Entry, error) {
	return &protocol.Entry{Bucket: bucketName, Key: id.Key, Verb: protocol.Upl, Source: q.root + "/" + string(id.Key)}, nil
}

var big = flag.Bool("feeder.big", false, "compare 10,000 with 100,000 files in the test of memory, not 2,000 with 20,000")

// Memory does not grow with the tree, neither when nothing changed, nor when everything is new, nor when much is gone.
func TestMemoryIsFlat(t *testing.T) {
	few, many := 2, 20 // folders of 1,000 files
	if *big {
		few, many = 10, 100
	}
	roots := map[int]string{few: filepath.Join(t.TempDir(), "few"), many: filepath.Join(t.TempDir(), "many")}
	for folders, root := range roots {
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		bigTree(t, root, folders*1000)
	}
	for _, c := range []struct {
		name  string
		files int
		empty bool
	}{{"nothing changed", 1000, false}, {"everything new", 0, true}, {"as much again is gone", 2000, false}} {
		peaks := map[int]uint64{}
		for folders, root := range roots {
			q := &treeQueue{fakeQueue: newFakeQueue(), root: root, folders: folders, files: c.files, empty: c.empty}
			var m runtime.MemStats
			next := 0
			q.read = func(rows int) {
				if rows < next {
					return
				}
				next = rows + folders*20
				runtime.GC()
				runtime.ReadMemStats(&m)
				peaks[folders] = max(peaks[folders], m.HeapAlloc)
			}
			f, err := New(Folder{Root: root, Bucket: bucketName, Delete: true}, q, nil, func(string, protocol.Stat) bool { return true }, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			r, err := f.Scan(t.Context(), "", deep)
			if err != nil {
				t.Fatal(err)
			}
			gone := int64(max(c.files-1000, 0) * folders)
			if want := int64(folders * 1001); r.Seen != want || r.Held+r.Deleted != gone || c.empty && r.Sent != want || !c.empty && r.Sent != 0 {
				t.Fatalf("%s: %s", c.name, r)
			}
		}
		grown := int64(peaks[many]) - int64(peaks[few])
		t.Logf("%s: heap in use at most %d KiB for %d,000 files, %d KiB for %d,000", c.name, peaks[few]>>10, few, peaks[many]>>10, many)
		if grown > 2<<20 {
			t.Errorf("%s: %d bytes more for %d,000 files than for %d,000", c.name, grown, many, few)
		}
	}
}
