package feeder

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3apu/protocol"
)

func TestMassDeleteIsHeld(t *testing.T) {
	for _, c := range []struct {
		lately, n, rows int64
		want            bool
	}{
		{0, 0, 0, false},
		{0, 1000, 0, false},
		{0, 1001, 0, true},
		{1000, 1, 0, true},
		{500, 500, 19_999, false},
		{0, 2000, 40_000, false},
		{0, 2001, 40_000, true},
		{1999, 1, 40_000, false},
		{2000, 1, 40_000, true},
	} {
		g := newGuard(t.TempDir(), func(string, bool) bool { return true })
		if err := os.WriteFile(filepath.Join(g.root, "k"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		g.counted(c.rows)
		g.note(c.lately)
		if got, why := g.hold(c.n); got != c.want {
			t.Errorf("%+v: %v %s", c, got, why)
		}
		if n := max(c.lately+c.n, g.least()); c.want && n < g.least() {
			t.Errorf("%+v: least %d", c, g.least())
		}
	}
}

func TestDeletesAreCountedForFiveMinutes(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "k"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(root, func(string, bool) bool { return true })
		for range 10 {
			g.note(100)
			<-time.After(20 * time.Second)
		}
		if held, _ := g.hold(1); !held { // 1,000 within 200 s
			t.Fatal("not held")
		}
		<-time.After(101 * time.Second) // the first hundred is older than 5 minutes now
		if held, why := g.hold(1); held {
			t.Fatal(why)
		}
		if held, _ := g.hold(101); !held {
			t.Fatal("not held")
		}
		<-time.After(holdWithin)
		if held, why := g.hold(1000); held || len(g.past) != 0 {
			t.Fatal(why)
		}
		for range 1000 {
			g.note(1)
		}
		if len(g.past) != 1 {
			t.Fatalf("%d bursts", len(g.past))
		}
	})
}

func TestManyChangesAreHeld(t *testing.T) {
	b := newBench(t, nil)
	b.write("zz", "")
	b.sync()
	st, err := lstat(b.path("zz"))
	b.must(err)
	var rels []string
	for i := range 1100 {
		rel := fmt.Sprintf("f%04d", i)
		rels = append(rels, rel)
		b.q.rows[protocol.Key("p/"+rel)] = &protocol.Entry{Bucket: bucketName, Key: protocol.Key("p/" + rel), Verb: protocol.Upl, Source: b.path(rel), Stat: st}
	}
	count := func(put []string) (held, dels int) {
		for _, p := range put {
			if strings.HasPrefix(p, "held ") {
				held++
			} else if strings.HasPrefix(p, "del ") {
				dels++
			}
		}
		return held, dels
	}
	if held, dels := count(b.change(rels[:900]...)); held != 0 || dels != 900 {
		t.Fatal(held, dels)
	}
	b.write("zz", "2")
	put := b.change(append(rels[900:], "zz")...)
	if held, dels := count(put); held != 200 || dels != 0 || put[0] != "upl p/zz" {
		t.Fatal(held, dels, put[0])
	}
	if total := b.f.Total(); total.Held != 200 || total.Deleted != 900 {
		t.Fatalf("%+v", total)
	}
}

// A folder of more rows than may go at once is held as one.
func TestGoneFolderIsHeldAsOne(t *testing.T) {
	b := newBench(t, nil)
	b.write("zz", "")
	b.sync()
	st, err := lstat(b.path("zz"))
	b.must(err)
	for i := range 1001 {
		rel := fmt.Sprintf("d/f%04d", i)
		b.q.rows[protocol.Key("p/"+rel)] = &protocol.Entry{Bucket: bucketName, Key: protocol.Key("p/" + rel), Verb: protocol.Upl, Source: b.path(rel), Stat: st}
	}
	put := b.change("d")
	if len(put) != 1001 || put[0] != "held p/d/f0000" || put[1000] != "held p/d/f1000" {
		t.Fatalf("%d %q", len(put), put[:1])
	}
}

