package feeder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"s3apu/protocol"
)

func TestFeed(t *testing.T) {
	tree := []string{"1", "a/2", "a/b/3", "a/b/c/4", "a-b/5", "a.b", "a0", "empty/"}
	for _, c := range []struct {
		name string
		opt  FeedOptions
		objs []string
		want string
	}{
		{"current folder", FeedOptions{KeyRoot: "k", Recursion: 1}, nil, "upl k/1|mkd k/a-b|upl k/a.b|mkd k/a|upl k/a0|mkd k/empty"},
		{"two deep", FeedOptions{KeyRoot: "k", Recursion: 2}, nil,
			"upl k/1|mkd k/a-b|upl k/a-b/5|upl k/a.b|mkd k/a|upl k/a/2|mkd k/a/b|upl k/a0|mkd k/empty"},
		{"all the way", FeedOptions{}, nil,
			"upl 1|mkd a-b|upl a-b/5|upl a.b|mkd a|upl a/2|mkd a/b|upl a/b/3|mkd a/b/c|upl a/b/c/4|upl a0|mkd empty"},
		{"key root with a slash", FeedOptions{KeyRoot: "x/y/", Recursion: 1}, nil, "upl x/y/1|mkd x/y/a-b|upl x/y/a.b|mkd x/y/a|upl x/y/a0|mkd x/y/empty"},
		{"objects are not looked at unless asked", FeedOptions{KeyRoot: "k", Recursion: 1}, []string{"k/1", "k/a"},
			"upl k/1|mkd k/a-b|upl k/a.b|mkd k/a|upl k/a0|mkd k/empty"},
		{"missing only", FeedOptions{KeyRoot: "k", CheckMissing: true},
			[]string{"k/1", "k/a", "k/a-b/", "k/a/b/3", "k/a/x", "k/empty", "k/zz", "kk"},
			"upl k/a-b/5|upl k/a.b|upl k/a/2|mkd k/a/b/c|upl k/a/b/c/4|upl k/a0"},
		{"missing only, folders that have something in them are there", FeedOptions{KeyRoot: "k", CheckMissing: true},
			[]string{"k/a-b/x", "k/a/b/c/4", "k/empty/"}, "upl k/1|upl k/a-b/5|upl k/a.b|upl k/a/2|upl k/a/b/3|upl k/a0"},
		{"missing only, current folder", FeedOptions{KeyRoot: "k", CheckMissing: true, Recursion: 1},
			[]string{"k/1", "k/a/b/c/x", "k/a-b", "k/empty/"}, "upl k/a.b|upl k/a0"},
		{"missing only, names and nothing else", FeedOptions{KeyRoot: "k", CheckMissing: true, Recursion: 1},
			[]string{"k/1", "k/a", "k/a-b", "k/a.b", "k/a0", "k/empty"}, ""},
		{"missing only, no prefix", FeedOptions{CheckMissing: true, Recursion: 1}, []string{"1", "a", "a-b", "a.b"}, "upl a0|mkd empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			for _, f := range tree {
				if rel, ok := strings.CutSuffix(f, "/"); ok {
					b.mkdir(rel)
				} else {
					b.write(f, "1")
				}
			}
			for _, o := range c.objs {
				b.s.put(protocol.Key(o), "other bytes", false)
			}
			var got []string
			c.opt.Root, c.opt.List = b.root, b.s
			c.opt.Put = func(_ context.Context, ins []protocol.Instruction) error {
				for _, i := range ins {
					got = append(got, i.Verb.String()+" "+string(i.Key))
					if err := i.Check(); err != nil || i.Bucket != "" || i.Verb == protocol.Upl && !strings.HasPrefix(i.Source, b.root+string(os.PathSeparator)) {
						t.Errorf("%+v: %v", i, err)
					}
				}
				return nil
			}
			r, err := Feed(t.Context(), c.opt)
			b.must(err)
			if strings.Join(got, "|") != c.want {
				t.Fatalf("put  %q\nwant %q", strings.Join(got, "|"), c.want)
			}
			asks := 0
			if c.opt.CheckMissing {
				asks = 1
			}
			if r.Sent != int64(len(got)) || r.Foreign != 0 || b.s.asks != asks || r.Degraded != nil {
				t.Fatalf("%+v after %d listings", r, b.s.asks)
			}
		})
	}
}

func TestFeedDegrades(t *testing.T) {
	b := newBench(t, nil)
	for _, f := range []string{"a", "b", "c"} {
		b.write(f, "1")
		b.s.put(protocol.Key("k/"+f), "", false)
	}
	n := 0
	opt := FeedOptions{Root: b.root, KeyRoot: "k", CheckMissing: true, List: b.s,
		Put: func(_ context.Context, ins []protocol.Instruction) error { n += len(ins); return nil }}
	b.s.fail = errors.New("403")
	for at, want := range map[int]int{0: 3, 1: 2, 2: 1} {
		n, b.s.at = 0, at
		r, err := Feed(t.Context(), opt)
		b.must(err)
		if n != want || !errors.Is(r.Degraded, b.s.fail) {
			t.Fatalf("%d: put %d, %+v", at, n, r)
		}
	}
	opt.List, n = nil, 0
	if r, err := Feed(t.Context(), opt); err != nil || n != 3 || r.Degraded == nil {
		t.Fatal(n, r, err)
	}
}

func TestFeedRefuses(t *testing.T) {
	put := func(context.Context, []protocol.Instruction) error { return nil }
	root := t.TempDir()
	for _, c := range []struct {
		opt  FeedOptions
		kind protocol.Kind
	}{
		{FeedOptions{Root: root, Recursion: -1, Put: put}, protocol.KindUsage},
		{FeedOptions{Root: root, KeyRoot: "/k", Put: put}, protocol.KindUsage},
		{FeedOptions{Root: root}, protocol.KindUsage},
		{FeedOptions{Put: put}, protocol.KindUsage},
		{FeedOptions{Root: filepath.Join(root, "missing"), Put: put}, protocol.KindLocal},
	} {
		_, err := Feed(t.Context(), c.opt)
		kindIs(t, err, c.kind)
	}
}

func TestFeedFails(t *testing.T) {
	b := newBench(t, nil)
	b.write("f", "1")
	b.write(strings.Repeat("n", 250), "1")
	full := errors.New("full")
	opt := FeedOptions{Root: b.root, KeyRoot: strings.TrimSuffix(strings.Repeat(strings.Repeat("k", 159)+"/", 5), "/")}
	opt.Put = func(context.Context, []protocol.Instruction) error { return full }
	if _, err := Feed(t.Context(), opt); !errors.Is(err, full) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Feed(ctx, opt); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	opt.Put = func(context.Context, []protocol.Instruction) error { return nil }
	var said []string
	opt.Failed = func(path string, err *protocol.Error) { said = append(said, fmt.Sprint(path, err)) }
	r, err := Feed(t.Context(), opt)
	if err != nil || r.Failed != 1 || r.Sent != 1 || len(said) != 1 {
		t.Fatal(r, err, said)
	}
}
