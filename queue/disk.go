package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"s3apu/protocol"
)

// Refusal reports whether err is one of a disk that may take writes again without anybody touching the configuration:
// full, over quota, read-only, broken, or away.
func Refusal(err error) bool {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, syscall.ESTALE} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// diskHint says what to do about an error of the disk under dir.
func diskHint(errno syscall.Errno, dir string) string {
	switch errno {
	case syscall.ENOSPC:
		return noRoom(dir)
	case syscall.EDQUOT:
		return "the quota of the agent's user or project is used up" + onDevice(dir) + ": free some, raise it, or move state_dir"
	case syscall.EROFS:
		return "the file system" + onDevice(dir) + " is read-only: see the system's log (dmesg) for why, then mount it writable, or move state_dir"
	case syscall.EIO:
		return "the disk" + onDevice(dir) + " fails: see the system's log (dmesg) and replace it, or move state_dir"
	case syscall.ESTALE:
		return "the file server no longer knows the folder: mount it again, or move state_dir to a local disk"
	}
	return ""
}

func noRoom(dir string) string {
	free := ""
	if u, err := vfs.Default.GetDiskUsage(existing(dir)); err == nil {
		free = fmt.Sprintf(": %d bytes free", u.AvailBytes)
	}
	return "no room left" + onDevice(dir) + free + ", free some or move state_dir (df -i tells whether it is the inodes)"
}

// onDevice names the device under dir, if the system tells.
func onDevice(dir string) string {
	if name := deviceOf(existing(dir)); name != "" {
		return " on " + name
	}
	return " where " + dir + " lies"
}

// existing returns dir or the nearest folder above it that is there.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return dir
		}
		dir = up
	}
}

// Room that must be free before a store that broke is opened again, so that it does not break at once: four memtables
// and a compaction's output. On a small file system it is an eighth of it. Guesses.
const (
	roomBytes = 16 << 20
	roomShare = 8
)

// The probe is a file that is written and synced before the store is opened again: statfs(2) knows nothing of quotas and
// broken disks. As large as a memtable.
const (
	probeName  = "probe"
	probeBytes = memTableBytes
)

// Check reports why a queue in dir could not be worked with, or nil. It looks for room, writes and syncs a small file in
// dir or in the nearest folder above it that is there and removes it again (KindLocal), and looks through the records of a
// store that is there, of which it changes nothing (KindDamaged, KindUsage for a newer version's). KindLocked means that
// somebody works with it now, so that the store itself was not looked at.
func Check(dir string) error {
	at := existing(dir)
	if st, err := os.Stat(at); err == nil && !st.IsDir() {
		return &protocol.Error{Op: opWrite, Object: at, Kind: protocol.KindLocal, Err: errors.New("it is not a folder"), Hint: "choose another state_dir"}
	}
	if err := enough(vfs.Default, dir, at); err != nil {
		return err
	}
	if err := probe(vfs.Default, filepath.Join(at, ".s3apu-check-"+strconv.Itoa(os.Getpid()))); err != nil {
		return probeError(dir, err)
	}
	q := newQueue(dir, Options{})
	if at != dir {
		return nil
	}
	found, err := findStore(q.opt.fs, dir)
	if err != nil || !found {
		return err
	}
	st := q.newStore()
	defer close(st.done)
	lock, err := lockDir(st.guard, dir)
	if err != nil {
		return err
	}
	_, err = q.inspect(st, st.guard.PathJoin(dir, storeName), false)
	if err != nil {
		err = storeError(opOpen, dir, err)
	}
	return errors.Join(err, lock.Close())
}

// enough reports that there is too little room, or nil, also where that cannot be told.
func enough(f vfs.FS, dir, at string) error {
	u, err := f.GetDiskUsage(at)
	few := err == nil && u.TotalBytes > 0 && u.AvailBytes < min(roomBytes, u.TotalBytes/roomShare)
	if !few {
		return nil
	}
	return &protocol.Error{Op: opWrite, Object: dir, Kind: protocol.KindLocal, Err: syscall.ENOSPC, Hint: noRoom(dir)}
}

// probe writes a file whole, puts it on the disk and removes it.
func probe(f vfs.FS, name string) error {
	file, err := f.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = file.Write(make([]byte, probeBytes))
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close(), f.Remove(name))
}

func probeError(dir string, err error) error {
	if err == nil {
		return nil
	}
	e := storeError(opWrite, dir, err)
	if e.Kind == protocol.KindDamaged { // nothing was read that could be
		e.Hint = "make the folder, or choose another state_dir"
	}
	e.Kind = protocol.KindLocal
	return e
}
