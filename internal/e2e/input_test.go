//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"s3apu/internal/cli"
	"s3apu/internal/s3servers"
)

// oneLine reports whether a program's complaint is a single line that holds every word.
func oneLine(stderr string, words ...string) error {
	if n := strings.Count(strings.TrimRight(stderr, "\n"), "\n"); n != 0 || !strings.HasSuffix(stderr, "\n") {
		return fmt.Errorf("%d lines instead of one:\n%s", n+1, stderr)
	}
	for _, w := range words {
		if !strings.Contains(stderr, w) {
			return fmt.Errorf("%q does not say %q", stderr, w)
		}
	}
	return nil
}

// TestBadConfigurationEndsBeforeAnythingIsTouched goes through the configurations that cannot work: one clear line, the
// exit code of the table, and neither a state_dir nor a request.
func TestBadConfigurationEndsBeforeAnythingIsTouched(t *testing.T) {
	gate(t)
	tests := []struct {
		name   string
		change func(*box)
		code   int
		words  []string
	}{
		{"an unknown key", func(b *box) { b.server = "colour = \"red\"" }, cli.ExitUsage, []string{"config.toml:9:1", "colour"}},
		{"a misspelt key", func(b *box) { b.server = "regoin = \"x\"" }, cli.ExitUsage, []string{"config.toml:9:1", "regoin", "region"}},
		{"an unknown table", func(b *box) { b.extra = "[sokcet]\nunix = \"/x\"" }, cli.ExitUsage, []string{"config.toml:", "sokcet"}},
		{"not TOML", func(b *box) { b.server = "acl = public-read" }, cli.ExitUsage, []string{"config.toml:9:7"}},
		{"a bad glob", func(b *box) { b.extra = folderToml(b.dir, "second", "include = [\"[a-\"]") }, cli.ExitUsage, []string{"[a-", "include"}},
		{"a missing folder", func(b *box) { b.extra = folderToml(filepath.Join(b.dir, "gone"), "second", "") }, cli.ExitLocal, []string{"gone", "no such file"}},
		{"two folders on one prefix", func(b *box) { b.extra = folderToml("/etc", "in", "") }, cli.ExitUsage, []string{"prefix", "in", "/etc"}},
		{"no bucket", func(b *box) { b.bucket = "" }, cli.ExitUsage, []string{"bucket"}},
		{"a relative folder", func(b *box) { b.extra = folderToml("tree", "second", "") }, cli.ExitUsage, []string{"absolute"}},
		{"a state_dir in the folder", func(b *box) { b.state = filepath.Join(b.tree, "state") }, cli.ExitUsage, []string{"state_dir", "inside"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			counts := newTally("e2e-input")
			b := newBox(t, serveNull(t, counts), "e2e-input")
			tt.change(b)
			b.save(t)
			code, _, errs := b.run(t, "s3apu-agent", "run")
			if err := oneLine(errs, tt.words...); err != nil || code != tt.code {
				t.Errorf("run ended with %d, want %d: %v", code, tt.code, err)
			}
			if counts.total() != 0 {
				t.Errorf("run made %d requests", counts.total())
			}
			if code, out, _ := b.run(t, "s3apu-agent", "check"); code != tt.code {
				t.Errorf("check ended with %d, want %d: %s", code, tt.code, out)
			}
			if _, err := os.Lstat(b.state); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the state_dir was made (%v)", err)
			}
		})
	}
}

// folderToml is one more [[folder]] section.
func folderToml(path, prefix, more string) string {
	return fmt.Sprintf("[[folder]]\npath = %q\nprefix = %q\n%s\n", path, prefix, more)
}

