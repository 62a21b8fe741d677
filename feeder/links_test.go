//go:build unix

package feeder

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"s3apu/internal/mounts"
	"s3apu/protocol"
)

func (b *bench) link(to, rel string) {
	b.Helper()
	_ = os.Remove(b.path(rel))
	b.must(os.Symlink(to, b.path(rel)))
}

// linked is a bench whose links are treated by a rule; scanned has what is to be scanned behind links.
func linked(t *testing.T, rule string) (b *bench, scanned *[]string) {
	t.Helper()
	scanned = new([]string)
	b = newBench(t, func(f *Folder) {
		f.Links, f.Rescan = rule, func(rel string) { *scanned = append(*scanned, rel) }
	})
	return b, scanned
}

// What a scan wishes for is in key order also where a link stands for a folder, and names every link astray once.
func TestScanOfLinks(t *testing.T) {
	fill := func(b *bench) {
		b.write("a/f", "1")
		b.write("m-file", "2")
		b.link("a", "m")
		b.link("m-file", "z")
		b.link("..", "a/up")
		b.link("/etc", "out")
		b.link("none", "gone")
	}
	b, _ := linked(t, "follow")
	fill(b)
	r, put := b.scan("", deep)
	b.want(put, "mkd p/a/", "upl p/a/f", "upl p/m-file", "mkd p/m/", "upl p/m/f", "upl p/z")
	if r.Links != 4 || r.Skipped != 4 { // a/up, gone, m/up, out
		t.Fatalf("%+v", r)
	}
	b, _ = linked(t, "store")
	fill(b)
	r, put = b.scan("", deep)
	b.want(put, "mkd p/a/", "upl p/a/f", "upl p/a/up", "upl p/gone", "upl p/m", "upl p/m-file", "upl p/out", "upl p/z")
	if r.Skipped != 0 {
		t.Fatalf("%+v", r)
	}
	b, _ = linked(t, "skip")
	fill(b)
	r, put = b.scan("", deep)
	b.want(put, "mkd p/a/", "upl p/a/f", "upl p/m-file")
	if r.Skipped != 5 || r.Links != 0 {
		t.Fatalf("%+v", r)
	}
}

// What changes behind a link is looked at under the link's name too, and a busy file is waited for under its own.
// Both ends of a run resolve links at the same time.
func TestRunOfFollowedLinks(t *testing.T) {
	b, _ := linked(t, "follow")
	b.write("t/x", "1")
	want := []string{"mkd p/t/", "upl p/t/x", "mkd p/d/"}
	b.mkdir("d")
	for i := range runMost + 2 {
		name := fmt.Sprintf("d/f%05d", i)
		b.link("../t/x", name)
		want = append(want, "upl p/"+name)
	}
	r, put := b.scan("", deep)
	slices.Sort(want)
	slices.Sort(put)
	if !slices.Equal(put, want) || r.Skipped != 0 {
		t.Errorf("%+v, put %q", r, put)
	}
}

func TestChangeBehindALink(t *testing.T) {
	b, scanned := linked(t, "follow")
	b.write("d/f", "1")
	b.link("d", "l")
	b.link("d/f", "lf")
	_, put := b.scan("", deep)
	b.want(put, "mkd p/d/", "upl p/d/f", "mkd p/l/", "upl p/l/f", "upl p/lf")
	put = b.change("d/f")
	slices.Sort(put)
	b.want(put, "upl p/d/f", "upl p/l/f", "upl p/lf")
	b.busy["d/f"] = true
	b.want(b.change("lf"))
	if len(b.marked) == 0 || b.marked[len(b.marked)-1] != "d/f" {
		t.Fatalf("marked %q", b.marked)
	}
	if b.scan("d", deep); !slices.Equal(*scanned, []string{"l"}) {
		t.Fatalf("scanned behind links: %q", *scanned)
	}
	if b.scan("l", deep); len(*scanned) != 1 {
		t.Fatalf("a scan behind a link led to another: %q", *scanned)
	}
	b.link("/etc", "l") // what a link that leads out stood for stays as it is
	b.q.take()
	b.want(b.change("l", "l/f"))
}

