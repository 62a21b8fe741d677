//go:build linux

package e2e

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers/inprocess"
)

// canaries are secrets that are nowhere but in what the test writes down for the agent.
var canaries = map[string]string{
	"access key":    "AKIACANARY0F0ACCESS0KEY",
	"secret key":    "canary0secret0Kx9vR2mQ7tL4nB8wZ1",
	"session token": "canary0session0Jd5sF3gH6yT0uP2aE",
	"socket token":  "canary0token0Vb7cX4kM1qW9eR5zN",
}

// evidence is all that the agent and its commands let out, piece by piece.
type evidence struct {
	t     *testing.T
	bytes int
	parts int
}

// look searches a piece for the canaries, as they are and as the socket's protocol writes them.
func (e *evidence) look(where, text string) {
	e.t.Helper()
	e.parts++
	e.bytes += len(text)
	for name, canary := range canaries {
		forms := []string{canary, base64.StdEncoding.EncodeToString([]byte(canary)), base64.StdEncoding.EncodeToString([]byte("tok|" + canary))}
		for _, form := range forms {
			if at := strings.Index(text, form); at >= 0 {
				e.t.Errorf("%s holds the %s: …%q…", where, name, text[max(0, at-100):min(len(text), at+100)])
			}
		}
	}
}

// files searches every file below a folder.
func (e *evidence) files(dir string) {
	e.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		e.look(path, string(text))
		return err
	})
	if err != nil {
		e.t.Error(err)
	}
}

