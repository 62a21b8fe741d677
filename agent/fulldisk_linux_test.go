package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"s3apu/protocol"
)

// smallDisk gives the rig's state_dir a file system of its own.
func (r *rig) smallDisk(options string) {
	r.t.Helper()
	r.mountAt(r.cfg.StateDir, options)
}

// mountAt mounts a file system of its own at dir.
func (r *rig) mountAt(dir, options string) {
	r.t.Helper()
	if os.Geteuid() != 0 {
		r.t.Skip("mounting a small file system takes root")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		r.t.Skipf("this machine does not let us mount: %v", err)
	}
	r.t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			r.t.Error(err)
		}
	})
}

// fill takes all the room that is left next to the queue.
func (r *rig) fill() (empty func()) {
	r.t.Helper()
	return r.fillAt(r.cfg.StateDir)
}

// fillAt takes all the room that is left on the disk of dir.
func (r *rig) fillAt(dir string) (empty func()) {
	r.t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	r.must(err)
	for _, size := range []int{1 << 20, 4096, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	r.must(f.Close())
	return func() { r.must(os.Remove(name)) }
}

// asker puts instructions through the socket, one after another, and remembers which of them were acknowledged.
type asker struct {
	mu          sync.Mutex
	ok, refused map[protocol.Key]bool
}

func (a *asker) run(ctx context.Context, r *rig) {
	for n := 0; ctx.Err() == nil; n++ {
		client, err := protocol.Dial(ctx, "unix", r.cfg.SocketPath(), "")
		if err != nil {
			continue
		}
		for ; ctx.Err() == nil; n++ {
			key := protocol.Key(fmt.Sprintf("asked/%05d", n))
			err := client.Put(ctx, []protocol.Instruction{{Verb: protocol.Mkd, Key: key}})
			a.mu.Lock()
			if err == nil {
				a.ok[key] = true
			} else {
				a.refused[key] = true
			}
			a.mu.Unlock()
			pause(ctx, time.Millisecond)
			if err != nil {
				break
			}
		}
		_ = client.Close() // what it was told counts
	}
}

func (a *asker) counts() (ok, refused int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.ok), len(a.refused)
}

