package protocol

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestKeyCheck(t *testing.T) {
	for _, tc := range []struct {
		key  Key
		want error
	}{
		{"a", nil}, {"a/b", nil}, {"a/", nil}, {"é 日本?#%|;", nil}, {"...", nil}, {"a//b", nil}, {"a/..b", nil},
		{"line\nbreak", nil},
		{Key(strings.Repeat("k", MaxKeyBytes)), nil},
		{Key(strings.Repeat("é", MaxKeyBytes/2)), nil},
		{"", ErrKeyEmpty},
		{Key(strings.Repeat("k", MaxKeyBytes+1)), ErrKeyLong},
		{Key(strings.Repeat("é", MaxKeyBytes/2) + "x"), ErrKeyLong},
		{"/a", ErrKeySlash}, {"/", ErrKeySlash},
		{"a\xff", ErrKeyUTF8}, {"\xc3", ErrKeyUTF8}, {"\xed\xa0\x80", ErrKeyUTF8},
		{"a\x00b", ErrKeyNUL},
		{"..", ErrKeyDots}, {".", ErrKeyDots}, {"a/../b", ErrKeyDots}, {"a/./b", ErrKeyDots}, {"a/..", ErrKeyDots}, {"../a", ErrKeyDots},
	} {
		if err := tc.key.Check(); !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
			t.Errorf("Key(%.40q).Check() = %v, want %v", tc.key, err, tc.want)
		}
	}
}

func TestKeyParents(t *testing.T) {
	for _, tc := range []struct {
		key  Key
		want []Key
	}{
		{"a/b/c", []Key{"a/b", "a"}}, {"a/b/c/", []Key{"a/b", "a"}}, {"a", nil}, {"a/", nil}, {"a/b", []Key{"a"}},
	} {
		if got := slices.Collect(tc.key.Parents); !slices.Equal(got, tc.want) {
			t.Errorf("Parents of %q: %q, want %q", tc.key, got, tc.want)
		}
	}
	for k := range Key("a/b/c").Parents {
		if k != "a/b" {
			t.Errorf("a loop that ends early saw %q", k)
		}
		break
	}
	if Key("a").IsFolder() || !Key("a/").IsFolder() {
		t.Error("IsFolder is not about the trailing slash")
	}
}

func TestParseObjectID(t *testing.T) {
	for _, tc := range []struct {
		text string
		want ObjectID
		ok   bool
	}{
		{"/b/k", ObjectID{"b", "k"}, true}, {"/b/k/l/", ObjectID{"b", "k/l/"}, true},
		{"b/k", ObjectID{}, false}, {"/b", ObjectID{}, false}, {"/b/", ObjectID{}, false}, {"//k", ObjectID{}, false},
		{"", ObjectID{}, false}, {"/b//k", ObjectID{}, false}, {"/b/../k", ObjectID{}, false},
	} {
		got, err := ParseObjectID(tc.text)
		if got != tc.want || (err == nil) != tc.ok {
			t.Errorf("ParseObjectID(%q) = %v, %v", tc.text, got, err)
		}
		if err == nil && got.String() != tc.text {
			t.Errorf("%q comes back as %q", tc.text, got)
		}
	}
}

func TestVerbs(t *testing.T) {
	for v, name := range map[Verb]string{Mkd: "mkd", Upl: "upl", Cpo: "cpo", Del: "del"} {
		if got, ok := ParseVerb(name); got != v || !ok || v.String() != name {
			t.Errorf("%s: parsed as %v, printed as %s", name, got, v)
		}
	}
	for _, name := range []string{"", "MKD", "get", "mk", "mkdd", "verb(0)"} {
		if v, ok := ParseVerb(name); ok || v != 0 {
			t.Errorf("%q was taken as %v", name, v)
		}
	}
	if s := Verb(0).String() + Verb(9).String(); s != "verb(0)verb(9)" {
		t.Error(s)
	}
	if Live.String() != "live" || Backfill.String() != "backfill" {
		t.Error("the names of the classes")
	}
}

