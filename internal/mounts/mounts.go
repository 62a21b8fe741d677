// Package mounts tells what is mounted at and below a folder, and which folder a path is. It reads the table of mounts
// and asks the file system; it remembers nothing but the last table ([Reader]), and decides nothing.
//
// On Linux the table is /proc/self/mountinfo (proc_pid_mountinfo(5)): it names bind mounts too, which have the device
// number of what lies around them, and it answers at once where a dead server would let stat(2) hang. On other systems
// there is no table, and [Table] says so with [errors.ErrUnsupported].
package mounts

import (
	"path/filepath"
	"strings"
)

// Mount is one line of the table.
type Mount struct {
	ID   uint64 // good until it is unmounted; numbers are used again
	Path string // where it is mounted, absolute
	FS   string // the type of the file system, such as "ext4", "nfs4", "fuse.sshfs"
	From string // what is mounted: a device, a server's path, a name
}

// Below returns the mounts whose mount point lies below root, which must be free of links, by the path below root with
// slashes. Of several on one point the last is the visible one.
func Below(table []Mount, root string) map[string]Mount {
	prefix := strings.TrimSuffix(root, string(filepath.Separator)) + string(filepath.Separator)
	var below map[string]Mount
	for _, m := range table {
		if rel, ok := strings.CutPrefix(m.Path, prefix); ok && rel != "" {
			if below == nil {
				below = map[string]Mount{}
			}
			below[filepath.ToSlash(rel)] = m
		}
	}
	return below
}

// Over returns the mount that path, which must be free of links, lies on.
func Over(table []Mount, path string) (over Mount, ok bool) {
	for _, m := range table {
		within := m.Path == path || strings.HasPrefix(path, strings.TrimSuffix(m.Path, string(filepath.Separator))+string(filepath.Separator))
		if within && len(m.Path) >= len(over.Path) {
			over, ok = m, true
		}
	}
	return over, ok
}

// blind are the file systems on which others than this kernel's programs may write, so that inotify does not hear of it:
// inotify(7) "does not report file accesses and modifications that may occur on network filesystems". The names are those
// that the file systems register under (file_system_type.name in the kernel's or the module's source, as in
// /proc/filesystems); statfs(2) has numbers for most, but has to ask the file system, whose server may be dead.
var blind = map[string]string{
	"nfs":  "network: fs/nfs/fs_context.c",
	"nfs4": "network: fs/nfs/fs_context.c",
	"cifs": "network: fs/smb/client/cifsfs.c",
	"smb3": "network: fs/smb/client/cifsfs.c",
	"afs":  "network: fs/afs/super.c",
	"ceph": "network: fs/ceph/super.c",
	"coda": "network: fs/coda/inode.c",
	"9p":   "the host of a virtual machine, or a network: fs/9p/vfs_super.c",

	"virtiofs": "the host of a virtual machine: fs/fuse/virtio_fs.c",
	"vboxsf":   "the host of a virtual machine: fs/vboxsf/super.c",
	"vmhgfs":   "the host of a virtual machine, before open-vm-tools used FUSE",
	"prl_fs":   "the host of a virtual machine: Parallels Tools",

	"gfs2":     "a disk of several machines: fs/gfs2/ops_fstype.c",
	"ocfs2":    "a disk of several machines: fs/ocfs2/super.c",
	"pvfs2":    "several machines: fs/orangefs/super.c",
	"lustre":   "several machines: lustre/llite/super25.c",
	"beegfs":   "several machines: client_module/source/filesystem/FhgfsOps_versions.h",
	"gpfs":     "several machines: IBM Storage Scale",
	"smbfs":    "network: before cifs took its place (Linux 2.6.37)",
	"ncpfs":    "network: until Linux 4.16",
	"fuse":     "a program, which may have its data from anywhere: fs/fuse/inode.c; \"fuse.NAME\" as well",
	"overlay":  "what the host of a container writes into a layer: fs/overlayfs/super.c",
	"ecryptfs": "what is written below it: fs/ecryptfs/main.c",
}

// Blind reports whether changes on a file system of this type may come from where the kernel does not report them.
// "fuseblk" is a local disk that only this machine writes, and hears.
func Blind(fs string) bool { return blind[fs] != "" || strings.HasPrefix(fs, "fuse.") }

// Remote reports whether a question to a file system of this type may wait for ever, for a server or a program that is gone.
func Remote(fs string) bool { return Blind(fs) && fs != "overlay" && fs != "ecryptfs" }

// Named returns an identity that the table alone tells, without a question to the file system: what is mounted, by name.
func Named(m Mount) Identity { return Identity(m.FS + " " + m.From) }

// Identity tells a folder from another one in its place, also after a reboot: the inode number and, where the file
// system keeps it, the time of birth. Device numbers are no part of it: they change. The text is for memory and
// comparison by [Same] only. Empty: unknown.
type Identity string

// Sure reports whether no other folder can have this identity: it has a birth. An inode number alone is used again, and
// the top of a file system often has the same.
func (i Identity) Sure() bool { return strings.Contains(string(i), "@") }

// Same reports whether two identities can be of the same folder: the birth counts only where both have one. Unknown ones
// are the same as none.
func Same(a, b Identity) bool {
	inoA, bornA, okA := strings.Cut(string(a), "@")
	inoB, bornB, okB := strings.Cut(string(b), "@")
	return a != "" && b != "" && inoA == inoB && (!okA || !okB || bornA == bornB)
}
