package watcher

import (
	"errors"

	"golang.org/x/sys/unix"
)

// leaseRest tells whether anybody has the file open for writing, by a read lease that it gives back at once.
func leaseRest(fd int) Rest {
	rest := askLease(fd)
	if rest == Yes {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
			return Unknown // closing the file ends the lease
		}
	}
	return rest
}

// askLease takes a read lease, which the caller has to end if the answer is Yes. fcntl(2): EAGAIN while the file is open for
// writing; EACCES for a file of another user; EINVAL where the filesystem has no leases.
func askLease(fd int) Rest {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	switch {
	case err == nil:
		return Yes
	case errors.Is(err, unix.EAGAIN) && !remote(fd):
		return Busy
	}
	return Unknown
}

// remote reports whether EAGAIN may also mean that the server granted no delegation or oplock (fs/nfs/nfs4file.c,
// fs/smb/client/cifsfs.c in Linux), which can last for ever.
func remote(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) != nil || isRemote(&st)
}

// remotePath is remote for a path.
func remotePath(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) != nil || isRemote(&st)
}

func isRemote(st *unix.Statfs_t) bool {
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return true
	}
	return false
}

// restOf opens a regular file and asks. found false: there is no regular file (any more).
func restOf(path string) (rest Rest, found bool) {
	var fd int
	for {
		var err error
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		if err == nil {
			break
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return Unknown, !isGone(err) && !errors.Is(err, unix.ELOOP)
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written, so nothing can be lost; it also ends the lease
	if rest = askLease(fd); rest == Yes {
		return rest, true // it is a regular file: nothing else has leases (fcntl(2))
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Unknown, true
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return Unknown, false
	}
	return rest, true
}
