package agent

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"s3apu/protocol"
)

// An address that somebody else has ends the start before anything is made on disk, with the same kind of error each time.
func TestTakenAddressesLeaveNoTrace(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir, err := os.MkdirTemp("", "s3a-") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	sock := filepath.Join(dir, "s")
	u, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for name, take := range map[string]func(*Config){
		"tcp":     func(c *Config) { c.Socket.TCP = l.Addr().String() },
		"healthz": func(c *Config) { c.HTTP.Listen = l.Addr().String() },
		"unix":    func(c *Config) { c.Socket.Unix = sock },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Defaults()
			cfg.StateDir = filepath.Join(t.TempDir(), "state")
			cfg.Log.Folder = filepath.Join(t.TempDir(), "logs")
			cfg.S3.Bucket, cfg.S3.Endpoint = testBucket, "http://127.0.0.1:1"
			cfg.Socket.TCP, cfg.HTTP.Listen = "127.0.0.1:0", "127.0.0.1:0"
			take(&cfg)
			logs, err := OpenLogs(cfg.Log, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			defer logs.Close()
			_, err = New(t.Context(), &cfg, Options{Logs: logs})
			if protocol.KindOf(err) != protocol.KindLocked {
				t.Errorf("New: %v, want an error of %v", err, protocol.KindLocked)
			}
			for _, made := range []string{cfg.StateDir, cfg.Log.Folder} {
				if _, err := os.Stat(made); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s was made: %v", made, err)
				}
			}
			faults := 0
			for _, f := range cfg.CheckAddresses(t.Context(), false) {
				if f.Err != nil {
					faults++
					t.Log(f.Err)
				}
			}
			if faults != 1 {
				t.Errorf("check finds %d faults, want 1", faults)
			}
		})
	}
}

// While the agent runs its own addresses are as they should be, and those that another program has are not.
func TestCheckAddressesOfTheRunningAgent(t *testing.T) {
	r := newRig(t)
	for _, addr := range []*string{&r.cfg.Socket.TCP, &r.cfg.HTTP.Listen} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*addr = l.Addr().String()
		r.must(l.Close())
	}
	r.start()
	for _, f := range r.cfg.CheckAddresses(t.Context(), true) {
		if f.Err != nil || !strings.Contains(f.What, "the running agent has it") {
			t.Errorf("%s: %v", f.What, f.Err)
		}
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	changed := *r.cfg
	changed.HTTP.Listen = other.Listener.Addr().String()
	for _, f := range changed.CheckAddresses(t.Context(), true) {
		if page := strings.Contains(f.What, "[http]"); page != (protocol.KindOf(f.Err) == protocol.KindLocked) {
			t.Errorf("with another program in the page's place: %s: %v", f.What, f.Err)
		}
	}
}

// A path that is too long for a socket is told by its length, and without touching the disk.
func TestSocketPathTooLong(t *testing.T) {
	cfg := Defaults()
	cfg.StateDir = filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	f := cfg.checkUnix(false)
	if f.Err == nil || !strings.Contains(f.Err.Error(), "shorter [socket] unix") {
		t.Errorf("got %v", f.Err)
	}
}