func TestSuddenlyEmptyRootIsHeld(t *testing.T) {
	for _, how := range []string{"scan", "change"} {
		b := newBench(t, nil)
		b.write("a/f", "1")
		b.write("g", "1")
		b.sync()
		b.remove("a")
		b.remove("g")
		if how == "scan" {
			_, put := b.scan("", deep)
			b.want(put, "held p/a/f", "held p/a/", "held p/g")
		} else {
			b.want(b.change("a", "g"), "held p/a/f", "held p/a/", "held p/g")
		}
		b.write("h", "1")
		b.want(b.change("h"), "upl p/h") // uploads go on
	}
	// The last file of an inbox may go.
	b := newBench(t, nil)
	b.write("g", "1")
	b.sync()
	b.remove("g")
	b.want(b.change("g"), "del p/g")
	// What does not belong to the folder does not fill it.
	b = newBench(t, func(f *Folder) { f.Match = func(rel string, _ bool) bool { return rel != "lost+found" } })
	b.write("g", "1")
	b.write("h", "1")
	b.write("lost+found/x", "1")
	b.sync()
	b.remove("g")
	b.remove("h")
	b.want(b.change("g", "h"), "held p/g", "held p/h")
}

// Another folder in the root's place: uploads go on, nothing is deleted, and it heals when the old one is back.
func TestRootReplaced(t *testing.T) {
	b := newBench(t, nil)
	root := b.root + "/inbox"
	b.must(os.Mkdir(root, 0o755))
	b.root = root
	b.remake(Folder{Root: root, Bucket: bucketName, Prefix: "p", Delete: true})
	b.write("d/f", "1")
	b.write("g", "1")
	b.sync()

	away := filepath.Join(t.TempDir(), "away")
	b.must(os.Rename(root, away))
	kindIs(t, b.f.Change(t.Context(), []string{"d", "g"}), protocol.KindLocal) // nothing there at all
	b.want(b.q.take())
	if len(b.q.failed) != 0 {
		t.Fatalf("listed %v", b.q.failed)
	}
	_, err := b.f.Scan(t.Context(), "", deep)
	kindIs(t, err, protocol.KindLocal)
	_, err = b.f.Scan(t.Context(), "d", deep)
	kindIs(t, err, protocol.KindLocal)

	b.must(os.WriteFile(root, nil, 0o644)) // a file
	_, err = b.f.Scan(t.Context(), "", deep)
	kindIs(t, err, protocol.KindLocal)
	b.must(os.Remove(root))

	b.must(os.Mkdir(root, 0o755)) // an empty folder, for as long as it likes
	for range 3 {
		_, err = b.f.Scan(t.Context(), "", deep)
		kindIs(t, err, protocol.KindLocal)
		kindIs(t, b.f.Change(t.Context(), []string{"d", "g"}), protocol.KindLocal)
		b.want(b.q.take())
	}
	b.write("new", "1")
	_, err = b.f.Scan(t.Context(), "", deep)
	kindIs(t, err, protocol.KindLocal)
	b.want(b.q.take(), "upl p/new")
	b.q.recs = map[protocol.Key]Record{}

	b.must(os.RemoveAll(root))
	b.must(os.Rename(away, root))
	_, put := b.scan("", deep)
	b.want(put)
	b.remove("g")
	b.want(b.change("g"), "del p/g")
}

// What is decided about a root that is another one is not put, and nobody is told that it is held.
func TestOnlyWhatIsHeldIsSaidToBe(t *testing.T) {
	b := newBench(t, nil)
	root := b.root + "/inbox"
	b.must(os.Mkdir(root, 0o755))
	b.root = root
	var log strings.Builder
	rest := func(string, protocol.Stat) bool { return true }
	f, err := New(Folder{Root: root, Bucket: bucketName, Prefix: "p", Delete: true}, b.q, b.s, rest, func(string) {},
		slog.New(slog.NewTextHandler(&log, nil)))
	b.must(err)
	b.f = f
	for i := range 30 {
		b.write(fmt.Sprint("f", i), "1")
	}
	b.sync()
	away := filepath.Join(t.TempDir(), "away")
	b.must(os.Rename(root, away))
	b.must(os.Mkdir(root, 0o755))
	_, err = b.f.Scan(t.Context(), "", deep)
	kindIs(t, err, protocol.KindLocal)
	if b.want(b.q.take()); strings.Contains(log.String(), "held for a person") {
		t.Fatalf("nothing is held, and the log says %s", log.String())
	}
	b.must(os.Remove(root))
	b.must(os.Rename(away, root))
	for i := range 30 {
		b.remove(fmt.Sprint("f", i))
	}
	if report, _ := b.scan("", deep); report.Held != 30 || strings.Count(log.String(), "held for a person") != 1 {
		t.Fatalf("%d are held, and the log says %s", report.Held, log.String())
	}
}