func TestNoConfigurationAndWrongArguments(t *testing.T) {
	gate(t)
	b := newBox(t, "http://127.0.0.1:9", "e2e-input")
	code, _, errs := b.run(t, "s3apu-agent", "run")
	if err := oneLine(errs, b.config, "s3apu-agent init"); err != nil || code != cli.ExitUsage {
		t.Errorf("without a configuration run ended with %d: %v", code, err)
	}
	b.save(t)
	tests := []struct {
		args []string
		code int
	}{
		{[]string{"s3apu-agent", "rnu"}, cli.ExitUsage},
		{[]string{"s3apu-agent", "run", "now"}, cli.ExitUsage},
		{[]string{"s3apu-agent", "run", "--no-such-flag"}, cli.ExitUsage},
		{[]string{"s3apu-agent", "queue", "nothing"}, cli.ExitUsage},
		{[]string{"s3apu-agent", "queue", "retry"}, cli.ExitUsage},
		{[]string{"s3apu-agent", "queue", "status"}, cli.ExitNoAgent},
		{[]string{"s3apu-agent", "queue", "failed"}, cli.ExitNoAgent},
		{[]string{"util_q_status"}, cli.ExitNoAgent},
		{[]string{"util_feed"}, cli.ExitUsage},
		{[]string{"util_feed", "/no/such/folder"}, cli.ExitUsage},
		{[]string{"util_feed", "/etc", "key", "deep"}, cli.ExitUsage},
		{[]string{"util_get_meta"}, cli.ExitUsage},
		{[]string{"util_list", "a", "b", "c", "d"}, cli.ExitUsage},
		{[]string{"util_list", "in"}, cli.ExitTarget},
	}
	for _, tt := range tests {
		code, _, errs := b.run(t, tt.args[0], tt.args[1:]...)
		if err := oneLine(lastLine(errs)); err != nil || code != tt.code {
			t.Errorf("%q ended with %d, want %d: %s", tt.args, code, tt.code, errs)
		}
	}
}

func lastLine(s string) string {
	lines := strings.SplitAfter(s, "\n")
	return lines[max(0, len(lines)-2)]
}

// TestStateDirInUseOrDamaged starts a second agent on one state_dir, and one on a store with a broken file.
func TestStateDirInUseOrDamaged(t *testing.T) {
	gate(t)
	b := newBox(t, serveNull(t, newTally("e2e-state")), "e2e-state")
	b.save(t)
	b.put(t, "file", []byte("x"))
	a := b.startReady(t)
	second := *b
	second.config, second.socket = filepath.Join(b.dir, "second.toml"), filepath.Join(b.dir, "s2")
	second.save(t)
	code, _, errs := second.run(t, "s3apu-agent", "run")
	if err := oneLine(errs, b.state); err != nil || code != cli.ExitLocked {
		t.Errorf("a second agent ended with %d, want %d: %v", code, cli.ExitLocked, err)
	}
	if code, out, _ := b.run(t, "util_q_status"); code != 0 || !strings.HasPrefix(out, "qsize:") {
		t.Errorf("the first agent no longer answers: %d %q", code, out)
	}
	a.stop(t)

	damaged := 0
	must(t, filepath.WalkDir(b.state, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), "MANIFEST-") {
			damaged++
			err = os.WriteFile(path, []byte("this is not a manifest"), 0o600)
		}
		return err
	}))
	if damaged == 0 {
		t.Fatal("no file of the store to damage was found")
	}
	code, out, errs := b.run(t, "s3apu-agent", "check")
	if err := oneLine(errs, "listed above"); err != nil || code != cli.ExitDamaged || !strings.Contains(out, b.state) {
		t.Errorf("on a damaged store check ended with %d, want %d: %v; it said %q", code, cli.ExitDamaged, err, out)
	}
	b.startReady(t).stop(t) // it begins anew
	if aside, err := filepath.Glob(filepath.Join(b.state, "queue.damaged-*", "v1", "MANIFEST-*")); err != nil || len(aside) != damaged {
		t.Errorf("of the damaged store %q was kept (%v)", aside, err)
	}
}

