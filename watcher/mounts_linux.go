package watcher

import "golang.org/x/sys/unix"

// mountBell tells that something was mounted or unmounted, also where the table reads as before afterwards. For one
// goroutine.
type mountBell struct{ fd int }

// newMountBell hears what happens from now on. Where the system does not tell, the bell never rings.
func newMountBell() *mountBell {
	// Not by os.Open: Go's own poller would hear the bell, and the kernel says it once.
	fd, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &mountBell{-1}
	}
	b := &mountBell{fd}
	b.rang() // what was before
	return b
}

// rang reports whether the table has changed since the last call: the kernel says so to each open file (proc(5), mountinfo).
func (b *mountBell) rang() bool {
	if b.fd < 0 {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(b.fd), Events: unix.POLLPRI}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLPRI) != 0
}

func (b *mountBell) close() {
	if b.fd >= 0 {
		_ = unix.Close(b.fd) // it was only polled
	}
}
