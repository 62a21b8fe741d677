package access

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// The form of system.posix_acl_access (linux/posix_acl_xattr.h): a version, then entries of tag, rights and id, all in
// little endian.
const (
	aclVersion = 2
	aclHeader  = 4
	aclEntry   = 8
)

// Tags of the entries (linux/posix_acl.h).
const (
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
)

var errACL = errors.New("its ACL cannot be understood")

// byACL decides by the algorithm of acl(5), "ACCESS CHECK ALGORITHM".
func (u User) byACL(text []byte, st *unix.Stat_t, want uint32) (bool, error) {
	if len(text) < aclHeader || (len(text)-aclHeader)%aclEntry != 0 || binary.LittleEndian.Uint32(text) != aclVersion {
		return false, errACL
	}
	mask := uint32(7)
	var owner, other uint32
	var user *uint32       // rights of the entry for this user
	var groups, all []bool // whether each group entry that fits grants what is wanted; all: each there is
	entries := text[aclHeader:]
	for e := entries; len(e) > 0; e = e[aclEntry:] {
		if binary.LittleEndian.Uint16(e) == aclMask {
			mask = uint32(binary.LittleEndian.Uint16(e[2:]))
		}
	}
	for e := entries; len(e) > 0; e = e[aclEntry:] {
		rights, id := uint32(binary.LittleEndian.Uint16(e[2:])), binary.LittleEndian.Uint32(e[4:])
		grants := rights&mask&want == want
		switch binary.LittleEndian.Uint16(e) {
		case aclUserObj:
			owner = rights
		case aclUser:
			if id == u.UID {
				r := rights & mask
				user = &r
			}
		case aclGroupObj, aclGroup:
			if binary.LittleEndian.Uint16(e) == aclGroupObj {
				id = st.Gid
			}
			if all = append(all, grants); u.in(id) {
				groups = append(groups, grants)
			}
		case aclOther:
			other = rights
		case aclMask:
		default:
			return false, errACL
		}
	}
	switch {
	case u.UID == st.Uid:
		return owner&want == want, nil
	case user != nil:
		return *user&want == want, nil
	case !u.GroupsKnown:
		return every(all) && other&want == want, nil
	case len(groups) > 0:
		return some(groups), nil
	}
	return other&want == want, nil
}

func every(all []bool) bool {
	for _, ok := range all {
		if !ok {
			return false
		}
	}
	return true
}

func some(all []bool) bool {
	for _, ok := range all {
		if ok {
			return true
		}
	}
	return false
}
