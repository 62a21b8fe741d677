package protocol

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// bindUnix makes the socket. On Linux the file of a socket takes its mode from the socket itself, less the umask
// (unix_bind in net/unix/af_unix.c), so it is narrowed before there is a file.
func bindUnix(path string) (*net.UnixListener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) { set = syscall.Fchmod(int(fd), uint32(socketMode)) })
		return errors.Join(err, set)
	}}
	ln, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	return ln.(*net.UnixListener), nil
}

// protect gives the file its mode, whatever the umask took away.
func protect(path string) error { return os.Chmod(path, socketMode) }

func isSocket(st fs.FileInfo) bool { return st.Mode()&fs.ModeSocket != 0 }

func refusedBySocket(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
