package protocol

import (
	"strings"
	"syscall"
	"unsafe"
)

// What openat2(2) needs, which the standard library does not have and which came with Linux 5.6. The number of the call is the same on
// every architecture that Go knows but MIPS, which has no such call under it (include/uapi/asm-generic/unistd.h), and so are the
// values (include/uapi/linux/openat2.h, fcntl.h).
const (
	sysOpenat2        = 437
	openPathOnly      = 0o10000000 // O_PATH
	resolveNoSymlinks = 0x04       // RESOLVE_NO_SYMLINKS
	atCwd             = -100       // AT_FDCWD
)

// openHow is struct open_how.
type openHow struct{ flags, mode, resolve uint64 }

// glance is the short way to check sources that were named together: it opens the folder of the last one and keeps it, so that the next
// source in the same folder needs no second look at the way there. It must end before more sources are waited for, so that no folder
// was looked at before the source in it was named. The zero value has seen nothing. It belongs to one goroutine.
type glance struct {
	folder string // the one that is open; "": none
	fd     int    // of the folder
}

// end forgets what was seen.
func (g *glance) end() {
	if g.folder != "" {
		_ = syscall.Close(g.fd) // nothing was written
		g.folder = ""
	}
}

// straight reports whether an absolute, clean path has no symbolic link in it, so that [resolve] would return it as it is. What it
// names may be missing, its folder may not. It takes one to three system calls, where resolve takes one for each component
// and some more. False tells nothing: there may be a link on the way, the kernel may not have the call, a filter of system calls
// may refuse it, or something is wrong. The caller then asks resolve.
func (g *glance) straight(path string) bool {
	i := strings.LastIndexByte(path, '/')
	if i < 0 || i == len(path)-1 || len(path) > maxStraight || strings.IndexByte(path, 0) >= 0 {
		return false
	}
	var text [maxStraight + 1]byte // ends in a zero byte, as the kernel wants it
	if folder := path[:max(i, 1)]; folder != g.folder {
		g.end()
		copy(text[:], folder)
		how := openHow{flags: openPathOnly | syscall.O_DIRECTORY | syscall.O_CLOEXEC, resolve: resolveNoSymlinks}
		at := atCwd // a variable, for the compiler converts no negative constant to uintptr
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

// maxStraight is the longest path that straight looks at, in bytes, so that its buffer fits on the stack. A guess: longer than most.
const maxStraight = 500
