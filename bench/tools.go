//go:build linux

package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tool is a program of somebody else.
type tool struct {
	name    string
	pkg     string // of its main
	version string
	module  string // empty: pkg
}

// The versions: the newest of the peers that can be had as Go modules, those of .ci/run of the servers.
var (
	rcloneTool    = tool{name: "rclone", pkg: "github.com/rclone/rclone", version: "v1.76.0"}
	mcTool        = tool{name: "mc", pkg: "github.com/minio/mc", version: "v0.0.0-20250313080218-cf909e1063a9"}
	s5cmdTool     = tool{name: "s5cmd", pkg: "github.com/peak/s5cmd/v2", version: "v2.3.0"}
	versitygwTool = tool{name: "versitygw", pkg: "github.com/versity/versitygw/cmd/versitygw", version: "v1.8.0", module: "github.com/versity/versitygw"}
	minioTool     = tool{name: "minio", pkg: "github.com/minio/minio", version: "v0.0.0-20260212201848-7aac2a2c5b7c"}
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
	if err := h.install(ctx, t, own); err != nil {
		return "", err
	}
	return own, nil
}

// install has the go command build a tool of its exact version, in a module made for that: "go install" also asks which other
// versions there are, and fails where that cannot be told.
func (h *harness) install(ctx context.Context, t tool, path string) (err error) {
	dir, err := os.MkdirTemp("", "s3b-mod-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	module := t.pkg
	if t.module != "" {
		module = t.module
	}
	for _, args := range [][]string{
		{"mod", "init", "peer"},
		{"mod", "edit", "-require=" + module + "@" + t.version},
		{"build", "-mod=mod", "-p", "1", "-o", path, t.pkg}, // one package at a time, for it is not what is measured
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			return fmt.Errorf("go %s of %s@%s: %w: %s", args[0], t.pkg, t.version, err, lines[len(lines)-1])
		}
	}
	return nil
}
