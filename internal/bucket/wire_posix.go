//go:build unix

package bucket

import (
	"errors"
	"syscall"
)

// tellsQuiet: this system tells whether anything has come on a connection.
const tellsQuiet = true

// quiet reports whether nothing has come on an idle connection: neither its end nor a byte, which would be lost by this. Go's sockets do
// not block (read(2), EAGAIN).
func quiet(conn syscall.RawConn) bool {
	silent := false
	err := conn.Control(func(fd uintptr) {
		var one [1]byte
		_, err := syscall.Read(int(fd), one[:])
		silent = errors.Is(err, syscall.EAGAIN)
	})
	return err == nil && silent
}
