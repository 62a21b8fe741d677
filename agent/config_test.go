package agent

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"s3apu/protocol"
)

// The example is what people copy: it must say exactly what the program does without it.
func TestExampleEqualsDefaults(t *testing.T) {
	text, err := os.ReadFile("../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("config.example.toml", text)
	if err != nil {
		t.Fatal(err)
	}
	if got.ContentTypes != nil && len(got.ContentTypes) == 0 {
		got.ContentTypes = nil
	}
	for _, list := range []*[]string{&got.Socket.AllowSources, &got.Socket.AllowUsers, &got.Socket.AllowKeys} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	if want := Defaults(); !reflect.DeepEqual(*got, want) {
		t.Errorf("the example differs from the defaults:\n got %#v\nwant %#v", *got, want)
	}
}

// Each key of the example is explained in its line.
func TestExampleExplainsEachKey(t *testing.T) {
	text, err := os.ReadFile("../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	key := regexp.MustCompile(`^(# )?[a-z_".]+ *= [^#]*(#.*)?$`)
	keys := 0
	for line := range strings.Lines(string(text)) {
		m := key.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			continue
		}
		if keys++; m[2] == "" {
			t.Errorf("no word about %s", line)
		}
	}
	if keys < 40 {
		t.Errorf("%d keys were found", keys)
	}
}

// The commented-out parts of the example must be right as well.
func TestExampleUncommented(t *testing.T) {
	text, err := os.ReadFile("../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	in := false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "# [[folder]]") || strings.HasPrefix(line, `# ".dat"`) {
			in = true
		}
		if in {
			line = strings.TrimPrefix(line, "# ")
		}
		if strings.TrimSpace(line) == "" {
			in = false
		}
		b.WriteString(line)
	}
	c, err := Parse("example", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Folders) != 1 || c.Folders[0].Settle != defaultSettle || c.Folders[0].MaxDelay != defaultMaxDelay || !c.Folders[0].Deletes() {
		t.Errorf("folders: %+v", c.Folders)
	}
	if len(c.ContentTypes) != 1 {
		t.Errorf("content types: %v", c.ContentTypes)
	}
}

