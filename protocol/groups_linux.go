//go:build linux && !386 && !s390x

package protocol

import (
	"encoding/binary"
	"syscall"
	"unsafe"
)

// soPeerGroups is SO_PEERGROUPS (asm-generic/socket.h; Linux 4.13).
const soPeerGroups = 59

// peerGroups returns the supplementary groups that the process at the other end had when it connected; ok is false if
// they cannot be told, or are more than a [Guest] keeps.
func peerGroups(fd int) (gids []uint32, ok bool) {
	var buf [4 * maxGroups]byte
	n := uint32(len(buf))
	_, _, e := syscall.Syscall6(syscall.SYS_GETSOCKOPT, uintptr(fd), syscall.SOL_SOCKET, soPeerGroups,
		uintptr(unsafe.Pointer(&buf)), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 {
		return nil, false
	}
	for b := buf[:n]; len(b) >= 4; b = b[4:] {
		gids = append(gids, binary.NativeEndian.Uint32(b))
	}
	return gids, true
}