// TestTargetThatCannotBeUsed goes through endpoints, keys and buckets that are wrong: check says so and ends with its
// code; run says it once, keeps everything, shows it on /healthz, and goes on by itself when it is mended.
func TestTargetThatCannotBeUsed(t *testing.T) {
	gate(t)
	for _, kind := range realServers {
		t.Run(string(kind), func(t *testing.T) {
			srv := s3servers.Start(t, kind)
			tests := []struct {
				name  string
				spoil func(t *testing.T, b *box)
				mend  func(t *testing.T, b *box)
			}{
				{"the bucket is not there", func(*testing.T, *box) {},
					func(t *testing.T, b *box) { srv.Bucket(t, b.bucket) }},
				{"the secret is wrong",
					func(t *testing.T, b *box) { srv.Bucket(t, b.bucket); b.secret = "wrong-secret-key" },
					func(t *testing.T, b *box) { b.secret = srv.SecretKey; b.save(t) }},
				{"nobody listens",
					func(t *testing.T, b *box) { srv.Bucket(t, b.bucket); b.endpoint = "http://" + freeAddr(t) },
					func(t *testing.T, b *box) { forward(t, strings.TrimPrefix(b.endpoint, "http://"), srv.Endpoint) }},
			}
			for i, tt := range tests {
				t.Run(tt.name, func(t *testing.T) {
					b := boxFor(t, srv, fmt.Sprintf("e2e-target-%d", i))
					tt.spoil(t, b)
					targetComesBack(t, srv, b, tt.mend)
				})
			}
		})
	}
}

func targetComesBack(t *testing.T, srv *s3servers.Server, b *box, mend func(*testing.T, *box)) {
	t.Helper()
	page := freeAddr(t)
	b.extra = fmt.Sprintf("[http]\nlisten = %q\n", page)
	b.save(t)
	const files = 50
	for i := range files {
		b.put(t, fmt.Sprintf("file %d", i), noise(uint64(i), 300))
	}
	if code, out, errs := b.run(t, "s3apu-agent", "check"); code != cli.ExitTarget || !strings.Contains(out+errs, "FAILED") {
		t.Errorf("check ended with %d, want %d: %s%s", code, cli.ExitTarget, out, errs)
	}
	a := b.startReady(t)
	if strings.Contains(a.log.tail(1000), b.secret) {
		t.Error("the log holds the secret")
	}
	eventually(t, readyIn, func() error {
		resp, err := http.Get("http://" + page + "/healthz")
		if err != nil {
			return err
		}
		if err := resp.Body.Close(); err != nil {
			return err
		}
		if resp.StatusCode == http.StatusOK {
			return errors.New("/healthz says that all is well")
		}
		return nil
	})
	_, status, _ := b.run(t, "util_q_status")
	if !strings.HasPrefix(status, fmt.Sprintf("qsize:%d|", files)) {
		t.Errorf("not everything is kept in the queue: %s", status)
	}
	said := a.log.count("level=ERROR") + a.log.count("level=WARN")
	if said == 0 || said > 3 {
		t.Errorf("%d warnings and errors were logged, want one or two:\n%s", said, a.log.tail(20))
	}
	began := time.Now()
	mend(t, b)
	b.equal(t, openBucket(t, srv, b.bucket), "the target was mended")
	t.Logf("everything was there %v after it was mended", time.Since(began).Round(100*time.Millisecond))
	eventually(t, readyIn, func() error {
		resp, err := http.Get("http://" + page + "/healthz")
		if err != nil {
			return err
		}
		if err := resp.Body.Close(); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("/healthz still answers %d", resp.StatusCode)
		}
		return nil
	})
	a.stop(t)
}

// forward listens where nobody did, and serves the server there: an endpoint that came back.
func forward(t *testing.T, addr, endpoint string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	must(t, err)
	srv := &http.Server{Handler: proxyTo(t, endpoint), ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		_ = srv.Close() // the agent is gone by then
		<-done
	})
}

