//go:build linux

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Keys of servers that live as long as a run.
const (
	accessKey = "s3apu-bench-key"
	secretKey = "s3apu-bench-secret" //nolint:gosec // opens nothing but the servers of this run
	region    = "us-east-1"
)

// keyPrefix is below what every contender puts its keys, without a slash.
const keyPrefix = "in"

// job is what a peer is to do: bring a folder below keyPrefix of a bucket.
type job struct {
	dir, endpoint, bucket string
	connections           int // 0: the peer's own choice
}

// peer is a program that does what the agent does, or a part of it.
type peer struct {
	name    string
	tool    tool
	compare bool // it finds out what has not changed
	counted bool // its connections can be set
	args    func(j job) []string
	env     func(j job, home string) []string
}

func peers() []peer {
	return []peer{
		{name: "rclone", tool: rcloneTool, compare: true, counted: true, env: rcloneEnv, args: rcloneArgs},
		{name: "mc", tool: mcTool, compare: true, env: mcEnv, args: func(j job) []string { return mcArgs(j) }},
		{name: "s5cmd", tool: s5cmdTool, compare: true, counted: true, env: s5cmdEnv, args: func(j job) []string { return s5cmdArgs(j, "sync") }},
		{name: "s5cmd-cp", tool: s5cmdTool, counted: true, env: s5cmdEnv, args: func(j job) []string { return s5cmdArgs(j, "cp") }},
	}
}

func peerNames() []string {
	var names []string
	for _, p := range peers() {
		names = append(names, p.name)
	}
	return names
}

func peerNamed(name string) *peer {
	for _, p := range peers() {
		if p.name == name {
			return &p
		}
	}
	return nil
}

// rcloneArgs are rclone's best flags for this: no HEAD behind a PUT, one listing, the bucket's times for the files'.
func rcloneArgs(j job) []string {
	n := strconv.Itoa(orDefault(j.connections, 16))
	return []string{"copy", j.dir, "bench:" + j.bucket + "/" + keyPrefix, "--transfers", n, "--checkers", n, "--s3-no-head",
		"--s3-no-check-bucket", "--fast-list", "--update", "--use-server-modtime"}
}

func rcloneEnv(j job, home string) []string {
	return []string{"RCLONE_CONFIG=" + filepath.Join(home, "rclone.conf"), "RCLONE_CONFIG_BENCH_TYPE=s3", "RCLONE_CONFIG_BENCH_PROVIDER=Other",
		"RCLONE_CONFIG_BENCH_ENDPOINT=" + j.endpoint, "RCLONE_CONFIG_BENCH_REGION=" + region, "RCLONE_CONFIG_BENCH_FORCE_PATH_STYLE=true",
		"RCLONE_CONFIG_BENCH_ACCESS_KEY_ID=" + accessKey, "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY=" + secretKey}
}

// mcArgs says nothing of connections: mc begins with one for each processor and adds some while that makes it faster.
func mcArgs(j job, more ...string) []string {
	args := append([]string{"mirror", "--quiet"}, more...)
	return append(args, j.dir, "bench/"+j.bucket+"/"+keyPrefix)
}

func mcEnv(j job, home string) []string {
	host := strings.TrimPrefix(j.endpoint, "http://")
	return []string{"MC_HOST_bench=http://" + accessKey + ":" + secretKey + "@" + host, "MC_CONFIG_DIR=" + filepath.Join(home, "mc")}
}

func s5cmdArgs(j job, verb string) []string {
	args := []string{"--endpoint-url", j.endpoint, "--log", "error"}
	if j.connections > 0 {
		args = append(args, "--numworkers", strconv.Itoa(j.connections))
	}
	return append(args, verb, j.dir+"/", "s3://"+j.bucket+"/"+keyPrefix+"/")
}

func s5cmdEnv(job, string) []string {
	return []string{"AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey, "AWS_REGION=" + region}
}

func orDefault(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// command prepares a program of somebody else with a clean environment, and remembers how it was called.
func (h *harness) command(ctx context.Context, name, path string, args, env []string, hide job) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.home, "TMPDIR=" + os.TempDir()}, env...)
	shown := filepath.Base(path)
	for _, a := range args {
		if a == "" {
			a = `""`
		}
		shown += " " + a
	}
	for _, r := range [][2]string{{hide.dir, "DIR"}, {hide.endpoint, "ENDPOINT"}, {hide.bucket, "BUCKET"}} {
		if r[0] != "" {
			shown = strings.ReplaceAll(shown, r[0], r[1])
		}
	}
	h.report.command(name, shown)
	return cmd
}

// run has a peer do a job.
func (h *harness) runPeer(ctx context.Context, p peer, j job) (cost, error) {
	return h.runToEnd(ctx, h.command(ctx, p.name, h.tools[p.tool.name], p.args(j), p.env(j, h.home), j))
}

// having returns the peers that there are, of those that were asked for; with compare those only that compare.
func (h *harness) having(compare bool) []peer {
	var all []peer
	for _, p := range peers() {
		if h.tools[p.tool.name] != "" && contains(h.opt.peers, p.name) && (p.compare || !compare) {
			all = append(all, p)
		}
	}
	return all
}