func TestInstructionCheck(t *testing.T) {
	for _, tc := range []struct {
		in Instruction
		ok bool
	}{
		{Instruction{Verb: Mkd, Key: "a"}, true},
		{Instruction{Verb: Mkd, Key: "a/"}, true},
		{Instruction{Verb: Mkd, Key: "a", Source: "/s"}, true},
		{Instruction{Verb: Mkd, Key: "a", Source: "s"}, false},
		{Instruction{Verb: Del, Key: "a", Source: "/s"}, false},
		{Instruction{Verb: Upl, Key: "a", Source: `/s/a\..\b`}, true},
		{Instruction{Verb: Del, Key: "a/"}, true},
		{Instruction{Verb: Del, Key: ""}, false},
		{Instruction{Verb: Upl, Key: "a", Source: "/s"}, true},
		{Instruction{Verb: Upl, Key: "a", Source: `C:\s`}, true},
		{Instruction{Verb: Upl, Key: "a", Source: `z:/s`}, true},
		{Instruction{Verb: Upl, Key: "a", Source: `:/s`}, false},
		{Instruction{Verb: Upl, Key: "a", Source: "s"}, false},
		{Instruction{Verb: Upl, Key: "a", Source: ""}, false},
		{Instruction{Verb: Upl, Key: "a/", Source: "/s"}, false},
		{Instruction{Verb: Upl, Key: "a", Source: "/s/../t"}, false},
		{Instruction{Verb: Upl, Key: "a", Source: `C:\s\..\t`}, false},
		{Instruction{Verb: Upl, Key: "a", Source: "/s\x00"}, false},
		{Instruction{Verb: Upl, Key: "a", Source: "/\xff"}, true},
		{Instruction{Verb: Cpo, Key: "a", Source: "/b/k"}, true},
		{Instruction{Verb: Cpo, Key: "a", Source: "b/k"}, false},
		{Instruction{Verb: 0, Key: "a"}, false},
		{Instruction{Verb: 7, Key: "a"}, false},
	} {
		if err := tc.in.Check(); (err == nil) != tc.ok {
			t.Errorf("%+v: %v", tc.in, err)
		}
	}
	in := Instruction{Verb: Del, Bucket: "b", Key: "k"}
	if in.ID() != (ObjectID{"b", "k"}) || (&Entry{Bucket: "b", Key: "k"}).ID() != in.ID() {
		t.Error("ID")
	}
}

func TestErrorText(t *testing.T) {
	cause := errors.New("permission\ndenied")
	for want, e := range map[string]*Error{
		"upload /a: permission denied (403 AccessDenied); look": {Op: "upload", Object: "/a", Status: 403, Code: "AccessDenied", Hint: "look", Err: cause},
		"upload: slow (503)":  {Op: "upload", Kind: KindSlow, Status: 503},
		"upload: unknown (X)": {Op: "upload", Code: "X"},
		"upload: kind(99)":    {Op: "upload", Kind: 99},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if !errors.Is(&Error{Err: cause}, cause) {
		t.Error("the cause is not found")
	}
}

func TestErrorKinds(t *testing.T) {
	seen := map[string]bool{}
	for k := KindUnknown; k <= KindDamaged; k++ {
		if name := k.String(); name == "" || strings.HasPrefix(name, "kind(") || seen[name] {
			t.Errorf("kind %d is named %q", k, name)
		} else {
			seen[name] = true
		}
	}
	e := &Error{Op: "x", Kind: KindBusy}
	if KindOf(fmt.Errorf("y: %w", e)) != KindBusy || KindOf(io.EOF) != KindUnknown || KindOf(nil) != KindUnknown {
		t.Error("KindOf")
	}
	if AsError(nil, "a", "b") != nil || AsError(fmt.Errorf("y: %w", e), "a", "b") != e {
		t.Error("AsError of nil, or of an Error")
	}
	if w := AsError(io.EOF, "a", "b"); w.Op != "a" || w.Object != "b" || w.Kind != KindUnknown || !errors.Is(w, io.EOF) {
		t.Errorf("AsError wrapped as %+v", w)
	}
}

func TestOutcomes(t *testing.T) {
	seen := map[string]bool{}
	for o := Done; o <= LeaseLost; o++ {
		if s := o.String(); s == "unknown outcome" || seen[s] {
			t.Errorf("outcome %d is named %q", o, s)
		} else {
			seen[s] = true
		}
	}
	if Outcome(0).String() != "unknown outcome" {
		t.Error("the zero outcome has a name")
	}
}

func TestStat(t *testing.T) {
	s := Stat{Size: 1, MTime: 2, CTime: 3, Dev: 4, Ino: 5, Mode: ModeFile | 0o644, UID: 6, GID: 7}
	if !s.IsFile() || s.IsFolder() || !(Stat{Mode: ModeFolder | 0o755}).IsFolder() || (Stat{Mode: ModeLink | 0o777}).IsFile() {
		t.Error("the types")
	}
	change := func(f func(*Stat)) Stat { c := s; f(&c); return c }
	for name, tc := range map[string]struct {
		o                   Stat
		content, attributes bool
	}{
		"same":  {s, true, true},
		"size":  {change(func(o *Stat) { o.Size++ }), false, true},
		"mtime": {change(func(o *Stat) { o.MTime++ }), false, false},
		"ctime": {change(func(o *Stat) { o.CTime++ }), true, true},
		"dev":   {change(func(o *Stat) { o.Dev++ }), false, true},
		"ino":   {change(func(o *Stat) { o.Ino++ }), false, true},
		"mode":  {change(func(o *Stat) { o.Mode ^= 0o100 }), true, false},
		"type":  {change(func(o *Stat) { o.Mode = ModeLink | 0o644 }), false, false},
		"uid":   {change(func(o *Stat) { o.UID++ }), true, false},
		"gid":   {change(func(o *Stat) { o.GID++ }), true, false},
	} {
		if s.SameContent(tc.o) != tc.content || s.SameAttributes(tc.o) != tc.attributes {
			t.Errorf("%s: content %v, attributes %v", name, s.SameContent(tc.o), s.SameAttributes(tc.o))
		}
	}
}