func TestBadConfigurations(t *testing.T) {
	dir := t.TempDir()
	folder := "[[folder]]\npath = " + quote(dir) + "\n"
	good := "state_dir = " + quote(t.TempDir()) + "\n[s3]\nbucket = \"test-bucket\"\n"
	cases := []struct {
		name, text string
		kind       protocol.Kind
		want       []string
	}{
		{"unknown key", good + "max_worker = 3\n", protocol.KindUsage, []string{":4:1", "s3.max_worker", "known here: access_key_id"}},
		{"unknown key in folder", good + folder + "exlude = []\n", protocol.KindUsage, []string{":6:1", "exlude", "exclude"}},
		{"unknown table", good + "[wroker]\nmax_files = 1\n", protocol.KindUsage, []string{"wroker"}},
		{"syntax", good + "x = = 1\n", protocol.KindUsage, []string{":4:"}},
		{"wrong type", good + "[worker]\nmax_files = \"many\"\n", protocol.KindUsage, []string{":5:"}},
		{"bad duration", good + "[worker]\nslowdown_time = \"soon\"\n", protocol.KindUsage, []string{":5:", "soon"}},
		{"number for a duration", good + "[worker]\nslowdown_time = 15\n", protocol.KindUsage, []string{":5:17", "worker.slowdown_time must be", "2s"}},
		{"number for a folder's duration", good + folder + "settle = 2\n", protocol.KindUsage, []string{":6:10", "folder.settle must be", "2s"}},
		{"text for a number", good + "[worker]\nmax_files = \"many\"\n", protocol.KindUsage, []string{":5:13", "worker.max_files must be a whole number"}},
		{"text for a list", good + folder + "exclude = \"*.tmp\"\n", protocol.KindUsage, []string{":6:11", "folder.exclude must be a list"}},
		{"text for yes or no", good + folder + "delete = \"no\"\n", protocol.KindUsage, []string{":6:10", "folder.delete must be true or false"}},
		{"list for a text", good + "region = [\"a\"]\n", protocol.KindUsage, []string{":4:", "s3.region must be a text"}},
		{"endpoint without a scheme", good + "endpoint = \"127.0.0.1:9000\"\n", protocol.KindUsage, []string{"127.0.0.1:9000", "http://"}},
		{"one address for two", good + "[http]\nlisten = \"127.0.0.1:19998\"\n", protocol.KindUsage, []string{"[http] listen", "[socket] tcp as well"}},
		{"no bucket", "state_dir = \"/x\"\n", protocol.KindUsage, []string{"bucket"}},
		{"bad bucket", "[s3]\nbucket = \"a/b\"\n", protocol.KindUsage, []string{"a/b"}},
		{"bad endpoint", good + "endpoint = \"localhost:9000\"\n", protocol.KindUsage, []string{"localhost:9000", "http://"}},
		{"half a key", good + "access_key_id = \"x\"\n", protocol.KindUsage, []string{"one half"}},
		{"bad folder_objects", good + "folder_objects = \"yes\"\n", protocol.KindUsage, []string{"slash"}},
		{"bad glob", good + folder + "exclude = [\"[a-\"]\n", protocol.KindUsage, []string{"[a-", dir}},
		{"missing folder", good + "[[folder]]\npath = " + quote(filepath.Join(dir, "none")) + "\n", protocol.KindLocal, []string{"none", "mount its disk"}},
		{"folder is a file", good + "[[folder]]\npath = " + quote(mustFile(t, dir, "f")) + "\n", protocol.KindLocal, []string{"not a folder"}},
		{"relative folder", good + "[[folder]]\npath = \"x\"\n", protocol.KindUsage, []string{"absolute"}},
		{"prefix with slash", good + folder + "prefix = \"a/\"\n", protocol.KindUsage, []string{"slash"}},
		{"two folders on one prefix", good + folder + folder, protocol.KindUsage, []string{"same bucket and prefix"}},
		{"nested prefixes", good + folder + "prefix = \"a\"\n" + folder + "prefix = \"a/b\"\n", protocol.KindUsage, []string{"within each other"}},
		{"state_dir inside", "state_dir = " + quote(filepath.Join(dir, "state")) + "\n[s3]\nbucket = \"test-bucket\"\n" + folder, protocol.KindUsage, []string{"its own files"}},
		{"bad mode", good + "[worker]\nmode = \"rw\"\n", protocol.KindUsage, []string{"octal"}},
		{"bad level", good + "[log]\nlevel = \"loud\"\n", protocol.KindUsage, []string{"loud"}},
		{"bad address", good + "[http]\nlisten = \"8080\"\n", protocol.KindUsage, []string{"8080"}},
		{"bad content type", good + "[content_types]\njpg = \"image/jpeg\"\n", protocol.KindUsage, []string{"jpg"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config.toml")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := Load(file, nil)
			if err == nil {
				err = cfg.CheckFolders()
			}
			if err == nil {
				t.Fatal("accepted")
			}
			var pe *protocol.Error
			if !errors.As(err, &pe) || pe.Kind != c.kind {
				t.Errorf("kind %v, want %v: %v", protocol.KindOf(err), c.kind, err)
			}
			for _, w := range append(c.want, file) {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

func TestEnvironmentWins(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	text := "[s3]\nbucket = \"from-file\"\nsecret_access_key = \"a\"\naccess_key_id = \"b\"\n[worker]\nupload_uid = 33\nmode = \"0640\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, []string{"S3APU_S3_BUCKET=from-env", "S3APU_S3_SECRET_ACCESS_KEY=hush", "S3APU_WORKER_MAX_FILES=7",
		"S3APU_S3_PATH_STYLE=true", "S3APU_WORKER_SLOWDOWN_TIME=3s", "S3APU_SOCKET_ALLOW_SOURCES=/a, /b", "S3APU_E2E=1"})
	if err != nil {
		t.Fatal(err)
	}
	if c.S3.Bucket != "from-env" || c.S3.SecretAccessKey != "hush" || c.Worker.MaxFiles != 7 || !c.S3.PathStyle ||
		c.Worker.SlowdownTime.D().Seconds() != 3 || len(c.Socket.AllowSources) != 2 || c.Worker.UploadUID != "33" {
		t.Errorf("%+v", c)
	}
	if mode, err := c.Worker.Mode.number(8); err != nil || *mode != 0o640 {
		t.Errorf("mode %v %v", mode, err)
	}
	for _, bad := range []string{"S3APU_WORKER_MAX_FILES=many", "S3APU_S3_PATH_STYLE=perhaps", "S3APU_WORKER_SLOWDOWN_TIME=x"} {
		if _, err := Load(file, []string{bad}); err == nil || !strings.Contains(err.Error(), strings.Split(bad, "=")[0]) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func quote(s string) string { return "\"" + strings.ReplaceAll(s, `\`, `\\`) + "\"" }

func mustFile(t *testing.T, dir, name string) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.WriteFile(p, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("../config.example.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("[[folder]]\npath=1\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("fuzz", []byte(text))
		if (c == nil) == (err == nil) {
			t.Fatalf("neither or both: %v %v", c, err)
		}
	})
}
