package feeder

import (
	"slices"
	"testing"

	"s3apu/protocol"
)

// In doubt about the root, nothing is deleted without a person, renamed or not.
func TestRenameInADoubtfulRootIsHeld(t *testing.T) {
	b := newBench(t, nil)
	b.write("a", "1")
	b.write("keep", "0")
	b.sync()
	b.remake(Folder{Root: b.root, Bucket: bucketName, Prefix: "p", Delete: true, Doubt: true})
	b.rename("a", "b")
	b.want(b.change("b"), "cpo p/a p/b", "held p/a")
	if why := b.f.LastHold().Why; why != whyReplaced {
		t.Errorf("it is held because %q", why)
	}
}

// Where nothing may be deleted, a renamed file is copied all the same.
func TestRenameWithoutDeletes(t *testing.T) {
	b := newBench(t, func(f *Folder) { f.Delete = false })
	b.write("a", "1")
	b.sync()
	b.rename("a", "b")
	b.want(b.change("b", "a"), "cpo p/a p/b")
}

// What is under way for the old name decides.
func TestRenameOfANameThatIsBusy(t *testing.T) {
	del, upl := protocol.Instruction{Verb: protocol.Del, Key: "p/a"}, protocol.Instruction{Verb: protocol.Upl, Key: "p/a"}
	for name, c := range map[string]struct {
		rec  Record
		want []string
	}{
		"a delete waits":            {Record{Instruction: del, Hint: true}, []string{"cpo p/a p/b", "del p/a"}},
		"a delete is held":          {Record{Instruction: del, Hint: true, Held: true}, []string{"cpo p/a p/b", "del p/a"}},
		"it is being deleted":       {Record{Instruction: del, Hint: true, Leased: true}, []string{"upl p/b"}},
		"an upload waits":           {Record{Instruction: upl, Hint: true}, []string{"upl p/b"}},
		"an upload was given up":    {Record{Instruction: upl, Hint: true, Dead: true}, []string{"cpo p/a p/b", "del p/a"}},
		"a client wants it deleted": {Record{Instruction: del}, []string{"upl p/b"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.write("a", "1")
			b.write("keep", "0")
			b.sync()
			b.rename("a", "b")
			b.q.recs["p/a"] = c.rec
			b.want(b.change("b"), c.want...)
		})
	}
}

// A file that is gone from its new name, too, takes the delete of its old name with it: that is judged anew.
func TestRenameIsLookedAtOnceMore(t *testing.T) {
	b := newBench(t, nil)
	b.write("a", "1")
	b.write("keep", "0")
	b.sync()
	b.rename("a", "b")
	b.q.onRoom = func() {
		b.q.onRoom = nil
		b.rename("b", "c")
	}
	_, err := b.f.Scan(b.Context(), "", deep)
	b.must(err)
	for _, w := range b.q.log {
		if w.Renamed {
			t.Error("the delete of the old name was put all the same")
		}
	}
	b.want(b.q.take(), "del p/a") // as of any file that is missed
	slices.Sort(b.marked)
	b.want(slices.Compact(b.marked), "a", "b")
}

// A file that moves between two watched folders of one bucket is copied; each folder deletes what is its own.
func TestRenameAcrossFolders(t *testing.T) {
	b := newBench(t, nil)
	b.write("one/a", "1")
	b.write("one/keep", "1")
	b.mkdir("two")
	folder := func(name string) *Feeder {
		f, err := New(Folder{Root: b.path(name), Bucket: bucketName, Prefix: "p/" + name, Delete: true}, b.q, b.s, nil, nil, nil)
		b.must(err)
		return f
	}
	one, two := folder("one"), folder("two")
	_, err := one.Scan(b.Context(), "", deep)
	b.must(err)
	b.must(b.q.carryOut(b.s))
	b.rename("one/a", "two/b")
	b.must(two.Change(b.Context(), []string{"b"}))
	b.want(b.q.take(), "cpo p/one/a p/two/b")
	b.must(one.Change(b.Context(), []string{"a"}))
	b.want(b.q.take(), "del p/one/a")
}

// The deletes of the live class wait a moment, for the new name may be seen later than the old one is missed.
func TestLateDeletes(t *testing.T) {
	b := newBench(t, nil)
	b.write("a", "1")
	b.write("keep", "0")
	b.sync()
	b.rename("a", "b")
	b.must(b.f.Change(b.Context(), []string{"a"}))
	if w := b.q.log[0]; w.Verb != protocol.Del || w.Delay != lateFor || w.Renamed {
		t.Errorf("put %+v", w)
	}
	b.q.take()
	b.must(b.f.Change(b.Context(), []string{"b"}))
	if w := b.q.log[1]; w.Verb != protocol.Del || w.Delay != 0 || !w.Renamed {
		t.Errorf("put %+v", w)
	}
	b.want(b.q.take(), "cpo p/a p/b", "del p/a")
}