// ask starts an asker.
func (r *rig) ask() (a *asker, stop func()) {
	a = &asker{ok: map[protocol.Key]bool{}, refused: map[protocol.Key]bool{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	var group sync.WaitGroup
	group.Go(func() { a.run(ctx, r) })
	stop = func() { cancel(); group.Wait() }
	r.t.Cleanup(stop)
	return a, stop
}

// waitAll waits until the bucket holds the tree and all that the socket acknowledged.
func (r *rig) waitAll(what string, a *asker) {
	r.t.Helper()
	r.waitFor(what, func() bool {
		got := r.held()
		for key, text := range r.tree() {
			if got[key] != text {
				return false
			}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		for key := range a.ok {
			if _, there := got[string(key)+"/"]; !there {
				return false
			}
		}
		return true
	})
}

// TestDiskFull: the disk of the state_dir is full in the midst of 2,000 uploads and of instructions from the socket. The
// agent stays, refuses what it cannot keep, says what to do, and goes on within seconds of there being room.
func TestDiskFull(t *testing.T) {
	r := newRig(t)
	r.smallDisk("size=32m")
	r.write("before", "1")
	r.start()
	r.waitEqual("the feed")
	asked, stop := r.ask()
	r.waitFor("the socket answers", func() bool { ok, _ := asked.counts(); return ok > 20 })
	empty := r.fill()
	for i := range 2000 {
		r.write(fmt.Sprintf("many/%02d/%04d", i%20, i), fmt.Sprint("content ", i))
	}
	r.waitFor("it notices", func() bool { return r.agent.queue.Err() != nil })
	_, before := asked.counts()
	r.waitFor("clients hear of it", func() bool { _, refused := asked.counts(); return refused > before+3 })
	h := r.agent.Health()
	if h.OK || !strings.Contains(h.Error, "no room left on tmpfs") || !strings.Contains(h.Error, "bytes free, free some or move state_dir") {
		t.Errorf("it tells %q", h.Error)
	}
	ok, _ := asked.counts()
	began := time.Now()
	empty()
	r.waitFor("it goes on", func() bool { return r.agent.queue.Err() == nil })
	open := time.Since(began)
	r.waitFor("the socket takes instructions again", func() bool { now, _ := asked.counts(); return now > ok })
	stop()
	r.waitAll("afterwards", asked)
	ok, refused := asked.counts()
	t.Logf("open again %v after there was room, everything sent after %v; the socket said ok %d times and fail %d times",
		open.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), ok, refused)
	if open > 10*time.Second {
		t.Errorf("it took %v to notice that there is room", open)
	}
	if h := r.agent.Health(); !h.OK {
		t.Errorf("afterwards it tells %+v", h)
	}
}

// TestDiskReadOnly: the file system of the state_dir is read-only at the start, as ext4 is after an error, and becomes
// writable. (While the agent runs only the kernel itself can make it so; see TestHeals in the queue.)
func TestDiskReadOnly(t *testing.T) {
	r := newRig(t)
	r.smallDisk("size=64m")
	remount := func(flags uintptr) { r.must(unix.Mount("", r.cfg.StateDir, "", unix.MS_REMOUNT|flags, "size=64m")) }
	r.write("before", "1")
	r.start()
	r.waitEqual("the feed")
	r.stop()
	remount(unix.MS_RDONLY)
	r.write("while off", "3")
	a := r.startLate()
	if h := a.Health(); h.OK || !strings.Contains(h.Error, "is read-only") {
		t.Errorf("it tells %+v", h)
	} else {
		t.Log(h.Error)
	}
	r.write("a little later", "4")
	remount(0)
	r.waitEqual("after a start without a writable disk")
	r.waitFor("the socket", func() bool {
		c, err := protocol.Dial(t.Context(), "unix", r.cfg.SocketPath(), "")
		if err == nil {
			r.must(c.Close())
		}
		return err == nil
	})
}

// startLate starts an agent that cannot be ready before its disk is. It ends with the test.
func (r *rig) startLate() *Agent {
	r.t.Helper()
	a, err := New(r.t.Context(), r.cfg, Options{Version: "test"})
	r.must(err)
	r.agent = a
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	r.t.Cleanup(func() { cancel(); r.must(<-done) })
	return a
}

// TestDiskFullAtStart: the same with a disk that is full at the start.
func TestDiskFullAtStart(t *testing.T) {
	r := newRig(t)
	r.smallDisk("size=32m")
	empty := r.fill()
	r.write("file", "1")
	a := r.startLate()
	r.waitFor("it says so", func() bool { h := a.Health(); return !h.OK && strings.Contains(h.Error, "no room left") })
	r.must(os.Remove(filepath.Join(r.inbox, "file")))
	r.write("file", "2")
	empty()
	r.waitEqual("when there is room")
}

// While the queue waits for its disk nobody knows what is held: that is no reason to say that nothing is, nor to forget why.
func TestFullDiskForgetsNoHold(t *testing.T) {
	r := newRig(t)
	r.smallDisk("size=32m")
	r.write("d/a", "1")
	r.write("d/b", "2")
	r.start()
	r.waitEqual("the feed")
	r.must(os.Rename(filepath.Join(r.inbox, "d"), filepath.Join(t.TempDir(), "d"))) // at one blow: what goes first alone is no mass
	r.waitFor("three held deletes", func() bool { h := r.agent.Health(); return h.Held == 3 && len(h.Holds) == 1 })
	empty := r.fill()
	_, stop := r.ask()
	r.waitFor("a refusal", func() bool { return r.agent.queue.Err() != nil })
	seen := heldSeen{before: 3}
	for range 3 {
		r.agent.lookAtHolds(t.Context(), &seen)
	}
	if h := r.agent.folders[0].hold.Load(); seen.before != 3 || h == nil {
		t.Errorf("%d were held, because of %v", seen.before, h)
	}
	stop()
	empty()
	r.waitFor("the queue works again, and knows why", func() bool {
		h := r.agent.Health()
		return h.Error == "" && h.Held == 3 && len(h.Holds) == 1 && h.Holds[0].Folder == r.inbox
	})
}
