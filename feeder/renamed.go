package feeder

import (
	"context"
	"strings"
	"time"

	"s3apu/protocol"
)

// lateFor is how long the delete of a file that was seen to be gone waits in the queue. A file that was moved between two
// folders with many changes is missed in one scan and found in the next; both are at most so far apart, as a rule. A guess.
const lateFor = 2 * time.Second

// oldName is the name that a file or folder had before.
type oldName struct {
	row  *protocol.Entry // what the bucket holds under it; nil: it had none
	gone bool            // nothing lies there any more: its object is to go
	held bool            // that waits for a person
}

// oldName finds out whether what lies at the path of ins, in state st, was uploaded under another name. rename(2) leaves
// device, inode, size and modification time as they are, also of a folder. As inode numbers are used again, all must agree,
// and when in doubt it is another one: then the only cost is that it is sent, and the delete of the old name counted.
func (t *task) oldName(ctx context.Context, ins protocol.Instruction, st protocol.Stat) (old oldName, err error) {
	if st.Ino == 0 || st.MTime == 0 {
		return old, nil
	}
	row, err := t.queue.MadeFrom(t.folder.Bucket, st.Dev, st.Ino)
	if err != nil {
		return old, protocol.AsError(err, "look into the ledger", t.path(t.relOf(ins.Key)))
	}
	if row == nil || row.Key == ins.Key || row.Verb != ins.Verb || cannotStand(row.Key, ins.Key) || row.MTime != st.MTime ||
		row.Verb == protocol.Upl && (row.ETag == "" || !row.SameContent(st)) {
		return old, nil
	}
	rec, ok, err := t.pending(row.Key)
	switch {
	case err != nil || explicit(rec, ok):
		return old, err // a client has other plans with it
	case ok && !rec.Dead && (rec.Verb != protocol.Del || rec.Leased):
		return old, nil // another file is on its way there, or the object is being deleted in this moment
	}
	old.row = row
	old.gone, old.held = t.isGone(row)
	if ins.Verb == protocol.Mkd && !old.gone {
		old.row = nil
	}
	if old.gone && ok && rec.Held && ins.Verb == protocol.Upl {
		old.gone, err = t.sameBytes(ctx, t.relOf(ins.Key), st, row)
	}
	return old, err
}

// sameBytes reads the file at rel and reports whether it holds what a row says. A delete that waits for a person is freed
// by nothing less: a set of files that is gone may be followed by one of the same sizes and times, with the inode numbers
// of the old one. (Else the worker compares; it takes back the delete that was put.)
func (t *task) sameBytes(ctx context.Context, rel string, st protocol.Stat, row *protocol.Entry) (bool, error) {
	want := row.ETag
	if row.PartSize == 0 && row.MD5 != "" {
		want = row.MD5
	}
	etag, err := fileETag(ctx, t.folder.Root, rel, st, row.PartSize)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return err == nil && strings.EqualFold(etag, want), nil // what cannot be read now frees nothing
}

// isGone reports whether nothing lies any more at the path that a row was made from, as far as this folder can judge and
// may delete, and whether a person has to agree to that.
func (t *task) isGone(row *protocol.Entry) (gone, held bool) {
	rel, ok := t.owns(row)
	if !ok || !t.folder.Delete || !t.inScope(rel, row.Verb == protocol.Mkd) {
		return false, false
	}
	at, err := t.former.look(rel)
	says := t.judge(rel)
	if err != nil || at.there || says == frozen || !t.guard.together(row.Dev, at.dev) {
		return false, false
	}
	switch {
	case says == doubt:
		held, t.why = true, whyMounted
	case t.guard.inDoubt():
		held, t.why = true, whyReplaced
	}
	return true, held
}

// cannotStand reports whether one of the keys is that of a folder above the other: where objects are kept as files, the
// one must go before the other comes, so there is no copying.
func cannotStand(a, b protocol.Key) bool {
	if a.IsFolder() && b.IsFolder() { // only an object without a slash is in the way
		return false
	}
	above := func(a, b protocol.Key) bool {
		return strings.HasPrefix(string(b), strings.TrimSuffix(string(a), "/")+"/")
	}
	return above(a, b) || above(b, a)
}

// wishBoth wishes for ins and, behind it and in the same Put, for the end of the old name. That is no delete that the
// guard counts: nothing is lost by it.
func (t *task) wishBoth(ctx context.Context, ins protocol.Instruction, old oldName) error {
	t.wishes = append(t.wishes, t.make(ins))
	if old.row != nil && old.gone {
		w := t.make(protocol.Instruction{Verb: protocol.Del, Key: old.row.Key})
		w.Renamed, w.Held = true, old.held
		t.wishes = append(t.wishes, w)
	}
	return t.full(ctx)
}

// putOff reports whether the file at rel, in state st, is another one than the row of its name was made from, and puts
// it off until the others were looked at: one of them may be the former file under its new name (a log that was rotated,
// say), and that is copied as long as no wish for the old name stands before it.
func (t *task) putOff(rel string, row *protocol.Entry, st protocol.Stat) bool {
	if t.lastly || row == nil || row.Verb != protocol.Upl || row.Ino == 0 || row.Ino == st.Ino || len(t.later) >= t.remembers {
		return false
	}
	t.later = append(t.later, rel)
	t.report.Seen-- // it is seen once more
	return true
}

// settleLater looks at what putOff has left, and returns what is gone by now.
func (t *task) settleLater(ctx context.Context) (gone []string, err error) {
	t.lastly = true
	t.looker.last.known = false
	rels, err := t.readersFirst(t.later)
	if err != nil {
		return nil, err
	}
	for _, rel := range rels {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		missing, err := t.settle(ctx, rel)
		if err != nil {
			return nil, err
		}
		if missing {
			gone = append(gone, rel)
		}
	}
	t.later = nil
	return gone, nil
}

// readersFirst brings paths into an order in which a file that had the name of another one comes before that: of logs that
// are rotated the oldest first. Names that went around a circle stay a circle.
func (t *task) readersFirst(rels []string) (order []string, err error) {
	if len(rels) < 2 {
		return rels, nil
	}
	readers := map[string][]string{}
	for _, rel := range rels {
		at, err := t.look(rel)
		if err != nil || !at.there || at.stat.Ino == 0 {
			continue // settle says why
		}
		row, err := t.queue.MadeFrom(t.folder.Bucket, at.stat.Dev, at.stat.Ino)
		if err != nil {
			return nil, protocol.AsError(err, "look into the ledger", t.path(rel))
		}
		if row != nil {
			if had, ok := t.owns(row); ok && had != rel {
				readers[had] = append(readers[had], rel)
			}
		}
	}
	seen := map[string]bool{}
	var visit func(rel string)
	visit = func(rel string) {
		if !seen[rel] {
			seen[rel] = true
			for _, r := range readers[rel] {
				visit(r)
			}
			order = append(order, rel)
		}
	}
	for _, rel := range rels {
		visit(rel)
	}
	return order, nil
}

// inDoubt reports whether the root may be another folder than the one that the rows came from.
func (g *guard) inDoubt() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.doubtful
}
