package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWarnings(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	token := filepath.Join(dir, "token")
	aws := filepath.Join(dir, "credentials")
	state, logs := filepath.Join(dir, "state"), filepath.Join(dir, "logs")
	env := func(name string) string { return map[string]string{"AWS_SHARED_CREDENTIALS_FILE": aws}[name] }
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	must(os.WriteFile(token, []byte("t"), 0o600))
	must(os.WriteFile(aws, []byte("[default]"), 0o600))
	must(os.Mkdir(state, 0o750))
	must(os.Mkdir(logs, 0o750))
	secrets := "access_key_id = \"id\"\nsecret_access_key = \"s3cret\"\n"
	for name, tc := range map[string]struct {
		keys  string // lines of [s3]
		rest  string
		env   []string
		modes map[string]os.FileMode
		want  []string // each begins a warning
	}{
		"as it should be":            {keys: secrets, modes: map[string]os.FileMode{file: 0o640}},
		"no secrets in it":           {modes: map[string]os.FileMode{file: 0o644}},
		"secrets of the environment": {env: []string{"S3APU_S3_ACCESS_KEY_ID=id", "S3APU_S3_SECRET_ACCESS_KEY=x"}, modes: map[string]os.FileMode{file: 0o644}},
		"secrets for all": {keys: secrets, modes: map[string]os.FileMode{file: 0o644},
			want: []string{file + " can be read by every user (mode 0644), and it holds a secret; cure: chmod o-r " + file}},
		"written by all": {keys: secrets, modes: map[string]os.FileMode{file: 0o666},
			want: []string{file + " can be read and written by every user (mode 0666), and it holds a secret; cure: chmod o-rw " + file}},
		"written by all, no secrets": {modes: map[string]os.FileMode{file: 0o666}, want: []string{file + " can be written by every user (mode 0666)"}},
		"a token for all":            {modes: map[string]os.FileMode{token: 0o604}, want: []string{token + " can be read by every user (mode 0604), and it is the token"}},
		"AWS keys for all":           {modes: map[string]os.FileMode{aws: 0o644}, want: []string{aws + " can be read by every user (mode 0644), and it holds keys of AWS"}},
		"AWS keys that are not used": {keys: secrets, modes: map[string]os.FileMode{aws: 0o644}},
		"folders for all": {modes: map[string]os.FileMode{state: 0o777, logs: 0o757},
			want: []string{state + " can be written by every user (mode 0777)", logs + " can be written by every user (mode 0757)"}},
		"beyond this machine": {keys: "endpoint = \"http://192.0.2.1:9000\"\n", rest: "[http]\nlisten = \":19999\"\n[log]\nlevel = \"info\"\n",
			want: []string{"[s3] endpoint http://192.0.2.1:9000 is not encrypted", "[http] listen :19999 can be asked by other machines"}},
		"a socket beyond this machine": {env: []string{"S3APU_SOCKET_TCP=0.0.0.0:19998"}, want: []string{"[socket] tcp 0.0.0.0:19998 can be reached by other machines"}},
		"on this machine":              {keys: "endpoint = \"http://localhost:9000\"\n", rest: "[http]\nlisten = \"[::1]:1\"\n"},
		"encrypted":                    {keys: "endpoint = \"https://192.0.2.1:9000\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			text := fmt.Sprintf("state_dir = %q\n[s3]\nbucket = \"bucket\"\n%s\n[socket]\ntoken_file = %q\n%s", state, tc.keys, token, tc.rest)
			must(os.WriteFile(file, []byte(text), 0o600))
			modes := map[string]os.FileMode{file: 0o600, token: 0o600, aws: 0o600, state: 0o750, logs: 0o750}
			for path, mode := range tc.modes {
				modes[path] = mode
			}
			for path, mode := range modes {
				must(os.Chmod(path, mode))
			}
			cfg, err := Load(file, append(tc.env, "S3APU_LOG_FOLDER="+logs))
			must(err)
			got := cfg.Warnings(t.Context(), env)
			for _, w := range tc.want {
				if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, w) }) {
					t.Errorf("it does not say %q", w)
				}
			}
			if len(got) != len(tc.want) {
				t.Errorf("it says %q", got)
			}
			for _, g := range got {
				if strings.Contains(g, "s3cret") || strings.Contains(g, "\n") {
					t.Errorf("%q", g)
				}
			}
		})
	}
}
