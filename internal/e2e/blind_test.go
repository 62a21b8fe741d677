//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"s3apu/internal/s3servers"
)

// fuse mounts a folder through a program of user space, so that what is changed behind it goes unheard.
func fuse(t *testing.T, behind, at string) {
	t.Helper()
	rclone, err := exec.LookPath("rclone")
	if err == nil {
		_, err = exec.LookPath("fusermount3")
	}
	if err != nil {
		t.Skipf("it takes rclone and fusermount3: %v", err)
	}
	must(t, errors.Join(os.MkdirAll(behind, 0o755), os.MkdirAll(at, 0o755)))
	var before syscall.Stat_t
	must(t, syscall.Stat(at, &before))
	log := &output{}
	cmd := exec.Command(rclone, "mount", behind, at, "--config", "/dev/null", "--dir-cache-time", "100ms", "--attr-timeout", "100ms",
		"--poll-interval", "0", "--allow-non-empty")
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its words are in the log
		close(ended)
	}()
	t.Cleanup(func() {
		if out, err := exec.Command("fusermount3", "-u", "-z", at).CombinedOutput(); err != nil {
			t.Logf("unmount: %v: %s", err, out)
		}
		_ = cmd.Process.Signal(os.Interrupt) // the unmount may have ended it
		<-ended
	})
	eventually(t, readyIn, func() error {
		var now syscall.Stat_t
		if err := syscall.Stat(at, &now); err != nil || now.Dev == before.Dev {
			return fmt.Errorf("rclone has mounted nothing yet: %w %s", err, log.tail(5))
		}
		return nil
	})
}

// TestBlindFileSystem watches a tree in which a FUSE file system is mounted, and one that is all of it, and changes what
// lies behind them, where no event tells of it: it arrives within [reconcile] blind, and what has not changed is not sent again.
func TestBlindFileSystem(t *testing.T) {
	gate(t)
	if _, err := os.Open("/dev/fuse"); err != nil {
		t.Skipf("no FUSE: %v", err)
	}
	t.Parallel()
	const blind = 2 * time.Second
	srv := s3servers.Start(t, s3servers.VersityGW)
	s3 := srv.Bucket(t, "e2e-blind")
	b := boxFor(t, srv, "e2e-blind")
	page, other := freeAddr(t), filepath.Join(b.dir, "other")
	counts := newTally("e2e-blind")
	b.endpoint = serveProxy(t, srv.Endpoint, counts)
	b.extra = fmt.Sprintf("[http]\nlisten = %q\n[reconcile]\ninterval = \"0s\"\nblind = %q\n", page, blind) + folderToml(other, "other", "settle = \"200ms\"")
	b.save(t)
	nested, whole := filepath.Join(b.dir, "behind"), filepath.Join(b.dir, "whole")
	for _, dir := range []string{nested, whole} {
		for i := range 5 {
			must(t, errors.Join(os.MkdirAll(filepath.Join(dir, "d"), 0o755), os.WriteFile(filepath.Join(dir, "d", fmt.Sprint(i)), noise(uint64(i), 300), 0o644)))
		}
		must(t, os.WriteFile(filepath.Join(dir, "goes"), []byte("x"), 0o644))
	}
	b.put(t, "beside", []byte("on a disk of our own"))
	fuse(t, nested, filepath.Join(b.tree, "m"))
	fuse(t, whole, other)
	a := b.startReady(t)
	same := func(after string) {
		t.Helper()
		b.equalIn(t, s3, after, depth{})
		elsewhere := *b
		elsewhere.tree, elsewhere.prefix = other, "other"
		elsewhere.equalIn(t, s3, after, depth{})
	}
	same("the feed")
	_, out, _ := b.run(t, "s3apu-agent", "status")
	_, check, _ := b.run(t, "s3apu-agent", "check")
	for _, text := range []string{out, check, a.log.tail(1000)} {
		if !strings.Contains(text, "fuse.rclone at m: looked for every 2s") || !strings.Contains(text, "on fuse.rclone: looked for every 2s") {
			t.Errorf("nothing is said of the file systems: %s", text)
		}
	}

	before, _ := counts.state()
	began := time.Now()
	for _, dir := range []string{nested, whole} {
		must(t, errors.Join(os.WriteFile(filepath.Join(dir, "d", "0"), []byte("changed"), 0o644),
			os.MkdirAll(filepath.Join(dir, "new", "deep"), 0o755), os.Remove(filepath.Join(dir, "goes")),
			os.WriteFile(filepath.Join(dir, "new", "deep", "file"), []byte("new"), 0o644)))
	}
	same("changes behind the mounts")
	t.Logf("changes behind the mounts arrived within %v; [reconcile] blind is %v", time.Since(began).Round(10*time.Millisecond), blind)
	<-time.After(3 * blind) // in which nothing that is as it was may be sent
	after, _ := counts.state()
	for key, n := range after {
		if most := 1; n-before[key] > most {
			t.Errorf("%s was sent %d times", key, n-before[key])
		}
		if strings.HasSuffix(key, "/d/1") && n != before[key] {
			t.Errorf("%s was sent again", key)
		}
	}
	a.stop(t)
}
