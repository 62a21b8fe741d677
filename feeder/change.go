package feeder

import (
	"context"
	"errors"
	"strings"

	"s3apu/protocol"
)

// Change looks at paths that are at rest and may differ from the bucket or be gone, and puts what follows, in the order
// of the paths and deletes last, except those that must make room for a write: if a file has become a folder or a
// folder a file, what is in the way goes first. Paths are relative to the root, separated by slashes; the empty path
// and what does not belong to the folder is passed over. An ordinary call is one Put.
//
// A folder is compared by itself only: what is in it is the business of a [Feeder.Scan].
//
// On an error of the queue every path of the call is marked again. [ErrLeftOut] means that deletes were left out, of which
// nothing is marked: a scan of the root finds them once it succeeds. The caller is expected to wait a little before the next call.
func (f *Feeder) Change(ctx context.Context, rels []string) error {
	return f.changeOf(ctx, rels, nil)
}

// ChangeBut is Change for all that is there. The paths that are gone it hands to gone, at the latest before it returns
// without an error: who knows that their files may be found under other names soon calls Change for them after that.
func (f *Feeder) ChangeBut(ctx context.Context, rels []string, gone func(rels []string)) error {
	return f.changeOf(ctx, rels, gone)
}

func (f *Feeder) changeOf(ctx context.Context, rels []string, gone func(rels []string)) error {
	t := f.begin(protocol.Live, changeBatch)
	t.gone = gone
	err := t.change(ctx, rels)
	t.end()
	if err != nil {
		for _, rel := range rels {
			f.mark(rel)
		}
		return err
	}
	return t.leftOut()
}

// ErrLeftOut is in the error of a [Feeder.Change] or [Feeder.Scan] that has left deletes out, because the root or the mounts
// below it could not be trusted.
var ErrLeftOut = errors.New("deletes were left out")

// leftOut returns why deletes were left out, or nil.
func (t *task) leftOut() error {
	if t.unsafe == nil {
		return nil
	}
	e := *protocol.AsError(t.unsafe, "look at the folder", t.root)
	e.Err = leftOut{e.Err}
	return &e
}

// leftOut says no more than what it wraps, and is [ErrLeftOut] too.
type leftOut struct{ error }

func (l leftOut) Unwrap() error      { return l.error }
func (leftOut) Is(target error) bool { return target == ErrLeftOut }

func (t *task) change(ctx context.Context, rels []string) error {
	var gone []string
	for _, rel := range t.withLinks(rels) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if rel == "" {
			continue
		}
		missing, err := t.settle(ctx, rel)
		if err != nil {
			return err
		}
		if missing {
			gone = append(gone, rel)
		} else {
			t.throughLink(rel)
		}
	}
	late, err := t.settleLater(ctx)
	if err != nil {
		return err
	}
	if err := t.bury(ctx, append(gone, late...)); err != nil {
		return err
	}
	return t.flush(ctx)
}

// settle compares one path with the ledger and the queue, and reports whether it is gone.
func (t *task) settle(ctx context.Context, rel string) (gone bool, err error) {
	at, err := t.look(rel)
	switch {
	case errors.Is(err, errLinked):
		t.report.Skipped++
		return false, nil
	case err != nil:
		return false, t.unseen(ctx, rel, err)
	case !at.there:
		return true, nil
	case !t.inScope(rel, at.stat.IsFolder()):
		return false, nil
	case t.leaf(at.stat):
		return false, t.settleFile(ctx, rel, at)
	case at.stat.IsFolder():
		return false, t.settleFolder(ctx, rel, at)
	}
	t.report.Skipped++
	return false, nil
}

// unseen lists a path that could not be looked at, unless it is the root that is not in order.
func (t *task) unseen(ctx context.Context, rel string, err error) error {
	if t.rootLost() || !t.inScope(rel, false) {
		return nil
	}
	if key := t.key(rel); checkKey(key, false) != nil {
		return t.failName(ctx, rel, false, key.Check())
	}
	return t.failPath(ctx, rel, false, err)
}

// rootLost reports, and remembers, that it is the root that is not in order.
func (t *task) rootLost() bool {
	bad := t.guard.check()
	if bad != nil {
		t.unsafe = bad
	}
	return bad != nil
}

func (t *task) settleFile(ctx context.Context, rel string, at place) error {
	t.report.Seen++
	key := t.key(rel)
	if err := key.Check(); err != nil {
		return t.failName(ctx, rel, false, err)
	}
	row, err := t.entry(key)
	if err != nil {
		return err
	}
	rec, ok, err := t.pending(key)
	if err != nil || explicit(rec, ok) && rec.Verb != protocol.Upl {
		return err
	}
	state := t.compare(row, rel, at.stat)
	if !ok && state != differs {
		return t.agree(ctx, row, rel, at.stat, state)
	}
	if t.putOff(rel, row, at.stat) {
		return nil
	}
	if !t.atRest(rel, at.stat) {
		t.busy(rel)
		return nil
	}
	if dir, nested := dirOf(rel); nested {
		if err := t.unfileWay(ctx, dir); err != nil {
			return err
		}
	}
	was, err := t.wasFolder(rel, row, rec, ok)
	if err == nil && was {
		err = t.clear(ctx, rel, at)
	}
	if err != nil {
		return err
	}
	return t.upload(ctx, rel, at.stat, true)
}

