package protocol

import (
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// netnsEnv says that this process has a network of its own.
const netnsEnv = "S3APU_TEST_NETNS"

// TestDeadPeers takes the network away under 50 clients, as a pulled cable does: nobody says goodbye. The server notices,
// and gives their places and descriptors back.
func TestDeadPeers(t *testing.T) {
	measured(t)
	if os.Getuid() != 0 {
		t.Skip("a network of its own takes root")
	}
	if os.Getenv(netnsEnv) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDeadPeers$", "-test.v")
		cmd.Env = append(os.Environ(), netnsEnv+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	loopback(t, true)
	addr := startServer(t, &Server{Handler: newFakeQueue()})
	dial := func() net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if got := newWire(t, c).ask("del|a"); got != "ok" {
			t.Fatalf("answered %q", got)
		}
		return c
	}
	const clients = 50
	dial() // what the first connection alone opens is open now
	before := descriptors(t)
	for range clients {
		dial()
	}
	if n := descriptors(t) - before; n != 2*clients {
		t.Fatalf("%d clients have %d descriptors, both ends", clients, n)
	}
	loopback(t, false)
	began, limit := time.Now(), userTimeout+10*time.Second // the timers of the kernel are not that exact
	for descriptors(t)-before > clients-1 {                // the clients' ends stay, and the first one goes, too
		if time.Since(began) > limit {
			t.Fatalf("%d of %d dead peers are still there after %v", descriptors(t)-before-clients, clients, time.Since(began))
		}
		<-time.After(100 * time.Millisecond)
	}
	t.Logf("%d dead peers were noticed within %v", clients+1, time.Since(began).Round(100*time.Millisecond))
	loopback(t, true)
	dial()
}

// loopback takes the loopback interface of this process's network up or down; see netdevice(7).
func loopback(t *testing.T, up bool) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	var request struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], "lo")
	if up {
		request.flags = syscall.IFF_UP
	}
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); e != 0 {
		t.Fatal(e)
	}
}

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}