// A root that was made anew for good is taken for the old one as soon as what was uploaded from it is seen in it.
func TestRootMadeAnew(t *testing.T) {
	b := newBench(t, nil)
	root := b.root + "/inbox"
	b.must(os.Mkdir(root, 0o755))
	b.root = root
	b.remake(Folder{Root: root, Bucket: bucketName, Prefix: "p", Delete: true})
	for _, f := range []string{"a", "b", "c"} {
		b.write(f, f)
	}
	b.sync()
	b.must(os.Rename(root, root+"-old"))
	b.must(os.Mkdir(root, 0o755))
	b.write("a", "new")
	_, err := b.f.Scan(t.Context(), "", deep)
	kindIs(t, err, protocol.KindLocal)
	b.must(b.q.carryOut(b.s)) // uploads a
	_, err = b.f.Scan(t.Context(), "", deep)
	kindIs(t, err, protocol.KindLocal) // and is seen now
	b.want(b.q.take())
	_, put := b.scan("", deep)
	b.want(put, "held p/b", "held p/c") // for somebody may have put it there who did not mean to
	b.write("later", "1")
	b.sync()
	b.remove("later")
	b.want(b.change("later"), "del p/later")
}

// An agent that was started while another folder lay in the root's place knows the old one again at once, and does not
// take the other one for it: what goes after that is no matter for a person.
func TestTheOldRootIsKnownAgain(t *testing.T) {
	b := newBench(t, nil)
	root := b.root + "/inbox"
	b.must(os.Mkdir(root, 0o755))
	if !RootIdentity(root).Sure() {
		t.Skip("the file system keeps no time of birth")
	}
	b.root = root
	folder := Folder{Root: root, Bucket: bucketName, Prefix: "p", Delete: true}
	b.remake(folder)
	for _, f := range []string{"a", "b", "c"} {
		b.write(f, f)
	}
	b.sync()
	b.scan("", deep)
	home := b.f.Home()
	if home != RootIdentity(root) {
		t.Fatalf("home is %q", home)
	}
	b.must(os.Rename(root, root+"-away"))
	b.must(os.Mkdir(root, 0o755))
	b.remake(folder)
	b.f.Recall(true, home, nil)
	_, put := b.scan("", deep)
	b.want(put, "held p/a", "held p/b", "held p/c")
	if b.f.Home() != home {
		t.Fatal("an empty folder is taken for the root")
	}
	b.q.recs = map[protocol.Key]Record{}
	b.must(os.Remove(root))
	b.must(os.Rename(root+"-away", root))
	b.remove("b")
	b.want(b.change("b"), "del p/b")
}

// A root whose names can be read, and nothing else, is lost.
func TestRootWithoutTheRightToEnter(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may enter every folder; TestMountsAndRoots (e2e) runs the agent as somebody else")
	}
	b := newBench(t, nil)
	b.write("a", "1")
	b.sync()
	b.must(os.Chmod(b.root, 0o444))
	t.Cleanup(func() { b.must(os.Chmod(b.root, 0o700)) })
	_, err := b.f.Scan(t.Context(), "", deep)
	kindIs(t, err, protocol.KindLocal)
	if len(b.q.failed) != 0 {
		t.Fatalf("listed %v", b.q.failed)
	}
}

// Rows from another device than the one that lies there now: something was mounted that is not.
func TestDeviceWentAway(t *testing.T) {
	b := newBench(t, nil)
	b.write("mnt/f", "1")
	b.write("mnt/deep/g", "1")
	b.write("k", "1")
	b.write("top", "1")
	b.sync()
	if b.q.rows["p/k"].Dev == 0 {
		t.Skip("no device numbers on this system")
	}
	for _, key := range []protocol.Key{"p/mnt/f", "p/mnt/deep/", "p/mnt/deep/g"} {
		b.q.rows[key].Dev += 1000
	}
	b.remove("mnt/f")
	b.remove("mnt/deep")
	r, put := b.scan("", deep)
	b.want(put, "mkd p/mnt/")
	if r.Deleted+r.Held != 0 || r.Skipped != 3 {
		t.Fatalf("%+v", r)
	}
	b.q.recs = map[protocol.Key]Record{}
	b.want(b.change("mnt/f", "mnt/deep"))
	b.q.rows["p/top"].Dev += 1000
	b.remove("top")
	b.want(b.change("top"), "held p/top") // directly in the root a person decides
}

func TestDevicesAreBounded(t *testing.T) {
	g := newGuard(t.TempDir(), nil)
	for i := range uint64(1000) {
		g.learn(i+2, 1)
	}
	if len(g.devices) != devicesMax || !g.together(2, 1) || g.together(900, 1) || !g.together(0, 1) {
		t.Fatal(len(g.devices))
	}
}
