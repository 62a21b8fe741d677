//go:build !unix

package bucket

import "syscall"

// tellsQuiet: see wire_posix.go; here net/http does all.
const tellsQuiet = false

func quiet(syscall.RawConn) bool { return false }
