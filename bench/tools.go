//go:build linux

package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tool is a program of somebody else, at a version that go install can have.
type tool struct{ name, pkg, version string }

// The versions: the newest that the Go module proxy serves of the peers, those of .ci/run of the servers.
var (
	rcloneTool    = tool{"rclone", "github.com/rclone/rclone", "v1.76.0"}
	mcTool        = tool{"mc", "github.com/minio/mc", "v0.0.0-20250313080218-cf909e1063a9"}
	s5cmdTool     = tool{"s5cmd", "github.com/peak/s5cmd/v2", "v2.3.0"}
	versitygwTool = tool{"versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0"}
	minioTool     = tool{"minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c"}
)

// have returns the path of a tool, which is installed if it is not there.
func (h *harness) have(ctx context.Context, t tool) (string, error) {
	own := filepath.Join(h.opt.cache, t.name+"-"+t.version, t.name)
	places := []string{own}
	if dir := os.Getenv("S3APU_E2E_BIN"); dir != "" {
		places = append(places, filepath.Join(dir, t.name))
	}
	if dir, err := os.UserCacheDir(); err == nil {
		places = append(places, filepath.Join(dir, "s3apu-ci", "bin", t.name)) // where .ci/run installs it
	}
	for _, p := range places {
		if info, err := buildinfo.ReadFile(p); err == nil && info.Main.Version == t.version {
			return p, nil
		}
	}
	h.say("installing %s %s", t.name, t.version)
	cmd := exec.CommandContext(ctx, "go", "install", "-p", "1", t.pkg+"@"+t.version) // one at a time: it takes much memory
	cmd.Dir = h.dir                                                                  // outside this module
	cmd.Env = append(os.Environ(), "GOBIN="+filepath.Dir(own), "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return "", fmt.Errorf("go install %s@%s: %w: %s", t.pkg, t.version, err, lines[len(lines)-1])
	}
	return own, nil
}
