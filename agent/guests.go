package agent

import (
	"errors"
	"fmt"

	"github.com/gobwas/glob"

	"s3apu/internal/access"
	"s3apu/protocol"
)

// guestRule is what guests of the socket may wish for.
type guestRule struct {
	bucket string          // the default one, the only one that they may copy from
	keys   []*glob.Pattern // nil: every key
}

// guestRule compiles [socket] allow_keys.
func (c *Config) guestRule() (*guestRule, error) {
	r := &guestRule{bucket: c.S3.Bucket}
	for _, pattern := range c.Socket.AllowKeys {
		globs, err := compile(pattern)
		if err != nil {
			return nil, c.fault("[socket] allow_keys", `write globs on keys such as "incoming/**"`, "%q: %w", pattern, err)
		}
		r.keys = append(r.keys, globs...)
	}
	return r, nil
}

var errGuestBucket = errors.New("guests may copy from the default bucket only")

// check reports why a guest may not wish for this, or nil. Whether it may read a file is judged once more when the file is
// open; here it is told early, and where nothing of the disk is told that the guest could not see by itself.
func (r *guestRule) check(g protocol.Guest, in protocol.Instruction) error {
	if err := r.allows(in.Key, in.Verb == protocol.Mkd); err != nil {
		return err
	}
	switch in.Verb {
	case protocol.Cpo:
		from, err := protocol.ParseObjectID(in.Source)
		if err != nil {
			return err
		}
		if from.Bucket != r.bucket {
			return errGuestBucket
		}
		return r.allows(from.Key, false)
	case protocol.Upl:
		uid, gids, known, err := g.User()
		if err != nil {
			return err
		}
		return access.User{UID: uid, Groups: gids, GroupsKnown: known}.MayReach(in.Source)
	}
	return nil
}

// allows reports why guests may not name the key. A folder is also within what its contents are allowed by.
func (r *guestRule) allows(key protocol.Key, folder bool) error {
	if r.keys == nil || matches(r.keys, string(key)) || folder && matches(r.keys, string(key)+"/") {
		return nil
	}
	return fmt.Errorf("the key %q is in none of [socket] allow_keys", key)
}