// modes checks that nobody but the agent's user can read what is below the state_dir.
func (e *evidence) modes(dir string) {
	e.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		switch {
		case path == dir:
			want = 0o750 // its group may reach the socket
		case d.IsDir():
			want = 0o700
		case st.Mode()&fs.ModeSocket != 0:
			want = 0o660
		}
		if st.Mode().Perm() != want {
			e.t.Errorf("%s has mode %04o, want %04o", path, st.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		e.t.Error(err)
	}
}

// echo is a server that refuses everything and puts all that it was sent into its answer.
func echo(w http.ResponseWriter, r *http.Request) {
	var all strings.Builder
	if err := r.Header.Write(&all); err != nil {
		all.WriteString(err.Error())
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>SignatureDoesNotMatch</Code><Message>You sent %s</Message></Error>`, all.String())
}

// TestSecretsStayInside runs the agent with secrets of every kind from every source, against servers that know its keys, do
// not, are not there, or send back what they got; asks it for all that it tells, makes it dump its goroutines and crash, and
// looks for the secrets in everything that came out of it or lies on its disk.
func TestSecretsStayInside(t *testing.T) {
	gate(t)
	serve := func(keys map[string]string) string {
		h, err := inprocess.New(t.TempDir(), keys)
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		for id, secret := range keys {
			bkt, err := bucket.Open(t.Context(), bucket.Config{Bucket: "canary-bucket", Endpoint: srv.URL, AccessKeyID: id, SecretAccessKey: secret})
			if err != nil {
				t.Fatal(err)
			}
			if err := bkt.Create(t.Context()); err != nil {
				t.Fatal(err)
			}
			bkt.Close()
		}
		return srv.URL
	}
	right := map[string]string{canaries["access key"]: canaries["secret key"]}
	echoing := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(echoing.Close)
	servers := []struct {
		name, endpoint string
		signal         syscall.Signal // what makes it dump its memory of what it does
	}{
		{"right keys", serve(right), syscall.SIGQUIT},
		{"wrong keys", serve(map[string]string{canaries["access key"]: "another secret"}), syscall.SIGSEGV},
		{"no server", "http://127.0.0.1:1", syscall.SIGQUIT},
		{"an echo", echoing.URL, syscall.SIGSEGV},
	}
	sources := []string{"configuration", "environment", "credentials file"}
	for i, s := range servers {
		for j, source := range sources {
			if i > 0 && j != i-1 {
				continue // each server and each source, not each with each
			}
			t.Run(s.name+" from the "+source, func(t *testing.T) { secretsOf(t, s.endpoint, source, s.signal, i == 0) })
		}
	}
}

// secretsOf is one run of TestSecretsStayInside.
func secretsOf(t *testing.T, endpoint, source string, signal syscall.Signal, works bool) {
	b := newBox(t, endpoint, "canary-bucket")
	b.socket = filepath.Join(b.state, "agent.sock")
	logs, page, tcp := filepath.Join(b.dir, "logs"), freeAddr(t), freeAddr(t)
	token := filepath.Join(b.dir, "token")
	b.write(t, token, canaries["socket token"]+"\n")
	env := b.give(t, source)
	b.write(t, b.config, fmt.Sprintf("state_dir = %q\n[s3]\nbucket = %q\nendpoint = %q\n%s\n[socket]\ntcp = %q\ntoken_file = %q\n"+
		"[http]\nlisten = %q\n[log]\nlevel = \"debug\"\nfolder = %q\n[[folder]]\npath = %q\n",
		b.state, b.bucket, b.endpoint, b.server, tcp, token, page, logs, b.tree))
	e := &evidence{t: t}
	b.write(t, filepath.Join(b.tree, strings.ReplaceAll(source, " ", "-")), "content")
	log := &output{}
	// The mask of the shell that starts it must not matter.
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `umask 000; exec "$0" run --config "$1"`, program("s3apu-agent"), b.config)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = append(b.command(t, "s3apu-agent").Env, env...), b.dir, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the agent's log:\n%s", log.tail(30))
		}
	})
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		_ = cmd.Process.Kill() // it has crashed already if all went well
		<-ended
	}()
	eventually(t, readyIn, func() error {
		if works && log.has("msg=done") || !works && log.has("the bucket does not answer") {
			return nil
		}
		return errors.New("nothing was tried")
	})
	conn, err := net.Dial("tcp", tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := b.dial(t)
	for _, ask := range []string{"inf", "fld|100", "hld|100", "rty|*", "rel|*", "drp|*", "dance", "upl|/etc/shadow|x", "tok|" + canaries["socket token"], "tok|wrong",
		"TOK|" + canaries["socket token"]} {
		e.look("the answer to "+ask[:3], c.ask(ask))
	}
	e.look("the answer to rubbish", c.raw("tok|"+canaries["socket token"]+"\n"))
	for _, path := range []string{"/healthz", "/metrics", "/", "/debug/pprof/cmdline"} {
		resp, err := http.Get("http://" + page + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		e.look(path, string(text))
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	e.look("its command line", string(line))
	for _, args := range [][]string{{"status"}, {"check"}, {"queue", "status"}, {"queue", "failed"}, {"queue", "held"}, {"queue", "retry", "--all"}, {"list"}, {"meta", "x"},
		{"feed", b.tree}, {"run"}, {"version"}, {"help"}} {
		_, out, errs := b.runWith(t, env, "s3apu-agent", args...)
		e.look(strings.Join(args, " "), out+errs)
	}
	other := *b
	other.config = filepath.Join(b.dir, "init.toml")
	for range 2 { // written, then refused because it is there
		_, out, errs := other.runWith(t, env, "s3apu-agent", "init", "--bucket", b.bucket, "--folder", b.tree,
			"--access-key-id", canaries["access key"], "--secret-access-key", canaries["secret key"])
		e.look("init", out+errs)
	}
	b.write(t, other.config, "[s3]\nsecret_access_key = \""+canaries["secret key"]+"\"\nsession_token = "+canaries["session token"]+"\n")
	_, out, errs := other.runWith(t, env, "s3apu-agent", "check")
	e.look("a fault in the line of a secret", out+errs)

	e.modes(b.state)
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	eventually(t, endsIn, func() error {
		if !log.has("goroutine 1 ") {
			return errors.New("there is no dump of the goroutines")
		}
		return nil
	})
	e.look("log and dump", strings.Join(log.lines(), "\n"))
	e.files(b.state)
	e.files(logs)
	t.Logf("%d bytes in %d pieces", e.bytes, e.parts)
}

// give puts the keys where the source says, and returns the environment that goes with it.
func (b *box) give(t *testing.T, source string) (env []string) {
	t.Helper()
	switch source {
	case "configuration":
		b.server = fmt.Sprintf("access_key_id = %q\nsecret_access_key = %q\nsession_token = %q\n", canaries["access key"], canaries["secret key"], canaries["session token"])
	case "environment":
		return []string{"S3APU_S3_ACCESS_KEY_ID=" + canaries["access key"], "S3APU_S3_SECRET_ACCESS_KEY=" + canaries["secret key"],
			"S3APU_S3_SESSION_TOKEN=" + canaries["session token"]}
	default:
		file := filepath.Join(b.dir, "credentials")
		b.write(t, file, fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n",
			canaries["access key"], canaries["secret key"], canaries["session token"]))
		return []string{"AWS_SHARED_CREDENTIALS_FILE=" + file}
	}
	return nil
}

func (b *box) write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runWith is run with more in the environment.
func (b *box) runWith(t *testing.T, env []string, name string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	cmd := b.command(t, name, args...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}
