package nulls3

import (
	"fmt"
	"runtime"
	"testing"
)

// BenchmarkPage is a page of a listing of a million keys, from somewhere in it; B/key is what a key costs in memory.
func BenchmarkPage(b *testing.B) {
	const keys = 1_000_000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	bk := newBucket()
	for i := range keys {
		n := i * 7919 % keys
		bk.put(fmt.Sprintf("in/d%05d/file-%07d.dat", n/200, n), object{size: 300, at: 1, head: fmt.Sprintf("X-Amz-Meta-Mtime\x00%d\x00", n)})
	}
	bk.keys()
	runtime.GC()
	runtime.ReadMemStats(&after)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		l := &listing{prefix: "in/", after: fmt.Sprintf("in/d%05d/", i%4900), most: maxKeys, encoded: true}
		l.fill(bk)
		if l.n != maxKeys || len(l.document("b", true)) == 0 {
			b.Fatal(l.n)
		}
		i += 37
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/keys, "B/key")
}