// TestSocketAnswersInvalidAndGoesOn sends what no client should: each is refused, the connection goes on, the error log
// has a line.
func TestSocketAnswersInvalidAndGoesOn(t *testing.T) {
	gate(t)
	b := newBox(t, serveNull(t, newTally("e2e-socket")), "e2e-socket")
	logs := filepath.Join(b.dir, "logs")
	must(t, os.Mkdir(logs, 0o755))
	b.extra = fmt.Sprintf("[log]\nfolder = %q\n", logs)
	b.save(t)
	b.put(t, "file", []byte("x"))
	must(t, os.Symlink("/etc/passwd", filepath.Join(b.tree, "out")))
	must(t, os.Symlink("/etc", filepath.Join(b.tree, "outdir")))
	a := b.startReady(t)
	c := b.dial(t)
	file := filepath.Join(b.tree, "file")
	raw := []string{"this is not base64!\n", "####\n", strings.Repeat("QUFB", 1<<18) + "\n"}
	for _, line := range raw {
		if answer := c.raw(line); answer != "invalid" {
			t.Errorf("%.20q…: %q", line, answer)
		}
	}
	for _, instruction := range []string{
		"xyz|a", "upl", "upl|" + file, "upl||key", "mkd|", "del|", "mkd", "cpo|/bucket|key", "cpo|bucket/key|to", "cpo|/b/k",
		"upl|" + file + "|/leading", "mkd|/leading", "del|/leading", "cpo|/b/k|/leading",
		"upl|relative|key", "upl|" + b.tree + "/../etc/passwd|key", "upl|/etc/passwd|key",
		"upl|" + b.tree + "/out|key", "upl|" + b.tree + "/outdir/passwd|key",
		"del|" + strings.Repeat("k", 1025), "del|a/../b", "del|nul\x00byte", "del|nul%00byte", "del|broken%zz", "get|", "get|x", "get|-1",
		"upl|" + file + "|a|b",
	} {
		if answer := c.ask(instruction); answer != "invalid" {
			t.Errorf("%.60q: %q, want invalid", instruction, answer)
		}
	}
	if answer := c.ask("upl|" + file + "|sent/after/all"); answer != "ok" {
		t.Errorf("the connection did not go on: %q", answer)
	}
	eventually(t, settledIn, func() error {
		text, err := os.ReadFile(filepath.Join(logs, "s3_queue_error.log"))
		if err == nil && strings.Count(string(text), "\n") < 5 {
			err = fmt.Errorf("s3_queue_error.log holds only %q", text)
		}
		return err
	})
	a.stop(t)
}

// TestBadFilesAreListedAndTheRestGoesOn has files that cannot go: the others do, and "queue failed" names each with its
// reason. The agent runs as an ordinary user, because root can read everything.
func TestBadFilesAreListedAndTheRestGoesOn(t *testing.T) {
	gate(t)
	for _, kind := range realServers {
		t.Run(string(kind), func(t *testing.T) {
			srv := s3servers.Start(t, kind)
			s3 := srv.Bucket(t, "e2e-badfiles")
			b := boxFor(t, srv, "e2e-badfiles")
			b.user = ordinaryUser()
			b.extra = "[worker]\nmax_retries = 2\n"
			b.put(t, "good/1", []byte("1"))
			b.put(t, "closed", []byte("nobody may read this"))
			must(t, os.Chmod(filepath.Join(b.tree, "closed"), 0))
			b.put(t, "not utf-8 \xff\xfe", []byte("x"))
			long := strings.Repeat(strings.Repeat("d", 200)+"/", 5) + strings.Repeat("f", 100)
			b.put(t, long, []byte("too long for a key"))
			if b.user != nil {
				b.own(t, b.dir, b.tree, filepath.Join(b.tree, "closed"))
			}
			b.save(t)
			a := b.startReady(t)
			b.put(t, "good/2", []byte("2"))
			for _, key := range []string{"in/good/1", "in/good/2"} {
				eventually(t, settledIn, func() error { return there(t, s3, key) })
			}
			eventually(t, settledIn, func() error {
				code, out, errs := b.run(t, "s3apu-agent", "queue", "failed")
				for _, want := range []string{"closed", "permission denied", "not utf-8", "UTF-8", "dddd", "longer than"} {
					if code != 0 || !strings.Contains(out, want) {
						return fmt.Errorf("queue failed (%d) does not say %q: %s%s", code, want, squeeze(out), errs)
					}
				}
				return nil
			})
			// Mended, it goes, and is no longer listed.
			must(t, os.Chmod(filepath.Join(b.tree, "closed"), 0o644))
			eventually(t, settledIn, func() error { return there(t, s3, "in/closed") })
			if _, out, _ := b.run(t, "s3apu-agent", "queue", "failed"); strings.Contains(out, "closed") {
				t.Errorf("what went is still listed: %s", out)
			}
			a.stop(t)
		})
	}
}

// squeeze makes a table with very long keys readable.
func squeeze(s string) string {
	return strings.ReplaceAll(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' }), " "), strings.Repeat("d", 200), "ddd")
}
