package feeder

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"s3apu/internal/mounts"
	"s3apu/protocol"
)

// mounted is a bench whose table of mounts the test writes.
type mounted struct {
	*bench
	table map[string]mounts.Identity
	err   error
}

func newMounted(t *testing.T, table map[string]mounts.Identity) *mounted {
	m := &mounted{bench: newBench(t, nil), table: table}
	m.again(nil)
	return m
}

// again makes a new Feeder, as after a restart, that remembers was.
func (m *mounted) again(was []Seam) {
	m.remake(Folder{Root: m.root, Bucket: bucketName, Prefix: "p", Delete: true, Seams: was})
	m.f.seams.blind = false
	m.f.seams.look = func() (map[string]mounts.Identity, error) { return m.table, m.err }
}

// settled writes files below a mount and one beside it, and has them uploaded.
func (m *mounted) settled() {
	m.Helper()
	for _, f := range []string{"mnt/a", "mnt/d/b", "mnt/d/c", "k"} {
		m.write(f, f)
	}
	m.sync()
	_, put := m.scan("", deep)
	m.want(put)
}

// carried has what is to be uploaded carried out, and forgets what waits.
func (m *mounted) carried() {
	m.Helper()
	m.q.recs = map[protocol.Key]Record{}
	m.sync()
}

// hide moves what is mounted out of sight; show brings it back.
func (m *mounted) hide() {
	m.Helper()
	m.must(os.Rename(m.path("mnt"), m.root+".hidden"))
	m.mkdir("mnt")
	m.table = nil
}

func (m *mounted) show() {
	m.Helper()
	m.must(os.RemoveAll(m.path("mnt")))
	m.must(os.Rename(m.root+".hidden", m.path("mnt")))
	m.table = map[string]mounts.Identity{"mnt": "7@1"}
}

// A folder of the same device that was mounted is not any more: nothing below it is deleted, whoever asks, also after a
// restart; when it is back, what went from it meanwhile is deleted.
func TestMountOfTheSameDeviceGone(t *testing.T) {
	m := newMounted(t, map[string]mounts.Identity{"mnt": "7@1"})
	m.settled()
	m.hide()
	for round := range 3 {
		r, put := m.scan("", deep)
		if round == 0 {
			m.want(put, "mkd p/mnt/")
		} else {
			m.want(put)
		}
		if r.Frozen != 4 || r.Deleted+r.Held != 0 {
			t.Fatalf("%+v", r)
		}
		m.carried()
		m.want(m.change("mnt/a", "mnt/d", "mnt/d/b", "mnt"))
		_, put = m.scan("mnt", ScanOptions{})
		m.want(put)
		_, put = m.scan("mnt", deep)
		m.want(put)
		if f := m.f.Frozen(); len(f) != 1 || f[0].Path != "mnt" || f[0].Kept != 4 || f[0].Since.IsZero() {
			t.Fatalf("%+v", f)
		}
		m.again(m.f.Seams())
	}
	m.must(os.Remove(m.root + ".hidden/a"))
	m.show()
	_, put := m.scan("", deep)
	m.want(put, "mkd p/mnt/", "del p/mnt/a")
	if f := m.f.Frozen(); len(f) != 0 {
		t.Fatalf("%+v", f)
	}
	m.carried()
	m.remove("mnt/d/b")
	m.want(m.change("mnt/d/b"), "del p/mnt/d/b")
}

// What is deleted beside a mount that is gone does not wait, and does not count as a mass delete.
func TestOthersGoOnBesideAFrozenFolder(t *testing.T) {
	m := newMounted(t, map[string]mounts.Identity{"mnt": "7@1"})
	m.settled()
	m.write("other", "1")
	m.sync()
	st, err := lstat(m.path("mnt/a"))
	m.must(err)
	m.hide()
	for i := range 1200 {
		key := protocol.Key("p/mnt/z" + string(rune('a'+i%26)) + string(rune('a'+i/26)))
		m.q.rows[key] = &protocol.Entry{Bucket: bucketName, Key: key, Verb: protocol.Upl, Source: m.path(string(key[2:])), Stat: st}
	}
	m.remove("k")
	r, put := m.scan("", deep)
	m.want(put, "mkd p/mnt/", "del p/k")
	if r.Frozen != 1204 {
		t.Fatalf("%+v", r)
	}
	m.remove("other")
	m.want(m.change("other", "mnt/a"), "del p/other")
}

