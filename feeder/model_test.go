package feeder

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"s3apu/protocol"
)

// model is a tree, a bucket and a ledger that random things happen to.
type model struct {
	*rapid.T
	root    string
	layout  string
	q       *fakeQueue
	s       *store
	f       *Feeder
	foreign map[protocol.Key]object // what somebody else has put where no file of ours lies
	touched map[string]bool
	tick    int64
}

var modelNames = []string{"a", "a-b", "a.b", "a0", "b", "é", "x y"}

func newModel(rt *rapid.T, base string) *model {
	root, err := os.MkdirTemp(base, "")
	if err != nil {
		rt.Fatal(err)
	}
	m := &model{T: rt, root: root, q: newFakeQueue(), s: newStore(), foreign: map[protocol.Key]object{}, touched: map[string]bool{},
		layout: rapid.SampledFrom([]string{"slash", "plain", "none"}).Draw(rt, "layout")}
	m.f, err = New(Folder{Root: root, Bucket: bucketName, Prefix: "p", Delete: true, FolderObjects: m.layout}, m.q, m.s,
		func(string, protocol.Stat) bool { return true }, func(rel string) { rt.Fatalf("%s marked", rel) }, nil)
	if err != nil {
		rt.Fatal(err)
	}
	m.write("keep/me") // so that the root is never empty: that would hold the deletes
	return m
}

func (m *model) must(err error) {
	if err != nil {
		m.Fatal(err)
	}
}

// draw returns a path of one to three names.
func (m *model) draw() string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(modelNames), 1, 3).Draw(m.T, "path"), "/")
}

func (m *model) path(rel string) string { return filepath.Join(m.root, rel) }

// clear makes room for the folder of rel: files in the way go.
func (m *model) clear(rel string) {
	for i := range len(rel) {
		if rel[i] == '/' {
			if fi, err := os.Lstat(m.path(rel[:i])); err == nil && !fi.IsDir() {
				m.must(os.Remove(m.path(rel[:i])))
			}
			m.touched[rel[:i]] = true
		}
	}
	m.must(os.MkdirAll(filepath.Dir(m.path(rel)), 0o755))
	m.touched[rel] = true
}

func (m *model) write(rel string) {
	m.clear(rel)
	if fi, err := os.Lstat(m.path(rel)); err == nil && fi.IsDir() {
		m.remove(rel)
	}
	m.tick++
	m.must(os.WriteFile(m.path(rel), fmt.Appendf(nil, "%d", m.tick), 0o644))
	m.must(os.Chtimes(m.path(rel), time.Time{}, time.Unix(1_700_000_000+m.tick, 0)))
}

func (m *model) mkdir(rel string) {
	m.clear(rel + "/x")
	if fi, err := os.Lstat(m.path(rel)); err != nil || !fi.IsDir() {
		m.Fatal(rel, err)
	}
}

// remove removes what is there; all of it is touched, as a watcher would say.
func (m *model) remove(rel string) {
	if _, err := os.Lstat(m.path(rel)); err != nil {
		return
	}
	m.must(filepath.WalkDir(m.path(rel), func(path string, _ fs.DirEntry, err error) error {
		m.touched[strings.TrimPrefix(path, m.root+"/")] = true
		return err
	}))
	m.must(os.RemoveAll(m.path(rel)))
}

func (m *model) rename(from, to string) {
	if from == to || strings.HasPrefix(to, from+"/") || strings.HasPrefix(from, to+"/") {
		return
	}
	if _, err := os.Lstat(m.path(from)); err != nil {
		return
	}
	m.clear(to)
	if _, err := os.Lstat(m.path(from)); err != nil {
		return // it was in the way
	}
	m.remove(to)
	m.must(os.Rename(m.path(from), m.path(to)))
	m.touched[from] = true
}

// keys returns what the tree says the bucket should hold.
func (m *model) keys() map[protocol.Key]string {
	keys := map[protocol.Key]string{}
	m.must(filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == m.root {
			return err
		}
		rel, err := filepath.Rel(m.root, path)
		if err != nil {
			return err
		}
		key := protocol.Key("p/" + filepath.ToSlash(rel))
		if d.IsDir() {
			switch m.layout {
			case "slash":
				keys[key+"/"] = ""
			case "plain":
				keys[key] = ""
			}
			return nil
		}
		body, err := os.ReadFile(path)
		keys[key] = string(body)
		return err
	}))
	return keys
}

// disturb changes bucket and ledger behind our back.
func (m *model) disturb() {
	owned := slices.Sorted(maps.Keys(m.q.rows))
	switch rapid.IntRange(0, 3).Draw(m.T, "disturbance") {
	case 0: // somebody else's object
		key := protocol.Key("p/" + m.draw())
		if rapid.Bool().Draw(m.T, "folder object") {
			key += "/"
		}
		if m.q.rows[key] == nil {
			m.foreign[key] = m.s.put(key, "foreign", false)
		}
	case 1: // the ledger forgets: what is in the bucket is somebody else's from now on
		if len(owned) > 0 {
			key := rapid.SampledFrom(owned).Draw(m.T, "row")
			delete(m.q.rows, key)
			if o, ok := m.s.objs[key]; ok {
				m.foreign[key] = o
			}
		}
	case 2: // the bucket forgets
		if len(owned) > 0 {
			delete(m.s.objs, rapid.SampledFrom(owned).Draw(m.T, "object"))
		}
	case 3: // somebody overwrites our object
		if len(owned) > 0 {
			m.s.put(rapid.SampledFrom(owned).Draw(m.T, "object"), "altered", false)
		}
	}
}

