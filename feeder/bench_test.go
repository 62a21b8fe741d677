package feeder

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"s3apu/protocol"
)

// bench is a folder with everything around it.
type bench struct {
	*testing.T
	root   string
	q      *fakeQueue
	s      *store
	f      *Feeder
	marked []string
	busy   map[string]bool // by path below the root
	tick   int64
}

func newBench(t *testing.T, change func(*Folder)) *bench {
	t.Helper()
	b := &bench{T: t, root: t.TempDir(), q: newFakeQueue(), s: newStore(), busy: map[string]bool{}}
	folder := Folder{Root: b.root, Bucket: bucketName, Prefix: "p", Delete: true}
	if change != nil {
		change(&folder)
	}
	b.remake(folder)
	return b
}

// remake makes a new Feeder, as after a restart.
func (b *bench) remake(folder Folder) {
	b.Helper()
	rest := func(path string, _ protocol.Stat) bool { rel, _ := filepath.Rel(b.root, path); return !b.busy[rel] }
	f, err := New(folder, b.q, b.s, rest, func(rel string) { b.marked = append(b.marked, rel) }, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.f = f
}

func (b *bench) path(rel string) string { return filepath.Join(b.root, filepath.FromSlash(rel)) }

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// write makes a file and the folders above it; the times of two writes differ whatever the clock's grain.
func (b *bench) write(rel, body string) {
	b.Helper()
	b.must(os.MkdirAll(filepath.Dir(b.path(rel)), 0o755))
	b.must(os.WriteFile(b.path(rel), []byte(body), 0o644))
	b.tick++
	b.must(os.Chtimes(b.path(rel), time.Time{}, time.Unix(1_700_000_000+b.tick, b.tick)))
}

func (b *bench) mkdir(rel string)  { b.Helper(); b.must(os.MkdirAll(b.path(rel), 0o755)) }
func (b *bench) remove(rel string) { b.Helper(); b.must(os.RemoveAll(b.path(rel))) }

// sync makes bucket and ledger equal to the tree.
func (b *bench) sync() {
	b.Helper()
	if _, err := b.f.Scan(b.Context(), "", ScanOptions{Deep: true}); err != nil {
		b.Fatal(err)
	}
	b.must(b.q.carryOut(b.s))
	b.q.take()
}

// scan scans and returns the report and what was put.
func (b *bench) scan(rel string, opt ScanOptions) (Report, []string) {
	b.Helper()
	r, err := b.f.Scan(b.Context(), rel, opt)
	b.must(err)
	return r, b.q.take()
}

func (b *bench) change(rels ...string) []string {
	b.Helper()
	b.must(b.f.Change(b.Context(), rels))
	return b.q.take()
}

func (b *bench) want(got []string, want ...string) {
	b.Helper()
	if want == nil {
		want = []string{}
	}
	if !slices.Equal(got, want) {
		b.Fatalf("put %q, want %q", got, want)
	}
}

func kindIs(t *testing.T, err error, kind protocol.Kind) {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("error %v, want one of kind %s", err, kind)
	}
}

var deep = ScanOptions{Deep: true}
var listed = ScanOptions{Deep: true, List: true}