// The same where a scan has more to delete than it remembers, and reads the ledger anew.
func TestManyGoOnBesideAFrozenFolder(t *testing.T) {
	m := newMounted(t, map[string]mounts.Identity{"mnt": "7@1"})
	for _, f := range []string{"a", "b", "c"} {
		m.write(f, f)
	}
	m.settled()
	st, err := lstat(m.path("mnt/a"))
	m.must(err)
	m.hide()
	for i := range 1200 {
		key := protocol.Key(fmt.Sprintf("p/mnt/z%04d", i))
		m.q.rows[key] = &protocol.Entry{Bucket: bucketName, Key: key, Verb: protocol.Upl, Source: m.path(string(key[2:])), Stat: st}
	}
	for _, f := range []string{"a", "b", "c"} {
		m.remove(f)
	}
	m.f.remembers = 2
	r, put := m.scan("", deep)
	m.want(put, "mkd p/mnt/", "del p/a", "del p/b", "del p/c")
	if r.Held != 0 {
		t.Fatalf("%+v", r)
	}
}

// Something is mounted over a folder whose files were uploaded.
func TestMountOverAFolder(t *testing.T) {
	m := newMounted(t, nil)
	m.settled()
	m.hide()
	m.table = map[string]mounts.Identity{"mnt": "9@9"}
	m.write("mnt/new", "1")
	_, put := m.scan("", deep)
	m.want(put, "mkd p/mnt/", "upl p/mnt/new")
	m.q.recs = map[protocol.Key]Record{}
	_, err := m.f.Scan(t.Context(), "mnt", ScanOptions{})
	m.must(err)
	m.must(m.q.carryOut(m.s))
	m.want(m.change("mnt/a"))
	// The files of the new one are seen in it: it is there to stay, and what is missing waits for a person.
	_, put = m.scan("", deep)
	m.want(put)
	if was := m.f.Seams(); len(was) != 1 || !was[0].Doubt || was[0].Identity != "9@9" {
		t.Fatalf("%+v", was)
	}
	m.again(m.f.Seams())
	m.remove("mnt/new")
	m.want(m.change("mnt/new"), "held p/mnt/new")
	_, put = m.scan("", deep)
	m.want(put, "mkd p/mnt/", "held p/mnt/a", "held p/mnt/d/b", "held p/mnt/d/c", "held p/mnt/d/")
	if was := m.f.Seams(); len(was) != 1 || was[0].Doubt {
		t.Fatalf("%+v", was)
	}
	// The old one is back: what was held ends by itself, and nothing was deleted.
	m.show()
	m.table = nil
	_, put = m.scan("", deep)
	m.want(put, "upl p/mnt/a", "mkd p/mnt/d/", "upl p/mnt/d/b", "upl p/mnt/d/c")
	for _, rec := range m.q.recs {
		if rec.Held && rec.Key != "p/mnt/new" {
			t.Errorf("still held: %s", rec.Key)
		}
	}
}

// An empty place to mount at, and what is mounted there for the first time, are nothing to freeze for.
func TestMountWhereNothingWas(t *testing.T) {
	m := newMounted(t, nil)
	m.write("k", "1")
	m.mkdir("mnt")
	m.sync()
	m.table = map[string]mounts.Identity{"mnt": "7@1", "other/deep": "8"}
	m.scan("", deep)
	if f := m.f.Frozen(); len(f) != 0 {
		t.Fatalf("%+v", f)
	}
	m.write("mnt/a", "1")
	m.sync()
	m.remove("mnt/a")
	m.want(m.change("mnt/a"), "del p/mnt/a")
}

// Who takes the place to mount at away, after it was unmounted for good, is asked about what was below it.
func TestPlaceOfAMountRemoved(t *testing.T) {
	m := newMounted(t, map[string]mounts.Identity{"mnt": "7@1"})
	m.settled()
	m.hide()
	m.remove("mnt")
	m.want(m.change("mnt"), "held p/mnt/a", "held p/mnt/d/b", "held p/mnt/d/c", "held p/mnt/d/", "held p/mnt/")
	_, put := m.scan("", deep)
	m.want(put)
	if f, was := m.f.Frozen(), m.f.Seams(); len(f) != 0 || len(was) != 0 || was == nil {
		t.Fatalf("%+v %+v", f, was)
	}
}

// Another file system in the place of the one that was, with the same numbers as swapped disks have.
func TestOtherDiskMounted(t *testing.T) {
	m := newMounted(t, map[string]mounts.Identity{"mnt": "2@1"})
	m.settled()
	m.hide()
	m.table = map[string]mounts.Identity{"mnt": "2@2"}
	r, put := m.scan("", deep)
	m.want(put, "mkd p/mnt/")
	if r.Frozen != 4 {
		t.Fatalf("%+v", r)
	}
}

// A mount that goes between the last look at a file and the put takes its deletes along.
func TestMountGoesDuringAScan(t *testing.T) {
	m := newMounted(t, map[string]mounts.Identity{"mnt": "7@1"})
	m.settled()
	m.remove("mnt/a")
	m.remove("k")
	m.write("keep", "1")
	full := m.table
	looks := 0
	m.f.seams.look = func() (map[string]mounts.Identity, error) {
		if looks++; looks > 1 {
			return nil, nil
		}
		return full, nil
	}
	r, put := m.scan("", deep)
	m.want(put, "upl p/keep", "mkd p/mnt/", "del p/k")
	if r.Frozen != 1 || looks < 2 {
		t.Fatalf("%+v, %d looks", r, looks)
	}
}

