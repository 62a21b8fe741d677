package cli

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"s3apu/internal/s3servers"
	"s3apu/protocol"
)

// openTerminal returns the two ends of a pseudo-terminal.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// Names that could deceive who looks at them are quoted on a terminal; programs get them as they are.
func TestNamesOnATerminal(t *testing.T) {
	s := s3servers.Start(t, s3servers.Folder)
	b := s.Bucket(t, "test-bucket")
	const escape, bidi, plain = "dir/\x1b[2Jgone", "dir/photo\u202egpj.exe", "dir/été 日本"
	for _, key := range []protocol.Key{escape, bidi, plain} {
		h := protocol.Headers{ContentType: "text/plain", Meta: map[string]string{"mode": "0100644"}}
		if _, err := b.Put(t.Context(), key, h, strings.NewReader("x"), 1, md5.Sum([]byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(t.TempDir(), "config.toml")
	text := fmt.Sprintf("state_dir = %q\n[s3]\nbucket = \"test-bucket\"\nendpoint = %q\naccess_key_id = %q\nsecret_access_key = %q\n", t.TempDir(), s.Endpoint, s.AccessKey, s.SecretKey)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--config", config, "dir"}
	var pipe bytes.Buffer
	if code := Main(t.Context(), "util_list", args, nil, Streams{Out: &pipe, Err: &pipe}); code != ExitOK {
		t.Fatalf("code %d: %s", code, &pipe)
	}
	for _, name := range []string{escape, bidi, plain} {
		if !strings.Contains(pipe.String(), name+"\n") {
			t.Errorf("the pipe lacks %q: %q", name, &pipe)
		}
	}
	person, program := openTerminal(t)
	if code := Main(t.Context(), "util_list", args, nil, Streams{Out: program, Err: program}); code != ExitOK {
		t.Fatalf("code %d", code)
	}
	if code := Main(t.Context(), "util_get_meta", []string{"--config", config, "none\u202e"}, nil, Streams{Out: program, Err: program}); code == ExitOK {
		t.Fatal("there is no such object")
	}
	var shown string
	for buf := make([]byte, 4096); strings.Count(shown, "\n") < 4; {
		n, err := person.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		shown += string(buf[:n])
	}
	for _, want := range []string{`"dir/\x1b[2Jgone"`, `"dir/photo\u202egpj.exe"`, plain + "\r\n", `none\u202e`} {
		if !strings.Contains(shown, want) {
			t.Errorf("the terminal lacks %s: %q", want, shown)
		}
	}
	if strings.ContainsAny(shown, "\x1b\u202e") {
		t.Errorf("the terminal shows %q", shown)
	}
}
