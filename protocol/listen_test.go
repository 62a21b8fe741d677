package protocol

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestListenTCPRules(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0"} {
		ln, err := Listen("tcp", addr, Peers{})
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindUsage || !strings.Contains(e.Hint, "token_file") {
			t.Errorf("%s without a token: %v, %v", addr, ln, err)
		}
	}
	for _, addr := range []string{"127.0.0.1:0", "localhost:0", "127.9.9.9:0"} {
		ln, err := Listen("tcp", addr, Peers{Token: "t"})
		if err != nil {
			t.Logf("left out: %s: %v", addr, err) // darwin has 127.0.0.1 only
			continue
		}
		ln.Close()
	}
	ln, err := Listen("tcp", "0.0.0.0:0", Peers{Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := Listen("tcp", ln.Addr().String(), Peers{Token: "t"}); KindOf(err) != KindLocked && runtime.GOOS != "windows" {
		t.Errorf("an address in use: %v", err)
	}
	for _, bad := range [][2]string{{"tcp", "nonsense"}, {"tcp", "127.0.0.1:x"}, {"udp", "127.0.0.1:0"}, {"", ""}, {"unix", ""}, {"unix", "@abstract"}} {
		if _, err := Listen(bad[0], bad[1], Peers{}); KindOf(err) != KindUsage {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := Listen("tcp", "127.0.0.1:0", Peers{}); (err == nil) != canTellUsers && err == nil {
		t.Error("loopback without a token, where users cannot be told")
	}
}

func TestListenUnix(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	ln, err := Listen("unix", path, Peers{})
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Lstat(path)
	if err != nil || !isSocket(st) || runtime.GOOS != "windows" && st.Mode().Perm() != socketMode {
		t.Errorf("%v, %v", st, err)
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := ln.Accept(); err == nil {
			accepted <- c
		}
	}()
	if _, err := Listen("unix", path, Peers{}); KindOf(err) != KindLocked {
		t.Errorf("a socket that is in use: %v", err)
	}
	(<-accepted).Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the second one took the socket away: %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after Close: %v", err)
	}
}

func TestListenUnixStale(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close() // as a killed process leaves it
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	ln, err := Listen("unix", path, Peers{})
	if err != nil {
		t.Fatal(err)
	}
	// Somebody takes our place; Close leaves the new file alone.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if b, err := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
	// A file that is no socket is never removed.
	if _, err := Listen("unix", path, Peers{}); KindOf(err) != KindUsage {
		t.Errorf("a file in the way: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("the file in the way is gone")
	}
}

func TestListenUnixErrors(t *testing.T) {
	dir := shortDir(t)
	for name, path := range map[string]string{
		"no folder": filepath.Join(dir, "no", "s"), "too long": filepath.Join(dir, strings.Repeat("x", 120)), "a folder": dir,
	} {
		_, err := Listen("unix", path, Peers{})
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindUsage || e.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