// wasFolder reports whether something may be in the bucket below the name of a file. A row of the file itself does not rule
// that out: its delete may have been held, or dropped by a person, while a folder had the name.
func (t *task) wasFolder(rel string, row *protocol.Entry, rec Record, queued bool) (bool, error) {
	if row == nil || row.Verb == protocol.Mkd || queued && rec.Verb == protocol.Del {
		return true, nil
	}
	if t.layout != slash {
		return false, nil
	}
	folder, err := t.entry(t.folderKey(rel))
	return folder != nil, err
}

// clear ends what is below the name of a file: it was a folder before.
func (t *task) clear(ctx context.Context, rel string, at place) error {
	held := false
	if t.folder.Delete {
		n, err := t.countAt(ctx, rel, false, t.guard.least())
		if err != nil {
			return err
		}
		held = t.hold(n)
	}
	return t.sweep(ctx, rel, at, false, held)
}

func (t *task) settleFolder(ctx context.Context, rel string, at place) error {
	t.report.Seen++
	if err := checkKey(t.key(rel), t.layout != plain); err != nil {
		return t.failName(ctx, rel, true, err)
	}
	if err := t.unfileWay(ctx, rel); err != nil {
		return err
	}
	key := t.folderKey(rel)
	rec, ok, err := t.pending(key)
	if err != nil || explicit(rec, ok) && rec.Verb != protocol.Mkd {
		return err
	}
	var row *protocol.Entry
	if t.layout != none {
		if row, err = t.entry(key); err != nil {
			return err
		}
		if !ok && t.compare(row, rel, at.stat) != differs {
			return nil
		}
	}
	if t.enters(rel) {
		if err := t.readable(rel); err != nil && !missing(err) && !replaced(err) {
			return t.failPath(ctx, rel, true, err)
		}
	}
	if t.layout == none && !ok {
		return nil
	}
	return t.mkdir(ctx, rel, at.stat)
}

// enters reports whether what is in the folder rel belongs to us too.
func (t *task) enters(rel string) bool {
	return t.folder.Depth == 0 || depthOf(rel) < t.folder.Depth
}

func depthOf(rel string) int {
	if rel == "" {
		return 0
	}
	return strings.Count(rel, "/") + 1
}

// agree is for what has not changed: nothing is sent. A device with a new number is written down, in the row as it is
// now.
func (t *task) agree(ctx context.Context, row *protocol.Entry, rel string, st protocol.Stat, state sameState) error {
	if state != renumbered {
		return nil
	}
	now, err := t.entry(row.Key)
	if err != nil || t.compare(now, rel, st) != renumbered {
		return err
	}
	moved := *now
	moved.Stat = st
	t.adopt = append(t.adopt, &moved)
	return t.full(ctx)
}

// busy marks a file that is being written.
func (t *task) busy(rel string) {
	t.report.Busy++
	t.mark(t.watched(rel))
}

// bury ends what is in the bucket because of paths that are gone.
func (t *task) bury(ctx context.Context, rels []string) error {
	if len(rels) == 0 {
		return nil
	}
	if t.gone != nil {
		t.gone(rels)
		return nil
	}
	held, err := t.holdAll(ctx, rels)
	if err != nil {
		return err
	}
	for _, rel := range rels {
		t.last.known = false
		// A path that has come back since is marked by its own event.
		at, err := t.look(rel)
		if err != nil || at.there {
			if err != nil && !errors.Is(err, errLinked) {
				err = t.unseen(ctx, rel, err)
			}
			if err != nil && !errors.Is(err, errLinked) {
				return err
			}
			continue
		}
		if err := t.sweep(ctx, rel, at, true, held); err != nil {
			return err
		}
		if err := t.unlist(ctx, rel); err != nil {
			return err
		}
	}
	return nil
}

// holdAll decides for all paths of a call together.
func (t *task) holdAll(ctx context.Context, rels []string) (bool, error) {
	if !t.folder.Delete {
		return false, nil
	}
	var n int64
	most := t.guard.least()
	for _, rel := range rels {
		more, err := t.countAt(ctx, rel, true, most-n)
		if err != nil {
			return false, err
		}
		if n += more; n >= most {
			break
		}
	}
	return n > 0 && t.hold(n), nil
}

// unlist takes back the failure of a name that is not UTF-8 and was listed under another form.
func (t *task) unlist(ctx context.Context, rel string) error {
	shown := display(rel)
	if shown == rel {
		return nil // it was listed under the key itself
	}
	for _, key := range []protocol.Key{t.key(shown), t.folderKey(shown), t.key(shown + "~")} {
		rec, ok, err := t.pending(key)
		if err == nil && ok {
			err = t.takeBack(ctx, rec, rel)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
