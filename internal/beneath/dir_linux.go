package beneath

import (
	"errors"

	"golang.org/x/sys/unix"

	"s3apu/protocol"
)

// pathOnly opens a folder that need not be readable, only searchable.
const pathOnly = unix.O_PATH

// atOnce opens root and what is below it in one call, if no link is on the way to the root either. Else, and whatever else is wrong, it
// returns nil: that is for the root to be opened by itself to find. rel has no "..", so that RESOLVE_BENEATH says nothing more; the root
// may have, and is left as it is written, for ".." behind a link is not what the text says.
func atOnce(root, rel string, flags int) *Dir {
	if rel == "" || proper(rel) != nil {
		return nil
	}
	how := unix.OpenHow{Flags: uint64(flags | folderFlags), Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, root+"/"+rel, &how)
	if err != nil {
		return nil
	}
	return &Dir{fd: fd, path: join(root, rel)}
}

// straight opens in one call where the kernel has it. EPERM and ENOSYS are also what filters of system calls answer with
// (container runtimes whose lists are older than the call); whatever is wrong for another reason the slow way finds again.
func straight(at int, rel string, flags int) (fd int, err error) {
	how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	err = again(func() (err error) { fd, err = unix.Openat2(at, rel, &how); return })
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM), errors.Is(err, unix.EAGAIN):
		return stepwise(at, rel, flags)
	}
	return fd, err
}

// Virtual reports whether the folder is of a file system whose files are regular by name only: what they hold is made up
// when they are read, and is often about the reader (magic numbers of statfs(2)).
func (d *Dir) Virtual() bool {
	var fs unix.Statfs_t
	if again(func() error { return unix.Fstatfs(d.fd, &fs) }) != nil {
		return false
	}
	switch int64(fs.Type) { //nolint:unconvert // 32 bits on some architectures
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.SELINUX_MAGIC,
		unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.BPF_FS_MAGIC, unix.PSTOREFS_MAGIC, unix.EFIVARFS_MAGIC, unix.NSFS_MAGIC,
		unix.DEVPTS_SUPER_MAGIC, unix.BINFMTFS_MAGIC, unix.RDTGROUP_SUPER_MAGIC, unix.XENFS_SUPER_MAGIC, unix.OPENPROM_SUPER_MAGIC:
		return true
	}
	return false
}

func statOf(st *unix.Stat_t) protocol.Stat {
	return protocol.Stat{
		Size:  st.Size,
		MTime: st.Mtim.Nano(),
		CTime: st.Ctim.Nano(),
		Dev:   uint64(st.Dev), //nolint:unconvert // 32 bits on MIPS
		Ino:   st.Ino,
		Mode:  st.Mode, UID: st.Uid, GID: st.Gid,
	}
}
