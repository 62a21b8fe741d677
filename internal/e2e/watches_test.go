//go:build linux

package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	app "s3apu/agent" // agent is a process here
	"s3apu/internal/s3servers"
)

var flagStorm = flag.Int("storm.files", 0, "files of the storm of new files (20,000; 5,000 without S3APU_TORTURE=1)")

// inContainer has programs run in a user namespace of their own, after a command of a shell.
func inContainer(first string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		}
		cmd.Args = append([]string{"sh", "-c", first + ` && exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
	}
}

// TestWatchLimit lets the agent have 40 watches for 111 folders, by the limit that a container has of its own: what is not
// watched is polled, and log, status and /healthz say how many folders that are and which setting would do.
func TestWatchLimit(t *testing.T) {
	gate(t)
	t.Parallel()
	const limit, wide = 40, 10
	const missing = 1 + wide + wide*wide - limit
	setting := fmt.Sprintf("echo %d >/proc/sys/user/max_inotify_watches", limit)
	try := exec.CommandContext(t.Context(), "/bin/true")
	inContainer(setting)(try)
	if out, err := try.CombinedOutput(); err != nil {
		t.Skipf("a user namespace with a limit of its own cannot be had: %v %s", err, out)
	}
	srv := s3servers.Start(t, s3servers.VersityGW)
	s3 := srv.Bucket(t, "e2e-watches")
	b := boxFor(t, srv, "e2e-watches")
	page := freeAddr(t)
	b.extra = fmt.Sprintf("[http]\nlisten = %q\n", page)
	b.save(t)
	for i := range wide {
		for j := range wide {
			b.put(t, fmt.Sprintf("%d/%d/before", i, j), []byte("x"))
		}
	}
	b.around = inContainer(setting)
	a := b.startReady(t)
	b.equalIn(t, s3, "the feed", depth{})

	cure := fmt.Sprintf("sysctl user.max_inotify_watches=1024 (now %d, %d more are needed)", limit, missing)
	h, err := healthOf(page)
	must(t, err)
	if f := h.Folders[0]; f.Refused != missing || f.Watches != limit || f.Cure != cure || !f.OK {
		t.Errorf("/healthz has %+v", f)
	}
	if !a.log.has("not enough watches") || !a.log.has(cure) || !a.log.has(fmt.Sprintf("folders=%d", missing)) {
		t.Errorf("the log has no cure:\n%s", a.log.tail(20))
	}
	b.around = nil
	if _, out, errs := b.run(t, "s3apu-agent", "status"); !strings.Contains(out, fmt.Sprintf("%d folders are polled", missing)) || !strings.Contains(out, cure) {
		t.Errorf("status prints %s%s", out, errs)
	}

	began := time.Now()
	for i := range wide {
		for j := range wide {
			b.put(t, fmt.Sprintf("%d/%d/after", i, j), noise(uint64(i), 200))
			must(t, os.WriteFile(filepath.Join(b.tree, fmt.Sprint(i), fmt.Sprint(j), "before"), []byte("changed"), 0o644))
		}
	}
	b.put(t, "0/9/new/deep/file", []byte("in folders that came later"))
	b.equalIn(t, s3, "changes in folders without a watch", depth{})
	t.Logf("%d of %d folders were polled; their changes arrived within %v", missing, limit+missing, time.Since(began).Round(time.Millisecond))

	if either(0, 1) == 0 || os.Geteuid() != 0 {
		return
	}
	raise := exec.CommandContext(t.Context(), "nsenter", "--user", "-t", fmt.Sprint(a.cmd.Process.Pid), "sh", "-c",
		"echo 1024 >/proc/sys/user/max_inotify_watches")
	if out, err := raise.CombinedOutput(); err != nil {
		t.Fatalf("raise the limit: %v %s", err, out)
	}
	eventually(t, settledIn, func() error {
		if h, err := healthOf(page); err != nil || h.Folders[0].Unwatched > 0 {
			return fmt.Errorf("still polled: %w %+v", err, h.Folders)
		}
		return nil
	})
	a.stop(t)
}

// TestStorm makes 20,000 files in 500 new nested folders as fast as it can, while the kernel keeps no more than 16 events
// for each of the agent's queues.
func TestStorm(t *testing.T) {
	gate(t)
	files := either(5000, 20_000)
	if *flagStorm > 0 {
		files = *flagStorm
	}
	const folders, keep, hands = 500, 16, 4
	srv := s3servers.Start(t, s3servers.VersityGW)
	s3 := srv.Bucket(t, "e2e-storm")
	b := boxFor(t, srv, "e2e-storm")
	page := freeAddr(t)
	b.extra = fmt.Sprintf("[http]\nlisten = %q\n", page)
	b.save(t)
	restore := smallQueues(t, keep)
	b.startReady(t)
	restore()

	began := time.Now()
	var making sync.WaitGroup
	for hand := range hands {
		making.Go(func() {
			for i := hand; i < files; i += hands {
				n := i % folders
				dir := filepath.Join(b.tree, fmt.Sprintf("%d/%d/%d/d", n%5, n%50, n))
				path := filepath.Join(dir, fmt.Sprintf("file %d", i))
				if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(path, noise(uint64(i), i%300), 0o644)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	making.Wait()
	made := time.Since(began)
	b.equalIn(t, s3, "the storm", depth{})
	h, err := healthOf(page)
	must(t, err)
	if h.Folders[0].Overflows == 0 {
		t.Error("no queue ran over")
	}
	t.Logf("%d files in %d folders made in %v, in the bucket after %v; queues of %d events ran over %d times", files, folders,
		made.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), keep, h.Folders[0].Overflows)
	b.put(t, "4/49/499/d/later", []byte("heard of"))
	b.equalIn(t, s3, "a file after it", depth{})
}

// smallQueues sets how many events the kernel keeps for queues that are opened from now on, until restore is called.
func smallQueues(t *testing.T, keep int) (restore func()) {
	t.Helper()
	const setting = "/proc/sys/fs/inotify/max_queued_events"
	was, err := os.ReadFile(setting)
	must(t, err)
	if err := os.WriteFile(setting, []byte(fmt.Sprint(keep)), 0); err != nil {
		t.Skipf("setting the length of the kernel's queues takes root: %v", err)
	}
	restore = sync.OnceFunc(func() { must(t, os.WriteFile(setting, was, 0)) })
	t.Cleanup(restore)
	return restore
}

// TestRightsGivenBack gives up a file and folders that the agent may not read, and gives the rights back: everything
// arrives soon, without a scan on a schedule.
func TestRightsGivenBack(t *testing.T) {
	gate(t)
	if os.Geteuid() != 0 {
		t.Skip("running the agent as somebody else takes root")
	}
	t.Parallel()
	srv := s3servers.Start(t, s3servers.VersityGW)
	s3 := srv.Bucket(t, "e2e-rights")
	b := boxFor(t, srv, "e2e-rights")
	b.user = ordinaryUser()
	page := freeAddr(t)
	b.extra = fmt.Sprintf("[http]\nlisten = %q\n[reconcile]\ninterval = \"0s\"\n", page)
	must(t, os.Mkdir(b.state, 0o750))
	b.own(t, b.dir, b.state)
	b.save(t)
	closed := map[string]os.FileMode{"secret": 0, "shut": 0, "names": 0o444, "top/deep/shut": 0}
	fill := func(name string) {
		for i := range 5 {
			for _, dir := range []string{"shut/d", "names", "names/d", "top/deep/shut", "open"} {
				b.put(t, fmt.Sprintf("%s/%s %d", dir, name, i), noise(uint64(i), 200))
			}
		}
	}
	rights := func(back bool) {
		for rel, mode := range closed {
			if back {
				mode = 0o755
			}
			must(t, os.Chmod(filepath.Join(b.tree, rel), mode))
		}
	}
	b.put(t, "secret", []byte("x"))
	fill("first")
	rights(false)
	b.startReady(t)
	waitFor := func(what string, is func(app.Health) bool) {
		t.Helper()
		eventually(t, settledIn, func() error {
			h, err := healthOf(page)
			if err == nil && !is(h) {
				err = fmt.Errorf("%s: %+v", what, h)
			}
			return err
		})
	}
	for _, turn := range []string{"at the start", "under a running agent"} {
		waitFor("three folders that cannot be read, and what is open", func(h app.Health) bool {
			return h.Folders[0].Unreadable >= 3 && h.Failed >= 4
		})
		eventually(t, settledIn, func() error { return there(t, s3, "in/open/first 4") })
		began := time.Now()
		rights(true)
		b.equalIn(t, s3, "rights given back "+turn, depth{})
		waitFor("nothing is left", func(h app.Health) bool { return h.Failed == 0 && h.Folders[0].Unreadable == 0 && h.Queued == 0 })
		t.Logf("%s: all was well %v after the rights were given back", turn, time.Since(began).Round(time.Millisecond))
		rights(false)
		b.put(t, "secret", []byte("changed where nobody can look"))
		fill("second")
	}
	rights(true)
}
