package watcher

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Rest says whether a file is at rest.
type Rest uint8

const (
	Unknown Rest = iota // it cannot be told here; quiet time has to decide
	Busy                // somebody has it open for writing or mapped writable, or wrote it a moment ago
	Yes                 // nobody has
)

// String returns the answer as a word for logs.
func (r Rest) String() string {
	switch r {
	case Busy:
		return "busy"
	case Yes:
		return "yes"
	}
	return "unknown"
}

// AtRest asks the kernel whether anybody has f open for writing or mapped writable. f must be a regular file that was
// opened for reading only, else it is its own writer. On Linux it takes a read lease (fcntl(2), F_SETLEASE) and gives
// it back at once, which costs some microseconds; a program that opens the file for writing in between waits for that
// long, or gets EWOULDBLOCK if it asked not to wait. The answer is Unknown on other systems, for files of other users
// without CAP_LEASE, and on filesystems that have no leases or (NFS, SMB) whose refusal does not mean a writer.
func AtRest(f syscall.Conn) Rest {
	c, err := f.SyscallConn()
	if err != nil {
		return Unknown
	}
	rest := Unknown
	if err := c.Control(func(fd uintptr) { rest = leaseRest(int(fd)) }); err != nil {
		return Unknown
	}
	return rest
}

// AtRestPath is the answer for one look at a path. A regular file is opened without following a link or waiting, and
// asked with [AtRest]; where that cannot tell, it is at rest when its times are older than settle, and Busy when they
// are younger. Times in the future (the clock was set back, or a server has another one) tell nothing: Unknown, let
// a [Watcher] observe it for a while ([Watcher.Mark]). Anything but a regular file needs no rest: Yes. But ask only for what
// was a regular file a moment ago, since it is opened before it is looked at: who waits to write into a FIFO would take us for
// its reader, and some devices do something when they are opened. A path that is not there, or cannot be looked at, is Unknown.
// told: the kernel has told, and not the times.
func AtRestPath(path string, settle time.Duration, now time.Time) (rest Rest, told bool) {
	rest, found := restOf(path)
	if found && rest != Unknown {
		return rest, true // the usual case: the open file alone tells, without lstat(2)
	}
	fi, err := os.Lstat(path)
	switch {
	case err != nil:
		return Unknown, false
	case !fi.Mode().IsRegular():
		return Yes, false
	case !found:
		return Unknown, false // it became a regular file between the two looks
	}
	return quietFor(fi, settle, now), false
}

// Tells reports whether the kernel, if it has told of the file at path, tells of every file of its file system and owner. A server grants
// leases as it likes: of one file and not of another.
func Tells(path string) bool { return !remotePath(path) }

// quietFor compares a file's times with the clock. Every write sets both times, but the modification time can be set
// by anybody to anything: one in the future counts only where there is no change time.
func quietFor(fi fs.FileInfo, settle time.Duration, now time.Time) Rest {
	latest := fi.ModTime()
	if changed, ok := changeTime(fi); ok && (changed.After(latest) || latest.After(now)) {
		latest = changed
	}
	switch age := now.Sub(latest); {
	case age < 0:
		return Unknown
	case age < settle:
		return Busy
	}
	return Yes
}
