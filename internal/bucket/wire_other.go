//go:build !unix

package bucket

import "syscall"

// tellsQuiet: see the other file; here net/http does all.
const tellsQuiet = false

func quiet(syscall.RawConn) bool { return false }
