// Package watcher turns what the kernel says about a tree of folders into two kinds of hints: "this path is at rest
// and may differ" and "look through this folder again". It owns the watches, the dirty marks and the waiting; it
// knows nothing of S3, keys or queues, and reads no file's content.
//
// # What it promises
//
//   - A change below the root that the kernel reports is handed out by [Watcher.Next] as its own path or as a Rescan
//     of a folder above it. When there is too much to remember (names in a folder, folders, a kernel queue that ran
//     over), the hints become coarser, never fewer. Memory is bounded by constants, apart from about half a kilobyte
//     for each watched folder.
//   - A file is handed out as a path only when nobody had it open for writing, or mapped writable, at the moment of
//     the check (Linux, a file of our own or CAP_LEASE, a local filesystem). Elsewhere it is handed out when it was
//     quiet for Settle, or after MaxDelay. Whoever reads it afterwards still compares its state before and after.
//   - What lies in a folder of a Rescan has not been waited for: ask [AtRestPath], and [Watcher.Mark] what is busy.
//   - A watch always stands before the folder under it is listed or reported, so nothing falls between the two.
//
// # What it cannot see
//
// The kernel says nothing about writes through a mapping, through a hard link or bind mount outside the tree, and
// about changes made by other machines on NFS, SMB or FUSE. A scan on a schedule by the caller is not optional.
//
// # How it fails
//
// [Watcher.Run] fails only when the root is not a readable folder at the start, unless it may be Away. After that it goes on: a folder that
// cannot be watched (no watches left, no permission) is polled and listed in [Stats]; a root that vanishes is looked
// for every second; each such turn is a Rescan with its Why. A disk call that hangs (a dead NFS server) hangs the
// settling or the keeping of watches, and Run's return, with it.
//
// # Other systems
//
// On macOS and the BSDs fsnotify uses kqueue: one open file for every file in a watched folder, so large trees meet
// the limit on open files and are then polled. On Windows it uses ReadDirectoryChangesW. Neither has leases, so files
// settle by being quiet. On Windows folders have no cheap identity here, so a renamed folder is watched anew each time
// it is visited. The package compiles for them; its tests were written for and run on Linux.
//
// # How to read it
//
// watcher.go is the face. loop.go hears the kernel and only marks; marks.go remembers what is dirty and due.go when;
// settle.go waits for files to rest, which rest.go asks; keeper.go, visit.go, heal.go and table.go keep the watches true;
// complaint.go says what is wrong with them.
package watcher
