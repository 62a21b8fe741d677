package protocol

import (
	"strings"
	"syscall"
	"unsafe"
)

// Of openat2(2), which the standard library does not have; the number is the same on every architecture that Go knows but
// MIPS, which has no such call under it (Linux 5.6, include/uapi/asm-generic/unistd.h), and so are the values
// (include/uapi/linux/openat2.h, fcntl.h).
const (
	sysOpenat2        = 437
	openPathOnly      = 0o10000000 // O_PATH
	resolveNoSymlinks = 0x04
	atCwd             = -100
)

// openHow is struct open_how.
type openHow struct{ flags, mode, resolve uint64 }

// glance is a look at some sources of one moment: of those in the same folder the way to it is looked at once. It must end
// before its owner waits for more sources to be named, so that the look at the way follows the naming. The zero value
// has seen nothing. It belongs to one goroutine.
type glance struct {
	folder string // "": none
	fd     int    // of the folder
}

// end forgets what was seen.
func (g *glance) end() {
	if g.folder != "" {
		_ = syscall.Close(g.fd) // nothing was written
		g.folder = ""
	}
}

// straight reports whether the absolute, clean path leads through no link at all and is none itself, so that it stands
// for nothing but itself; what it names may be missing, its folder may not. It is one answer of [resolve] in one to three
// system calls, where that takes one for each component and some. False says nothing: the kernel does not have the call, a
// filter of system calls refuses it, a link is on the way, anything is wrong; then resolve finds out.
func (g *glance) straight(path string) bool {
	i := strings.LastIndexByte(path, '/')
	if i < 0 || i == len(path)-1 || len(path) > maxStraight || strings.IndexByte(path, 0) >= 0 {
		return false
	}
	var text [maxStraight + 1]byte // ends in a zero, as the kernel wants it
	if folder := path[:max(i, 1)]; folder != g.folder {
		g.end()
		copy(text[:], folder)
		how := openHow{flags: openPathOnly | syscall.O_DIRECTORY | syscall.O_CLOEXEC, resolve: resolveNoSymlinks}
		at := atCwd // not a constant: it is to become a large unsigned number
		fd, _, errno := syscall.Syscall6(sysOpenat2, uintptr(at), uintptr(unsafe.Pointer(&text)),
			uintptr(unsafe.Pointer(&how)), unsafe.Sizeof(how), 0, 0)
		if errno != 0 {
			return false
		}
		g.folder, g.fd = folder, int(fd)
	}
	text[copy(text[:], path[i+1:])] = 0
	var target [1]byte
	_, _, errno := syscall.Syscall6(syscall.SYS_READLINKAT, uintptr(g.fd), uintptr(unsafe.Pointer(&text)),
		uintptr(unsafe.Pointer(&target)), unsafe.Sizeof(target), 0, 0)
	return errno == syscall.EINVAL || errno == syscall.ENOENT // EINVAL: it is there and no link (readlinkat(2))
}

// maxStraight is the longest path that is looked at in this way: it fits on the stack. A guess: longer than those in use.
const maxStraight = 500
