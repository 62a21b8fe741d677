package worker

import (
	"context"
	"encoding/hex"
	"strings"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// copyTries is how often a copy may fail in passing before the file is sent instead; a guess.
const copyTries = 3

// renamed makes the object of a file that had another name before by copying the one of that name within S3, with the
// headers that the file has now. ok is false if the file has to be sent after all: the ledger does not say that the old
// object holds these bytes, it is not what the ledger says any more, or the server cannot copy it.
func (u *job) renamed(ctx context.Context) (out done, ok bool, e *protocol.Error) {
	from, ok := u.from()
	if !ok {
		return done{}, false, nil
	}
	// The same inode, size and modification time do not prove the same bytes: a write may leave all three as they were, by
	// utimes(2) or within one step of the clock. Reading costs less than sending.
	origin, row := u.d.Origin, u.row()
	if same, e := u.holdsBytes(ctx, origin); !same || e != nil {
		u.origin = protocol.OriginApart
		return done{}, false, e
	}
	row.MD5, row.PartSize = origin.MD5, origin.PartSize
	if u.d.Again { // the earlier hand may have copied it, and the old object may be gone
		o, e := u.look(ctx)
		if e != nil {
			return done{}, false, e
		}
		if o != nil && o.Size == u.src.state.Size && o.ETag == origin.ETag && carries(o, u.head) {
			return made(row, protocol.Receipt{ETag: o.ETag, VersionID: o.VersionID}), true, u.askForeign(ctx, from)
		}
	}
	if u.d.Attempt > copyTries {
		return done{}, false, u.askForeign(ctx, from)
	}
	var r protocol.Receipt
	head := marked(u.d, u.d.Key, u.head, u.src.size(), "") // a copy need not get the ETag of its source
	e = u.request(writing, "copy", u.d, func() (err error) {
		failpoint.Here("worker.rename")
		r, err = u.p.store.Copy(ctx, from, u.d.Key, &head, origin.ETag)
		failpoint.Here("worker.renamed")
		return unlessItem(err)
	})
	switch {
	case e != nil && e.Kind == protocol.KindChanged:
		return done{}, false, u.askForeign(ctx, from)
	case e != nil && fallsBack(e.Kind):
		return done{}, false, nil
	case e != nil:
		return done{}, false, e
	}
	u.unsure = true
	if right, e := u.verify(ctx, origin, r); !right || e != nil {
		return done{}, false, e
	}
	if e := u.src.unchanged(); e != nil {
		return done{}, false, e // the next attempt sends what the file holds then
	}
	if r.ETag != origin.ETag {
		if e := u.forgetParts(ctx, row, r); e != nil {
			return done{}, false, e
		}
	}
	return made(row, r), true, nil
}

// askForeign finds out whether somebody else has written the old object since: then it is not ours to delete any more. An
// upload of ours to the old name whose answer was lost leaves another object than the ledger says, too. Of an
// object that cannot be looked at time after time, as one whose disk is damaged, that stays open: the file must not wait for it.
func (u *job) askForeign(ctx context.Context, from protocol.ObjectID) *protocol.Error {
	o, e := u.lookAt(ctx, u.d, from.Key)
	if e == nil && o != nil && !strings.EqualFold(o.ETag, u.d.Origin.ETag) && !u.ours(o) {
		u.origin = protocol.OriginForeign
		u.p.cfg.Log.Warn("the object of a renamed file's old name was written by somebody else, and stays", "key", string(from.Key))
	}
	if e != nil && u.d.Attempt > 2*copyTries {
		return nil
	}
	return e
}

func (u *job) ours(o *protocol.Object) bool {
	_, ok := sentByUs(u.d, o)
	return ok
}

// forgetParts is for a copy whose parts the server has put together anew: its ETag tells nothing of the bytes, unless it
// is their MD5. So that the next copy can be compared with the file, the row takes the MD5 of the whole.
func (u *job) forgetParts(ctx context.Context, row *protocol.Entry, r protocol.Receipt) *protocol.Error {
	row.PartSize = 0
	if row.MD5 != "" || !strings.Contains(r.ETag, "-") {
		return nil
	}
	sum, e := u.p.hashRange(ctx, u.src, 0, u.src.state.Size)
	if e == nil {
		e = u.src.unchanged()
	}
	row.MD5 = hex.EncodeToString(sum[:])
	return e
}

// from returns the object to copy, and whether there is one that can be trusted.
func (u *job) from() (protocol.ObjectID, bool) {
	if u.d.From == "" {
		return protocol.ObjectID{}, false
	}
	from, err := protocol.ParseObjectID(u.d.From)
	return from, err == nil && from.Bucket == u.d.Bucket && u.holds(u.d.Origin)
}

// holds reports whether the object of a row of the ledger may have the bytes of the file: the row was made from this very
// file, which does not look written since. Renaming changes its name and its change time only (rename(2)).
func (u *job) holds(row *protocol.Entry) bool {
	st := u.src.state
	return u.src.f != nil && row != nil && row.Verb == protocol.Upl && row.ETag != "" && st.Ino != 0 && st.MTime != 0 && row.SameContent(st)
}

// verify reports whether a copy of the object of a row is what it should be. Servers give a copy the ETag of its source,
// but for objects of several parts and for encrypted ones; of those the size has to do.
func (u *job) verify(ctx context.Context, origin *protocol.Entry, r protocol.Receipt) (bool, *protocol.Error) {
	if strings.EqualFold(r.ETag, origin.ETag) {
		return true, nil
	}
	if origin.MD5 != "" && strings.EqualFold(origin.MD5, origin.ETag) && len(r.ETag) == len(origin.ETag) {
		return false, nil // both are MD5s
	}
	o, e := u.look(ctx)
	return o != nil && o.Size == u.src.state.Size && o.ETag == r.ETag, e
}
