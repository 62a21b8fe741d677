//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"s3apu/internal/s3servers"
)

// programs is the folder of the built programs. It is set before the first test runs.
var programs string

func TestMain(m *testing.M) {
	if os.Getenv(s3servers.EnvUse) != "1" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "s3apu-e2e-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := 1
	build := exec.Command("go", "build", "-o", dir, "s3apu/cmd/...")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
	} else if err := openToAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		programs = dir
		code = m.Run()
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// openToAll lets other users run the programs, for the tests that need a user who may not read everything.
func openToAll(dir string) error { return os.Chmod(dir, 0o755) }

// gate skips a test that needs the programs.
func gate(t *testing.T) {
	t.Helper()
	if programs == "" {
		t.Skipf("end-to-end tests build and run the programs: set %s=1 (bash .ci/run e2e does it)", s3servers.EnvUse)
	}
}

// program returns the path of a built program.
func program(name string) string { return filepath.Join(programs, name) }

// realServers are the servers that run as processes of their own.
var realServers = []s3servers.Kind{s3servers.VersityGW, s3servers.MinIO}