// If the table of mounts cannot be read any more, nothing is deleted.
func TestMountsCannotBeRead(t *testing.T) {
	m := newMounted(t, nil)
	m.settled()
	m.remove("k")
	m.err = errors.New("no table")
	err := m.f.Change(t.Context(), []string{"k"})
	if kindIs(t, err, protocol.KindLocal); !errors.Is(err, ErrLeftOut) || m.f.Fit() != nil {
		t.Fatal(err) // the root is in order, and deletes were left out all the same
	}
	_, err = m.f.Scan(t.Context(), "", deep)
	kindIs(t, err, protocol.KindLocal)
	m.want(m.q.take())
	m.err = nil
	m.want(m.change("k"), "del p/k")
}

// Without the marker nothing is deleted; uploads go on, and deletes do when it is back.
func TestMarkerGone(t *testing.T) {
	b := newBench(t, func(f *Folder) { f.Marker = ".here/it" })
	b.write(".here/it", "")
	b.write("f", "1")
	b.write("g", "1")
	b.sync()
	b.remove(".here")
	b.remove("f")
	b.write("new", "1")
	_, err := b.f.Scan(t.Context(), "", deep)
	kindIs(t, err, protocol.KindLocal)
	b.want(b.q.take(), "upl p/new")
	b.must(b.q.carryOut(b.s))
	kindIs(t, b.f.Change(t.Context(), []string{"f"}), protocol.KindLocal)
	b.want(b.q.take())
	b.write(".here/it", "")
	b.want(b.change("f"), "del p/f")
}

// Of two tasks that look at the table at the same time, the one that looked last has the last word.
func TestOlderPictureOfTheMountsIsNotKept(t *testing.T) {
	m := newMounted(t, map[string]mounts.Identity{"mnt": "7@1"})
	m.settled()
	full, seams := m.table, m.f.seams
	second := make(chan error, 1)
	var looks atomic.Int32
	seams.look = func() (map[string]mounts.Identity, error) {
		if looks.Add(1) > 1 {
			return nil, nil // unmounted
		}
		done := make(chan struct{})
		go func() { second <- seams.refresh(); close(done) }()
		select {
		case <-done:
		case <-time.After(100 * time.Millisecond): // it waits for this one, as it should
		}
		return full, nil
	}
	m.must(seams.refresh())
	m.must(<-second)
	if !seams.any() || seams.judge("mnt/a") != frozen {
		t.Fatal("the mount that is gone is not noticed")
	}
}

// A doubt that comes up between the judging of deletes and their put holds them.
func TestLateDoubtHolds(t *testing.T) {
	m := newMounted(t, map[string]mounts.Identity{"mnt": "7@1"})
	m.settled()
	m.write("keep", "1")
	m.sync()
	m.remove("mnt/a")
	looks := 0
	m.f.seams.look = func() (map[string]mounts.Identity, error) {
		if looks++; looks == 2 { // another scan has ended
			m.f.seams.mu.Lock()
			m.f.seams.was["mnt"] = Seam{Path: "mnt", Identity: "7@1", Doubt: true}
			m.f.seams.mu.Unlock()
		}
		return m.table, nil
	}
	m.want(m.change("mnt/a"), "held p/mnt/a")
}

// A delete that has waited is not carried out while the root or the mount is away.
func TestMayGo(t *testing.T) {
	m := newMounted(t, map[string]mounts.Identity{"mnt": "7@1"})
	m.settled()
	m.remove("mnt/a")
	m.must(m.f.MayGo(m.path("mnt/a")))
	m.hide()
	kindIs(t, m.f.MayGo(m.path("mnt/a")), protocol.KindLocal)
	m.must(m.f.MayGo(m.path("k")))
	m.show()
	m.must(m.f.MayGo(m.path("mnt/a")))
	m.must(os.Rename(m.root, m.root+".away"))
	kindIs(t, m.f.MayGo(m.path("k")), protocol.KindLocal)
	m.must(m.f.MayGo("/elsewhere/k"))
	m.must(os.Mkdir(m.root, 0o755))
	kindIs(t, m.f.MayGo(m.path("k")), protocol.KindLocal)
}

// What is no file of the folder does not keep it from being empty.
func TestMarkerAndLinksDoNotFill(t *testing.T) {
	b := newBench(t, func(f *Folder) { f.Marker = ".here/it" })
	for _, f := range []string{".here/it", "f", "g"} {
		b.write(f, f)
	}
	b.must(os.Symlink("f", b.path("link")))
	b.sync()
	b.remove("f")
	b.remove("g")
	b.want(b.change("f", "g"), "held p/f", "held p/g")
}