// noConflict is the rule of stores that keep objects as files: no object x beside objects x/…, at any time.
func (m *model) noConflict() {
	if m.layout == "plain" || len(m.foreign) > 0 {
		return
	}
	for key := range m.s.objs {
		for up := range key.Parents {
			if _, ok := m.s.objs[up]; ok {
				m.Fatalf("%s is there beside %s", up, key)
			}
		}
	}
}

// settle carries out what was put, one by one.
func (m *model) settle() {
	log := m.q.log
	for _, w := range log {
		if w.Held {
			m.Fatalf("held: %s", w.Key)
		}
		m.q.log = []Wish{w}
		m.must(m.q.carryOut(m.s))
		m.noConflict()
	}
	m.q.log = nil
}

// check compares bucket and tree.
func (m *model) check() {
	want := m.keys()
	for key, body := range want {
		o, ok := m.s.objs[key]
		if !ok || o.body != body {
			m.Fatalf("%s: %q in the bucket, %q on disk", key, o.body, body)
		}
		delete(m.foreign, key)
	}
	for key, o := range m.s.objs {
		if _, ok := want[key]; ok {
			continue
		}
		if was, ok := m.foreign[key]; !ok || was != o {
			m.Fatalf("%s is in the bucket and not on disk", key)
		}
	}
	for key := range m.foreign {
		if _, ok := m.s.objs[key]; !ok {
			m.Fatalf("%s was somebody else's and is gone", key)
		}
	}
}

// Whatever happens to tree, ledger and bucket: after one scan with a listing the bucket equals the tree, nothing foreign
// was touched, and the next scan finds nothing to do.
func TestScanMakesTheBucketEqual(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(rt, base)
		defer func() { _ = os.RemoveAll(m.root) }()
		for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 12).Draw(rt, "steps") {
				m.step()
			}
			m.look()
			if _, err := m.f.Scan(rt.Context(), "", listed); err != nil {
				rt.Fatal(err)
			}
			m.settle()
			m.check()
			for _, opt := range []ScanOptions{deep, listed} {
				r, err := m.f.Scan(rt.Context(), "", opt)
				if err != nil || len(m.q.log) != 0 || r.Adopted+r.Drift+r.Sent+r.Deleted+r.Failed != 0 {
					rt.Fatalf("not at rest: %v, %+v, %+v", err, r, m.q.log)
				}
			}
		}
	})
}

func (m *model) step() {
	switch rapid.IntRange(0, 9).Draw(m.T, "step") {
	case 0, 1, 2:
		m.write(m.draw())
	case 3:
		m.mkdir(m.draw())
	case 4, 5:
		m.remove(m.draw())
	case 6, 7:
		m.rename(m.draw(), m.draw())
	default:
		m.disturb()
	}
}

// look does what goes on between two scans: nothing, changes of what was touched, or scans of single folders; and what is
// put is carried out or left in the queue.
func (m *model) look() {
	rels := slices.Sorted(maps.Keys(m.touched))
	clear(m.touched)
	switch rapid.IntRange(0, 2).Draw(m.T, "before the scan") {
	case 0:
		m.must(m.f.Change(m.Context(), rels))
	case 1:
		for _, rel := range rels {
			opt := ScanOptions{Deep: rapid.Bool().Draw(m.T, "deep"), List: rapid.Bool().Draw(m.T, "list"), Live: true}
			if _, err := m.f.Scan(m.Context(), rel, opt); err != nil {
				m.Fatal(err)
			}
		}
	}
	if rapid.Bool().Draw(m.T, "carry out") {
		m.settle()
		if len(m.foreign) == 0 {
			return
		}
	}
	for key := range m.foreign { // what was written over is ours again
		if o, ok := m.s.objs[key]; ok && o != m.foreign[key] {
			delete(m.foreign, key)
		}
	}
}

// The live path alone, without foreign objects: changes of what was touched make files and deletes equal, in an order that
// every store can follow. (The times of folders are left to scans; here only names and bytes are compared.)
func TestChangeMakesTheBucketEqual(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(rt, base)
		defer func() { _ = os.RemoveAll(m.root) }()
		for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			for range rapid.IntRange(1, 8).Draw(rt, "steps") {
				switch rapid.IntRange(0, 4).Draw(rt, "step") {
				case 0, 1:
					m.write(m.draw())
				case 2:
					m.mkdir(m.draw())
				default:
					m.remove(m.draw())
				}
			}
			rels := rapid.Permutation(slices.Sorted(maps.Keys(m.touched))).Draw(rt, "order")
			slices.SortStableFunc(rels, func(a, b string) int { return depthOf(a) - depthOf(b) }) // folders before what is in them
			clear(m.touched)
			m.must(m.f.Change(rt.Context(), rels))
			m.settle()
			m.check()
		}
	})
}
