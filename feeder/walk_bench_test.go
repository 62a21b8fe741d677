package feeder

import (
	"os/exec"
	"testing"
	"time"

	"s3apu/protocol"
)

const benchFiles = 200_000

// BenchmarkWalk walks 200,000 files and says how many times longer that takes than find does.
func BenchmarkWalk(b *testing.B) {
	root := b.TempDir()
	bigTree(b, root, benchFiles)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		w := walker{root: root, match: func(string, bool) bool { return true }, visit: func(*found) error { n++; return nil }}
		if err := w.walk(b.Context(), "", 0); err != nil || n != benchFiles+benchFiles/1000 {
			b.Fatal(n, err)
		}
	}
	against(b, root)
}

// BenchmarkScan scans them with a ledger that agrees (whose own lstat of each file is in the figure).
func BenchmarkScan(b *testing.B) {
	root := b.TempDir()
	bigTree(b, root, benchFiles)
	q := &treeQueue{fakeQueue: newFakeQueue(), root: root, folders: benchFiles / 1000, files: 1000}
	f, err := New(Folder{Root: root, Bucket: bucketName, Delete: true}, q, nil, func(string, protocol.Stat) bool { return true }, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if r, err := f.Scan(b.Context(), "", deep); err != nil || r.Sent+r.Deleted != 0 {
			b.Fatal(r, err)
		}
	}
	against(b, root)
}

// BenchmarkChange looks at 100 files of which nothing changed.
func BenchmarkChange(b *testing.B) {
	root := b.TempDir()
	bigTree(b, root, 1000)
	f, err := New(Folder{Root: root, Bucket: bucketName}, newFakeQueue(), nil, nil, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	var rels []string
	for i := range 100 {
		rels = append(rels, "d0000/file-00"+string([]byte{'0' + byte(i/10), '0' + byte(i%10)})+".dat")
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Change(b.Context(), rels); err != nil {
			b.Fatal(err)
		}
		f.queue.(*fakeQueue).take()
	}
}

// against reports the ratio to find, the best of three.
func against(b *testing.B, root string) {
	b.Helper()
	find, err := exec.LookPath("find")
	if err != nil {
		b.Log("no find here to compare with")
		return
	}
	best := time.Duration(0)
	for range 3 {
		began := time.Now()
		if err := exec.CommandContext(b.Context(), find, root, "-name", "no such name").Run(); err != nil {
			b.Fatal(err)
		}
		if took := time.Since(began); best == 0 || took < best {
			best = took
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(best), "×find")
	b.ReportMetric(float64(best.Milliseconds()), "find-ms")
}
