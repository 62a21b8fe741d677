package cli

import (
	"crypto/md5"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"s3apu/internal/s3servers"
	"s3apu/protocol"
)

// programs are the commands that scripts may call; each is this test binary under another name.
func programs() map[string]func() {
	m := map[string]func(){"s3apu-agent": func() { Exit("s3apu-agent") }}
	for name := range utilities() {
		m[name] = func() { Exit(name) }
	}
	return m
}

func TestMain(m *testing.M) { testscript.Main(m, programs()) }

// TestScripts runs testdata/*.txt. Each script has an S3 server with the bucket test-bucket, which holds a few objects,
// a configuration config.toml for it, and a folder inbox.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			test, ok := env.T().(testing.TB)
			if !ok {
				return errors.New("the scripts need a testing.TB")
			}
			s := s3servers.Start(test, s3servers.Folder)
			b := s.Bucket(test, "test-bucket")
			for _, key := range []protocol.Key{"top.txt", "dir/", "dir/a.txt", "dir/b c.txt", "dir/sub/deep.txt", "dir/é.txt", "other/x"} {
				body := string(key)
				h := protocol.Headers{ContentType: "text/plain", Meta: map[string]string{"mode": "0100644"}}
				if _, err := b.Put(test.Context(), key, h, strings.NewReader(body), int64(len(body)), md5.Sum([]byte(body))); err != nil {
					return err
				}
			}
			state := filepath.Join(env.WorkDir, "state")
			inbox := filepath.Join(env.WorkDir, "inbox")
			if err := os.MkdirAll(inbox, 0o750); err != nil {
				return err
			}
			for _, name := range []string{"FREE", "FREE2"} { // addresses that nobody listened on a moment ago
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				env.Setenv(name, l.Addr().String())
				if err := l.Close(); err != nil {
					return err
				}
			}
			env.Setenv("ENDPOINT", s.Endpoint)
			env.Setenv("ACCESS", s.AccessKey)
			env.Setenv("SECRET", s.SecretKey)
			env.Setenv("STATE", state)
			text := fmt.Sprintf("state_dir = %q\n[s3]\nbucket = \"test-bucket\"\nendpoint = %q\naccess_key_id = %q\nsecret_access_key = %q\n"+
				"[socket]\ntcp = \"\"\n[http]\nlisten = \"\"\n[[folder]]\npath = %q\nprefix = \"in\"\n", state, s.Endpoint, s.AccessKey, s.SecretKey, inbox)
			return os.WriteFile(filepath.Join(env.WorkDir, "config.toml"), []byte(text), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "waitfor": waitFor},
	})
}

// exits CODE COMMAND… runs a command and compares its exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if m := regexp.MustCompile(`exit status (\d+)`).FindStringSubmatch(fmt.Sprint(err)); m != nil {
		got, _ = strconv.Atoi(m[1])
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if args[0] != strconv.Itoa(got) {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// The README shows the table of exit codes that the program has.
func TestREADMEHasTheExitCodes(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range exitTexts {
		if line := fmt.Sprintf("| %d | %s", c.Code, c.Text); !strings.Contains(string(text), line) {
			t.Errorf("README.md lacks %q", line)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for kind, want := range map[protocol.Kind]int{
		protocol.KindUsage: ExitUsage, protocol.KindTarget: ExitTarget, protocol.KindUnreachable: ExitTarget, protocol.KindLocked: ExitLocked,
		protocol.KindLocal: ExitLocal, protocol.KindDamaged: ExitDamaged, protocol.KindItem: ExitError, protocol.KindUnknown: ExitError,
	} {
		if got := exitCode(fmt.Errorf("x: %w", &protocol.Error{Op: "x", Kind: kind})); got != want {
			t.Errorf("%v: %d, want %d", kind, got, want)
		}
	}
}
