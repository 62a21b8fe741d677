//go:build !windows

package service

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen stands in for the service manager's end of sd_notify.
func listen(t *testing.T) *net.UnixConn {
	t.Helper()
	name := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return conn
}

func heard(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1024)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestSignalEndsTheContextAndTheManagerIsTold(t *testing.T) {
	conn := listen(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		want := errors.New("what main returned")
		err := Run(t.Context(), Config{}, func(ctx context.Context) error {
			if err := errors.Join(Ready(), Say("2 files\nwaiting")); err != nil {
				t.Error(err)
			}
			if err := syscall.Kill(os.Getpid(), sig); err != nil {
				t.Error(err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Second):
				t.Error("the signal did not end the context")
			}
			return want
		})
		if !errors.Is(err, want) {
			t.Errorf("%v: Run returned %v", sig, err)
		}
		for _, message := range []string{"READY=1", "STATUS=2 files waiting", "STOPPING=1"} {
			if got := heard(t, conn); got != message {
				t.Errorf("%v: the manager heard %q, want %q", sig, got, message)
			}
		}
	}
}

func TestRunReturnsWhenMainDoes(t *testing.T) {
	conn := listen(t)
	if err := Run(t.Context(), Config{}, func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := Say("last"); err != nil {
		t.Fatal(err)
	}
	if got := heard(t, conn); got != "STATUS=last" {
		t.Errorf("the manager heard %q although nothing stopped", got)
	}
}

func TestNobodyToTell(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Ready(); err != nil {
		t.Error(err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := Ready(); err == nil {
		t.Error("a socket that is gone was not an error")
	}
}
