package arrows

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// source is one Go file of the module.
type source struct {
	name    string // slash-separated, from the module's root
	pkg     string // the name in its package clause
	imports []string
	lines   int
}

func (s source) dir() string { return path.Dir(s.name) }
func (s source) test() bool  { return strings.HasSuffix(s.name, "_test.go") }

// within reports whether the folder dir is that room or lies below it.
func within(dir, room string) bool { return dir == room || strings.HasPrefix(dir, room+"/") }

// check returns every broken rule of one file as a sentence.
func check(s source) []string {
	var broken []string
	say := func(format string, args ...any) {
		broken = append(broken, s.name+": "+fmt.Sprintf(format, args...))
	}
	i := slices.IndexFunc(plan, func(r room) bool { return within(s.dir(), r.dir) })
	if i < 0 {
		say("the folder has no row in the plan (internal/arrows/plan_test.go): say there what it may import")
		return broken
	}
	if name := strings.TrimSuffix(s.pkg, "_test"); slices.Contains(hollow, name) {
		say("package %s says nothing about what is inside: name it after what it owns", name)
	}
	if s.lines > linesMost {
		say("%d lines, the most is %d: let each file tell one story", s.lines, linesMost)
	}
	for _, imp := range s.imports {
		if reason := refuse(plan[i], s.test(), imp); reason != "" {
			say("must not import %s: %s", imp, reason)
		}
	}
	return broken
}

// refuse returns why a file of the room r may not import the path imp, or "".
func refuse(r room, test bool, imp string) string {
	if rest, ours := strings.CutPrefix(imp, module+"/"); ours {
		may := append([]string{r.dir}, r.may...)
		if test {
			may = append(may, r.tests...)
		}
		if slices.ContainsFunc(may, func(room string) bool { return within(rest, room) }) {
			return ""
		}
		return r.why
	}
	if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
		return "" // The standard library: its paths begin without a dot.
	}
	for _, f := range foreign {
		switch {
		case !strings.HasPrefix(imp, f.module):
		case slices.Contains(f.rooms, r.dir), f.rooms == nil && test:
			return ""
		default:
			return f.why
		}
	}
	return "the module has no row in the plan (internal/arrows/plan_test.go): a new dependency is a decision"
}

// sources parses the package clause and the imports of every Go file below root that the go command would look at.
func sources(t *testing.T, root string) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && p != root && (name == "testdata" || name[0] == '.' || name[0] == '_') {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), p, text, parser.ImportsOnly)
		if err != nil {
			return err
		}
		all = append(all, read(filepath.ToSlash(rel), file, text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func read(name string, file *ast.File, text []byte) source {
	s := source{name: name, pkg: file.Name.Name, lines: bytes.Count(text, []byte("\n"))}
	for _, imp := range file.Imports {
		if p, err := strconv.Unquote(imp.Path.Value); err == nil {
			s.imports = append(s.imports, p)
		}
	}
	return s
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), "module "+module+"\n") {
		t.Fatalf("%s does not declare module %s: the plan needs its new path", filepath.Join(root, "go.mod"), module)
	}
	return root
}

func TestEveryFileKeepsThePlan(t *testing.T) {
	all := sources(t, moduleRoot(t))
	if len(all) < 5 {
		t.Fatalf("only %d Go files found: the walk does not see the module", len(all))
	}
	for _, s := range all {
		for _, sentence := range check(s) {
			t.Error(sentence)
		}
		if s.lines > linesWarn && s.lines <= linesMost {
			t.Logf("%s: %d lines, more than the %d that a story should need", s.name, s.lines, linesWarn)
		}
	}
}

func TestTopLevelHoldsOnlyTheHouse(t *testing.T) {
	entries, err := os.ReadDir(moduleRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() && name != ".git" && !slices.Contains(folders, name) {
			t.Errorf("%s/: the top level holds only %s", name, strings.Join(folders, " "))
		}
		if !e.IsDir() && strings.HasSuffix(name, ".go") {
			t.Errorf("%s: no Go file at the top level, each belongs to a room", name)
		}
	}
}

// TestThePlanPointsDown holds the table against itself: a room may only be imported from rows that come after it, so
// that the arrows cannot form a ring. Rooms for tests and measurements are read by nobody but tests and the demo.
func TestThePlanPointsDown(t *testing.T) {
	floor := map[string]int{}
	for i, r := range plan {
		if _, twice := floor[r.dir]; twice {
			t.Errorf("%s has two rows", r.dir)
		}
		floor[r.dir] = i
	}
	for i, r := range plan {
		for _, m := range r.may {
			at, known := floor[m]
			switch {
			case !known:
				t.Errorf("%s may import %s, which has no row", r.dir, m)
			case at >= i && m != "internal/s3servers":
				t.Errorf("%s may import %s, which stands above it", r.dir, m)
			}
		}
	}
}

// TestBrokenRulesAreNamed makes sure that the check can fail: each row breaks one rule.
func TestBrokenRulesAreNamed(t *testing.T) {
	tests := []struct {
		s    source
		want string // part of the only sentence; "": the file is right
	}{
		{source{name: "watcher/a.go", imports: []string{"s3apu/protocol"}}, "nothing of ours"},
		{source{name: "watcher/a.go", imports: []string{"github.com/fsnotify/fsnotify", "os"}}, ""},
		{source{name: "worker/a.go", imports: []string{"s3apu/queue"}}, "neither the queue nor the SDK"},
		{source{name: "worker/a_test.go", imports: []string{"s3apu/queue"}}, "neither the queue nor the SDK"},
		{source{name: "worker/a_test.go", imports: []string{"pgregory.net/rapid"}}, ""},
		{source{name: "worker/a.go", imports: []string{"pgregory.net/rapid"}}, "a test tool"},
		{source{name: "worker/a.go", imports: []string{"github.com/aws/smithy-go"}}, "only internal/bucket"},
		{source{name: "internal/bucket/a.go", imports: []string{"github.com/aws/smithy-go"}}, ""},
		{source{name: "internal/bucket/a_test.go", imports: []string{"s3apu/internal/s3servers"}}, ""},
		{source{name: "internal/bucket/a.go", imports: []string{"s3apu/internal/s3servers"}}, "do not see each other"},
		{source{name: "protocol/a.go", imports: []string{"golang.org/x/sys/unix"}}, "rooms that touch the disk"},
		{source{name: "service/a.go", imports: []string{"github.com/kardianos/service"}}, ""},
		{source{name: "cmd/x/main.go", imports: []string{"s3apu/agent"}}, "few lines"},
		{source{name: "agent/a.go", imports: []string{"github.com/new/thing"}}, "a new dependency is a decision"},
		{source{name: "agent/sub/a.go", imports: []string{"s3apu/agent", "s3apu/queue"}}, ""},
		{source{name: "elsewhere/a.go"}, "no row in the plan"},
		{source{name: "queue/common/a.go", pkg: "common"}, "says nothing"},
		{source{name: "queue/a.go", lines: linesMost + 1}, "the most is"},
		{source{name: "queuex/a.go"}, "no row in the plan"},
	}
	for _, tt := range tests {
		got := check(tt.s)
		switch {
		case tt.want == "" && len(got) != 0:
			t.Errorf("%v: unexpected: %q", tt.s, got)
		case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want) || !strings.HasPrefix(got[0], tt.s.name)):
			t.Errorf("%v: got %q, want one sentence with %q", tt.s, got, tt.want)
		}
	}
}
