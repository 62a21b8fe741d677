// Package beneath opens and looks at what lies below a folder, so that no symbolic link on the way is followed, not even
// one that is put there in the moment of opening. The root itself is opened by its path, links followed: it is named by
// whoever runs the program, and whoever can change the folders above it owns it in any case.
//
// How it is done depends on the system:
//
//   - Linux 5.6 and later: openat2(2) with RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS, one call for the root and a path of
//     any depth below it, or two where a link leads to the root, the second with RESOLVE_BENEATH as well. Where a filter of
//     system calls refuses it or the kernel is older, it is done as on other Unix systems.
//   - other Unix systems (macOS): component by component with openat(2), O_NOFOLLOW and O_DIRECTORY. Without O_PATH every
//     folder on the way must be readable, not only searchable.
//   - Windows and the rest: component by component with [os.Root], which never leaves the root. A link is refused when it
//     is seen, and what was opened is compared with what was seen.
//
// Everything that is opened is opened for reading, without waiting and without becoming a controlling terminal; what is no
// regular file is refused. Errors are [fs.PathError]s around the system's: ELOOP for a link on the way or at the end,
// ENOTDIR for a folder that is none. All functions and methods may be called at the same time.
//
// What it does not close: a hard link to somebody else's file is that file (Linux forbids making one with
// fs.protected_hardlinks = 1), and a mount below the root is entered.
package beneath
