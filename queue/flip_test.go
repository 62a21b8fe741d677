package queue_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"s3apu/protocol"
	"s3apu/queue"
)

const flipKeys = 900

// flipStore makes a store of many small tables and logs, put key by key: 0, 1, 2, … in the queue and in the ledger.
func flipStore(t *testing.T, dir string) {
	t.Helper()
	pad := strings.Repeat("pad", 200)
	for part := range 3 {
		q := open(t, dir, queue.WithMemTable(queue.Options{}, 128<<10))
		for i := part * flipKeys / 3; i < (part+1)*flipKeys/3; i++ {
			it := upl(fmt.Sprintf("%04d", i))
			it.Source = "/" + pad + fmt.Sprint(i)
			must(t, q.Put(t.Context(), it))
			must(t, q.Adopt(t.Context(), &protocol.Entry{Bucket: bucket, Key: it.Key, Verb: protocol.Upl, Source: it.Source, ETag: fmt.Sprint(i)}))
		}
		must(t, q.Close())
	}
}

// flipHeld tells how many of the keys a store holds, from 0 on, or why it cannot be told.
func flipHeld(t *testing.T, q *queue.Queue) (records, rows int, err error) {
	t.Helper()
	for r, err := range q.Records(t.Context(), bucket, "", "") {
		if err != nil {
			return records, rows, err
		}
		if string(r.Key) != fmt.Sprintf("%04d", records) || !strings.HasSuffix(r.Source, "pad"+fmt.Sprint(records)) {
			t.Errorf("record %d is %+v", records, r.Instruction)
		}
		records++
	}
	for e, err := range q.Ledger(t.Context(), bucket, "", "") {
		if err != nil {
			return records, rows, err
		}
		if string(e.Key) != fmt.Sprintf("%04d", rows) || e.ETag != fmt.Sprint(rows) {
			t.Errorf("row %d is %+v", rows, e)
		}
		rows++
	}
	return records, rows, nil
}

// TestBitFlips flips one bit somewhere in a store: it opens with what it held, or shows the damage, now or when it is
// read. Only the end of the newest log may be missing: there a flipped bit looks like the torn end after a power cut.
func TestBitFlips(t *testing.T) {
	whole := t.TempDir() + "/q"
	flipStore(t, whole)
	files := slices.Sorted(func(yield func(string) bool) {
		for f := range tree(t, whole) {
			if !yield(f) {
				return
			}
		}
	})
	rounds := 12
	if testing.Short() {
		rounds = 2
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 1))
	logs := slices.DeleteFunc(slices.Clone(files), func(f string) bool { return filepath.Ext(f) != ".log" })
	seen := map[string]int{}
	for _, name := range files {
		size, rounds := len(must1(os.ReadFile(name))), rounds
		if strings.HasPrefix(filepath.Base(name), "MANIFEST-") {
			rounds *= 4 // where a flip looked like a torn end once, and a tenth of a store was lost
		}
		for range min(rounds, size) {
			dir := t.TempDir() + "/q"
			must(t, os.CopyFS(dir, os.DirFS(whole)))
			rel, _ := filepath.Rel(whole, name)
			at := dice.IntN(size)
			flip(t, filepath.Join(dir, rel), at)
			what := flipOutcome(t, dir, name == logs[len(logs)-1])
			seen[strings.TrimLeft(filepath.Base(name), "0123456789")+": "+what]++
			if t.Failed() {
				t.Fatalf("after a flip in %s at %d of %d: %s", rel, at, size, what)
			}
		}
	}
	for _, what := range slices.Sorted(func(yield func(string) bool) {
		for w := range seen {
			if !yield(w) {
				return
			}
		}
	}) {
		t.Logf("%4d × %s", seen[what], what)
	}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func flip(t *testing.T, name string, at int) {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	b[at] ^= 1 << (at % 8)
	must(t, os.WriteFile(name, b, 0o600))
}

func flipOutcome(t *testing.T, dir string, newestLog bool) string {
	t.Helper()
	q, err := queue.Open(dir, queue.Options{})
	if err != nil {
		wantKind(t, err, protocol.KindDamaged)
		return "shown when opened"
	}
	defer func() { _ = q.Close() }() // it may be broken
	records, rows, err := flipHeld(t, q)
	switch {
	case err != nil:
		wantKind(t, err, protocol.KindDamaged)
		return "shown when read"
	case records == flipKeys && rows == flipKeys:
		return "all there"
	case newestLog && rows <= records && records <= rows+1:
		return "the end of the log is missing"
	}
	t.Errorf("%d records and %d rows of %d each, without an error", records, rows, flipKeys)
	return "lost silently"
}
