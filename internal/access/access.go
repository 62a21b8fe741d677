// Package access judges whether another user could read a file by itself, for a program with more rights that is asked to
// read it on that user's behalf. It decides as Linux does for a process without capabilities: by owner, groups, mode and
// POSIX ACL of the file, and of every folder on the way to it. Where that cannot be told, the answer is no: other kinds of
// ACLs, groups that are not known, a file that is moved meanwhile, other systems.
//
// Not seen are security modules (SELinux, AppArmor), file systems whose server decides otherwise than its modes say (NFS
// with squashed users, FUSE), and what a user in another mount namespace or chroot has before its eyes.
package access

import "errors"

// User is who is judged.
type User struct {
	UID         uint32
	Groups      []uint32 // the effective one and the supplementary ones
	GroupsKnown bool     // false: Groups is not to be relied on, and only what holds in whatever group is allowed
}

// ErrDenied is in the chain of every refusal.
var ErrDenied = errors.New("the user could not read it")

// refusal is an ErrDenied with its reason.
type refusal string

func (r refusal) Error() string        { return ErrDenied.Error() + ": " + string(r) }
func (r refusal) Is(target error) bool { return target == ErrDenied }
