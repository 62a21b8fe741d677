package protocol

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestSourcePolicy(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege on Windows")
	}
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(p string) string { return base + "/" + p }
	for _, d := range []string{"in/sub", "in2", "inside-not", "out/deep"} {
		if err := os.MkdirAll(at(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"in/file", "in/sub/file", "out/secret", "out/deep/file", "single", "inside-not/file"} {
		if err := os.WriteFile(at(f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"in/out-file": at("out/secret"), "in/out-dir": at("out"), "in/rel-out": "../out/secret", "in/rel-in": "sub/file", "in/to-sub": at("in/sub"),
		"in/dangling-out": at("out/later"), "in/dangling-in": at("in/later"), "in/chain": "chain2", "in/chain2": at("out/secret"),
		"in/loop": "loop", "in/dangling-chain": "dangling-out", "in/up": "..", "in/dot": ".", "in/cross": at("in2/new"),
		"in/link-up": "out-deep/../secret", "in/out-deep": at("out/deep"), "root-link": at("in2"), "out/back": at("in/file"),
		"in/void": at("no/such/place"), "in/slash": at("out") + "/",
	} {
		if err := os.Symlink(to, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	check := SourcePolicy([]string{at("in"), at("root-link"), at("missing-root"), at("single")})
	for path, rule := range map[string]string{
		at("in/file"):           "",
		at("in/sub/file"):       "",
		at("in/later"):          "", // may come
		at("in/./sub//file"):    "",
		at("in"):                "",
		at("single"):            "",
		at("in/rel-in"):         "",
		at("in/to-sub/file"):    "",
		at("in/to-sub/later"):   "",
		at("in/dangling-in"):    "",
		at("in/dot/file"):       "",
		at("in2/x"):             "", // the root is a link to it
		at("root-link/x"):       "",
		at("in/cross"):          "",
		at("out/back"):          "", // leads in
		at("in/out-file"):       "leads to",
		at("in/out-dir/secret"): "leads to",
		at("in/out-dir/later"):  "leads to",
		at("in/rel-out"):        "leads to",
		at("in/chain"):          "leads to",
		at("in/dangling-out"):   "leads to",
		at("in/dangling-chain"): "leads to",
		at("in/up/out/secret"):  "leads to",
		at("in/up"):             "leads to",
		at("in/link-up"):        "leads to",
		at("in/slash"):          "leads to",
		at("in/loop"):           "too many links",
		at("in/void"):           "cannot be resolved",
		at("in/no-such-dir/f"):  "cannot be resolved",
		at("in/file/f"):         "cannot be resolved",
		at("out/secret"):        "outside",
		at("inside-not/file"):   "outside",
		at("in-later"):          "outside",
		at("missing-root/x"):    "cannot be resolved",
		base:                    "outside",
		"/":                     "outside",
		at("in/../out/secret"):  `".."`,
		at("in/sub/.."):         `".."`,
		"in/file":               "absolute",
		"":                      "absolute",
		at("in/a\x00b"):         "NUL",
	} {
		err := check(path)
		if rule == "" && err != nil || rule != "" && (err == nil || !strings.Contains(err.Error(), rule)) {
			t.Errorf("%s: %v, want %q", path, err, rule)
		}
	}
	if err := SourcePolicy(nil)(at("in/file")); err == nil {
		t.Error("without roots a source was allowed")
	}
	if err := SourcePolicy([]string{"/"})(at("out/secret")); err != nil {
		t.Errorf("below /: %v", err)
	}
}

// A root that comes later, or is a link that is moved, is followed within a second.
func TestSourceRootMoves(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(base, "root")
	check := SourcePolicy([]string{root})
	if check(filepath.Join(root, "f")) == nil {
		t.Error("below a root that is not there")
	}
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the root is seen", func() bool { return check(filepath.Join(root, "f")) == nil })
	if err := os.Rename(root, root+"2"); err != nil {
		t.Fatal(err)
	}
	if check(filepath.Join(root, "f")) == nil {
		t.Error("the root has gone and its files are still allowed")
	}
}

// What was seen of a folder for one request is not believed for the next one.
func TestSourcesSeeWhatMoved(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege on Windows")
	}
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	in, out := filepath.Join(base, "in"), filepath.Join(base, "out")
	for _, d := range []string{in + "/sub", in + "/other", out} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w := dialWire(t, "tcp", startServer(t, &Server{Handler: newFakeQueue(), Sources: NewSources([]string{in})}))
	ask := func(want string, files ...string) {
		t.Helper()
		for _, f := range files {
			w.send(b64("upl|"+filepath.Join(in, f)+"|k") + "\n")
		}
		for _, f := range files {
			if got := w.text(); got != want {
				t.Fatalf("%s was answered %q, want %q", f, got, want)
			}
		}
	}
	ask("ok", "sub/a", "sub/b", "other/a", "sub/c", "top")
	for range 20 {
		if err := os.Rename(in+"/sub", in+"/away"); err != nil {
			t.Fatal(err)
		}
		ask("invalid", "sub/a", "sub/b")
		if err := os.Symlink(out, in+"/sub"); err != nil {
			t.Fatal(err)
		}
		ask("invalid", "sub/a", "sub/b")
		if err := os.Remove(in + "/sub"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(in+"/away", in+"/sub"); err != nil {
			t.Fatal(err)
		}
		ask("ok", "sub/a", "sub/b")
		if err := os.Symlink(out+"/secret", in+"/sub/b"); err != nil {
			t.Fatal(err)
		}
		ask("invalid", "sub/b")
		if err := os.Remove(in + "/sub/b"); err != nil {
			t.Fatal(err)
		}
	}
}
