package protocol

import (
	"strings"
	"syscall"
	"unsafe"
)

// Of openat2(2), which the standard library does not have; the number is the same on every architecture that Go knows
// (Linux 5.6, include/uapi/asm-generic/unistd.h), and so are the values (include/uapi/linux/openat2.h, fcntl.h).
const (
	sysOpenat2        = 437
	openPathOnly      = 0o10000000 // O_PATH
	resolveNoSymlinks = 0x04
	atCwd             = -100
)

// openHow is struct open_how.
type openHow struct{ flags, mode, resolve uint64 }

// straight reports whether the absolute, clean path leads through no link at all and is none itself, so that it stands
// for nothing but itself; what it names may be missing, its folder may not. It is one answer of [resolve] in three system
// calls, where that takes one for each component and some. False says nothing: the kernel does not have the call, a
// filter of system calls refuses it, a link is on the way, anything is wrong; then resolve finds out.
func straight(path string) bool {
	i := strings.LastIndexByte(path, '/')
	if i < 0 || i == len(path)-1 {
		return false
	}
	names := make([]byte, 0, maxStraight+2)
	if len(path) > maxStraight || strings.IndexByte(path, 0) >= 0 {
		return false
	}
	names = append(append(append(append(names, path[:max(i, 1)]...), 0), path[i+1:]...), 0)
	folder, name := &names[0], &names[max(i, 1)+1]
	how := openHow{flags: openPathOnly | syscall.O_DIRECTORY | syscall.O_CLOEXEC, resolve: resolveNoSymlinks}
	at := atCwd // not a constant: it is to become a large unsigned number
	fd, _, errno := syscall.Syscall6(sysOpenat2, uintptr(at), uintptr(unsafe.Pointer(folder)),
		uintptr(unsafe.Pointer(&how)), unsafe.Sizeof(how), 0, 0)
	if errno != 0 {
		return false
	}
	var target [1]byte
	_, _, errno = syscall.Syscall6(syscall.SYS_READLINKAT, fd, uintptr(unsafe.Pointer(name)),
		uintptr(unsafe.Pointer(&target[0])), uintptr(len(target)), 0, 0)
	_ = syscall.Close(int(fd)) // nothing was written
	// readlinkat(2): EINVAL says that it is there and no link.
	return errno == syscall.EINVAL || errno == syscall.ENOENT
}

// maxStraight is the longest path that is looked at in this way: it fits on the stack. A guess: longer than those in use.
const maxStraight = 500