// Links that lead to folders which hold links in turn: a change is looked at under each name, and that is the end of it.
func TestLinksAcrossEnd(t *testing.T) {
	for _, c := range []struct {
		what  string
		links [][2]string // target, link
		names []string    // scanned beside a/new and a
	}{
		{"two that cross", [][2]string{{"../b", "a/l"}, {"../a", "b/k"}}, []string{"b/k", "b/k/new"}},
		{"a ring of three", [][2]string{{"../b", "a/l"}, {"../c", "b/m"}, {"../a", "c/n"}}, []string{"c/n", "c/n/new"}},
		{"to itself", [][2]string{{"self", "a/self"}}, nil},
		{"to its folder, and the one above", [][2]string{{".", "a/here"}, {"..", "a/up"}, {"../../a", "a/d/up"}}, nil},
		{"one behind the other", [][2]string{{"a", "l"}, {"l", "m"}, {"../b", "a/n"}}, []string{"l", "l/new", "m", "m/new"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			b, scanned := linked(t, "follow")
			for _, dir := range []string{"a/d", "b", "c"} {
				b.mkdir(dir)
			}
			for _, l := range c.links {
				b.link(l[0], l[1])
			}
			b.scan("", deep)
			b.mkdir("a/new")
			*scanned = []string{"a/new", "a"}
			for i := 0; i < len(*scanned); i++ {
				if b.scan((*scanned)[i], deep); i > 20 {
					t.Fatalf("there is no end to it: %q", *scanned)
				}
			}
			more := (*scanned)[2:]
			if slices.Sort(more); !slices.Equal(more, c.names) {
				t.Errorf("scanned behind links: %q, want %q", more, c.names)
			}
			for _, l := range c.links { // each is made again
				*scanned = []string{}
				b.link(l[0], l[1])
				b.change(l[1])
				for i := 0; i < len(*scanned); i++ {
					if b.scan((*scanned)[i], deep); i > 20 {
						t.Fatalf("%s again: there is no end to it: %q", l[1], *scanned)
					}
				}
			}
		})
	}
}

// A link that has become a folder does not keep what is in it from being looked at under the names of other links.
func TestFolderWhereALinkWas(t *testing.T) {
	b, scanned := linked(t, "follow")
	b.mkdir("b")
	b.mkdir("a")
	b.link("../b", "a/l")
	b.link("a", "k")
	b.scan("", deep)
	b.remove("a/l")
	b.write("a/l/f", "1")
	put := b.change("a/l/f")
	slices.Sort(put)
	b.want(put, "upl p/a/l/f", "upl p/k/l/f")
	if b.scan("a/l", deep); !slices.Equal(*scanned, []string{"k/l"}) {
		t.Errorf("scanned behind links: %q", *scanned)
	}
}

// What is not a folder is a change, and nothing to scan behind links.
func TestScanOfNoFolderEnds(t *testing.T) {
	b, scanned := linked(t, "follow")
	b.write("a/f", "1")
	b.link("a", "l")
	b.scan("", deep)
	for _, rel := range []string{"a/f", "a/none"} {
		if b.scan(rel, deep); len(*scanned) != 0 {
			t.Errorf("scan of %s: %q", rel, *scanned)
		}
	}
}

func TestBadRuleForLinks(t *testing.T) {
	for _, f := range []Folder{{Links: "copy"}, {Links: "follow"}} {
		f.Root = t.TempDir()
		if _, err := New(f, newFakeQueue(), nil, nil, nil, nil); err == nil {
			t.Errorf("%+v is taken", f)
		}
	}
}

// stat is lstat with the link at the end followed.
func stat(path string) (protocol.Stat, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return protocol.Stat{}, err
	}
	return lstat(real)
}

// A followed link that leads below a mount is as good as what it leads to: while the disk is away nothing is deleted under
// the link's name either, also by an agent that has never seen it.
func TestNoDeleteBehindALinkToAMount(t *testing.T) {
	for _, to := range []string{"mnt/d", "./mnt/../mnt/d", "other"} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprint(to, " restarted ", restarted), func(t *testing.T) {
				m := &mounted{bench: newBench(t, nil), table: map[string]mounts.Identity{"mnt": "7@1"}}
				again := func(was []Seam) {
					m.remake(Folder{Root: m.root, Bucket: bucketName, Prefix: "p", Delete: true, Seams: was,
						Links: linksFollow, Rescan: func(string) {}})
					m.f.seams.blind = false
					m.f.seams.look = func() (map[string]mounts.Identity, error) { return m.table, m.err }
				}
				again(nil)
				m.q.look = stat
				for _, f := range []string{"mnt/a", "mnt/d/b", "mnt/d/e/c", "k"} {
					m.write(f, f)
				}
				m.must(os.Symlink("mnt/d", m.path("other")))
				m.must(os.Symlink(to, m.path("l")))
				m.must(os.Symlink("mnt/a", m.path("lf")))
				m.sync()
				_, put := m.scan("", deep)
				m.want(put)
				m.hide()
				if restarted {
					again(m.f.Seams())
				}
				if r, _ := m.scan("", deep); r.Deleted+r.Held != 0 {
					t.Errorf("%+v", r)
				}
				for _, put := range m.change("l", "lf", "l/b", "l/e", "l/e/c", "other/b") {
					if strings.HasPrefix(put, "del") {
						t.Error(put)
					}
				}
				for _, rel := range []string{"lf", "l/b", "l/e/c", "mnt/a"} {
					kindIs(t, m.f.MayGo(m.path(rel)), protocol.KindLocal)
				}
				m.must(m.f.MayGo(m.path("k")))
			})
		}
	}
}
