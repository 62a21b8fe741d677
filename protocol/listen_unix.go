//go:build unix && !linux

package protocol

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// bindUnix makes the socket. Here the mode of its file comes from the umask alone, which belongs to the whole process:
// a file that another goroutine makes in the same instant may lose bits too, and gets none too many.
func bindUnix(path string) (*net.UnixListener, error) {
	old := syscall.Umask(0o777 &^ int(socketMode))
	defer syscall.Umask(old)
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

// protect gives the file its mode.
func protect(path string) error { return os.Chmod(path, socketMode) }

func isSocket(st fs.FileInfo) bool { return st.Mode()&fs.ModeSocket != 0 }

func refusedBySocket(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
