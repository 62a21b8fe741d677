package access

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Permission bits of one class (inode(7)).
const (
	search = 1
	read   = 4
)

// maxLinks is how many links a path may lead through (path_resolution(7)).
const maxLinks = 40

// MayRead reports why u could not have opened the open file for reading by a path of its own now, or nil. The file itself is
// judged, not its name: the modes of the inode behind f, and the folders that lead to just this inode, each looked at while
// it is held. Who swaps links or folders meanwhile gains nothing.
func (u User) MayRead(f syscall.Conn) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var verdict error
	err = raw.Control(func(fd uintptr) { verdict = u.mayRead(int(fd)) })
	return errors.Join(err, verdict)
}

func (u User) mayRead(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return refusal(err.Error())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return refusal("it is not a file")
	}
	if err := u.allows(fd, &st, read); err != nil {
		return err
	}
	real, err := os.Readlink(procPath(fd))
	if err != nil || !strings.HasPrefix(real, "/") {
		return refusal("it cannot be told where the file lies")
	}
	w := walk{user: u, dir: -1}
	defer w.close()
	name, err := w.to(real)
	if err != nil {
		return err
	}
	var named unix.Stat_t
	if err := unix.Fstatat(w.dir, name, &named, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return refusal("the file was moved: " + err.Error())
	}
	if named.Dev != st.Dev || named.Ino != st.Ino {
		return refusal("the file was moved")
	}
	return nil
}

// MayReach reports why u could not open the absolute path for reading now, links followed, or nil. The last component may
// be missing, for whoever may search its folder can see that. It answers early and is no guard: a path can lead elsewhere a
// moment later.
func (u User) MayReach(path string) error {
	if !strings.HasPrefix(path, "/") {
		return refusal("the path is not absolute")
	}
	w := walk{user: u, dir: -1, follow: true, links: maxLinks}
	defer w.close()
	name, err := w.to(path)
	if err != nil {
		return err
	}
	fd, err := unix.Openat(w.dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return refusal(err.Error())
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return refusal(err.Error())
	}
	return u.allows(fd, &st, read)
}

// walk goes down from the root as a user would, and holds the folder that it has come to.
type walk struct {
	user   User
	dir    int  // -1: none yet
	follow bool // the last component, too, may be a link
	links  int  // that may still be followed
}

func (w *walk) close() {
	if w.dir >= 0 {
		_ = unix.Close(w.dir) // nothing was written
	}
}

// enter goes on in the open folder fd, if the user may search it. It owns fd from here on.
func (w *walk) enter(fd int) error {
	w.close()
	w.dir = fd
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return refusal(err.Error())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return refusal("a file is in the place of a folder")
	}
	return w.user.allows(fd, &st, search)
}

func (w *walk) root() error {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return refusal(err.Error())
	}
	return w.enter(fd)
}

// to goes to the folder of the path's last component and returns the name of that, which is no link if w.follow
// is set.
func (w *walk) to(path string) (name string, err error) {
	if err := w.root(); err != nil {
		return "", err
	}
	for left := parts(path); ; {
		if len(left) == 0 {
			return ".", nil
		}
		name, left = left[0], left[1:]
		if len(left) == 0 && (!w.follow || name == "..") {
			return name, nil
		}
		fd, err := unix.Openat(w.dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) && len(left) == 0 {
			return name, nil
		}
		if err != nil {
			return "", refusal(err.Error())
		}
		target, link, err := readlink(fd)
		switch {
		case err != nil:
			_ = unix.Close(fd) // nothing was written
			return "", refusal(err.Error())
		case link:
			_ = unix.Close(fd) // as above
			if w.links--; w.links < 0 {
				return "", refusal("a link is on the way, or too many")
			}
			if strings.HasPrefix(target, "/") {
				if err := w.root(); err != nil {
					return "", err
				}
			}
			left = append(parts(target), left...)
		case len(left) == 0:
			_ = unix.Close(fd) // as above
			return name, nil
		default:
			if err := w.enter(fd); err != nil {
				return "", err
			}
		}
	}
}

// parts splits a path into its components.
func parts(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// readlink reads the link that fd was opened on without following it.
func readlink(fd int) (target string, link bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", false, err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err == nil && n == len(buf) {
		err = unix.ENAMETOOLONG
	}
	return string(buf[:max(n, 0)]), true, err
}

// procPath names an open descriptor, also one that was opened without the right to read.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// otherACLs are kinds of ACLs that decide instead of the mode and that we do not read.
var otherACLs = [...]string{"system.nfs4_acl", "system.richacl"}

// allows reports why the user has not all the wanted rights on the inode behind fd, or nil.
func (u User) allows(fd int, st *unix.Stat_t, want uint32) error {
	for _, name := range otherACLs {
		if _, err := unix.Getxattr(procPath(fd), name, nil); !noAttribute(err) {
			return refusal("it has an ACL of another kind")
		}
	}
	if st.Mode&0o070 == 0 {
		// The group's bits are the ACL's mask. Where they are all off the kernel does not look at the ACL at all, so that who
		// is named in it is judged as others are (acl_permission_check in fs/namei.c); acl(5) does not tell.
		if u.byMode(st, want) {
			return nil
		}
		return denied(st)
	}
	var buf [4096]byte
	n, err := unix.Getxattr(procPath(fd), "system.posix_acl_access", buf[:])
	var ok bool
	switch {
	case err == nil:
		if ok, err = u.byACL(buf[:n], st, want); err != nil {
			return refusal(err.Error())
		}
	case noAttribute(err):
		ok = u.byMode(st, want)
	default:
		return refusal("its ACL cannot be read: " + err.Error())
	}
	if !ok {
		return denied(st)
	}
	return nil
}

func denied(st *unix.Stat_t) error {
	return refusal(fmt.Sprintf("mode %04o of user %d and group %d, ACLs included", st.Mode&0o7777, st.Uid, st.Gid))
}

func noAttribute(err error) bool {
	return errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP)
}

// byMode decides as the kernel does without an ACL: one class decides, the first that fits.
func (u User) byMode(st *unix.Stat_t, want uint32) bool {
	group, other := st.Mode>>3&want == want, st.Mode&want == want
	switch {
	case u.UID == st.Uid:
		return st.Mode>>6&want == want
	case !u.GroupsKnown:
		return group && other
	case u.in(st.Gid):
		return group
	}
	return other
}

func (u User) in(gid uint32) bool {
	for _, g := range u.Groups {
		if g == gid {
			return true
		}
	}
	return false
}
