package protocol

import (
	"errors"
	"io/fs"
	"net"
	"syscall"
)

// wsaeConnRefused is WSAECONNREFUSED (winsock2.h): the socket's file is there and nobody listens.
const wsaeConnRefused syscall.Errno = 10061

// bindUnix makes the socket. Windows has no mode for it; the rights of the folder decide.
func bindUnix(path string) (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

func protect(string) error { return nil }

// isSocket takes the forms in which Windows shows a socket's file: as a socket or as an irregular file.
func isSocket(st fs.FileInfo) bool { return st.Mode()&(fs.ModeSocket|fs.ModeIrregular) != 0 }

func refusedBySocket(err error) bool { return errors.Is(err, wsaeConnRefused) }
