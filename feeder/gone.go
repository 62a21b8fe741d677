package feeder

import (
	"context"
	"errors"
	"strings"

	"s3apu/protocol"
)

// sweep wishes for the end of everything that this folder put at and below rel, which is not there any more (self) or,
// without self, is a file now so that nothing can be below it. What lies in a folder goes before the folder's object.
// Wishes for vanished files are taken back.
func (t *task) sweep(ctx context.Context, rel string, at place, self bool, held bool) error {
	if t.isSwept(t.key(rel) + "/") {
		return nil
	}
	// Wishes before rows: what is carried out meanwhile leaves the queue and enters the ledger, and is seen in one of them.
	if err := t.takeBackAt(ctx, rel, self); err != nil {
		return err
	}
	if err := t.sweepRows(ctx, rel, at, self, held); err != nil {
		return err
	}
	t.swept[rel] = self
	return nil
}

func (t *task) sweepRows(ctx context.Context, rel string, at place, self bool, held bool) error {
	if !t.folder.Delete {
		return nil
	}
	order := postorder{emit: func(key protocol.Key, h bool) error {
		if self {
			return t.removeGone(ctx, key, h)
		}
		return t.remove(ctx, key, h, true) // something waits for the room
	}}
	err := t.rowsAt(ctx, rel, self, func(row *protocol.Entry) error {
		h, ok, err := t.mayGo(row, at, held)
		if err != nil || !ok {
			return err
		}
		return order.add(row.Key, row.Verb == protocol.Mkd, h)
	})
	if err != nil {
		return err
	}
	return order.end()
}

// isSwept reports whether a sweep has dealt with key. Should a path that was a file be gone below it by now, then the
// object at the path itself is left to the next scan.
func (t *task) isSwept(key protocol.Key) bool {
	if len(t.swept) == 0 {
		return false
	}
	rel := t.relOf(key)
	if self, ok := t.swept[rel]; ok && (self || key.IsFolder()) {
		return true
	}
	for dir, nested := dirOf(rel); nested; dir, nested = dirOf(dir) {
		if _, ok := t.swept[dir]; ok {
			return true
		}
	}
	return false
}

// rowsAt calls do for every row that this folder put at and below rel. The folder object of rel is below it.
func (t *task) rowsAt(ctx context.Context, rel string, self bool, do func(*protocol.Entry) error) error {
	one := func(row *protocol.Entry) error {
		own, ok := t.owns(row)
		if !ok || !t.inScope(own, row.Verb == protocol.Mkd) {
			return nil
		}
		return do(row)
	}
	if self {
		row, err := t.entry(t.key(rel))
		if err != nil {
			return err
		}
		if row != nil {
			if err := one(row); err != nil {
				return err
			}
		}
	}
	for row, err := range t.queue.Ledger(ctx, t.folder.Bucket, t.key(rel)+"/", "") {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = one(row)
		}
		if errors.Is(err, errEnough) {
			return err
		}
		if err != nil {
			return protocol.AsError(err, "read the ledger", t.root)
		}
	}
	return nil
}

// errEnough ends a count.
var errEnough = errors.New("enough")

// countAt counts the rows at and below rel that may go and have no delete yet, up to most.
func (t *task) countAt(ctx context.Context, rel string, self bool, most int64) (int64, error) {
	return t.countFree(most, func(count func(*protocol.Entry) error) error {
		return t.rowsAt(ctx, rel, self, func(row *protocol.Entry) error {
			if t.judge(t.relOf(row.Key)) == frozen {
				return nil
			}
			return count(row)
		})
	})
}

// countFree counts the rows that no delete waits for, up to most, among those that each hands to its argument. It ends each
// with errEnough, which each passes on.
func (t *task) countFree(most int64, each func(count func(*protocol.Entry) error) error) (n int64, err error) {
	err = each(func(row *protocol.Entry) error {
		waits, err := t.deleting(row.Key)
		if err == nil && !waits {
			if n++; n >= most {
				err = errEnough
			}
		}
		return err
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return n, err
}

// deleting reports whether a delete of key waits already, held or not.
func (t *task) deleting(key protocol.Key) (bool, error) {
	rec, ok, err := t.pending(key)
	return ok && rec.Verb == protocol.Del && !rec.Dead, err
}

// mayGo reports whether a delete is to be put for a row whose file is gone, and whether as held. A delete that waits
// already is left as it is: if it is held, that is for a person to end.
func (t *task) mayGo(row *protocol.Entry, at place, held bool) (bool, bool, error) {
	if !t.folder.Delete {
		return false, false, nil
	}
	switch t.judge(t.relOf(row.Key)) {
	case frozen:
		t.report.Frozen++
		return false, false, nil
	case doubt:
		held, t.why = true, whyMounted
	}
	if !t.guard.together(row.Dev, at.dev) {
		if !at.top {
			t.otherDevice(row.Key)
			return false, false, nil
		}
		held, t.why = true, "the file was on another device than what lies in the folder now"
	}
	rec, ok, err := t.pending(row.Key)
	if err != nil || explicit(rec, ok) || ok && rec.Verb == protocol.Del && !rec.Dead {
		return false, false, err
	}
	return held, true, nil
}

// otherDevice counts a row whose file was on another device than what lies there now, and says so once a task.
func (t *task) otherDevice(key protocol.Key) {
	if t.report.Skipped++; !t.said {
		t.said = true
		t.log.Warn("not deleted, and others like it: another device is mounted where the file was", "key", key)
	}
}

// judge says what the mounts have to say about a delete at rel. The kernel's table is read once for each task here, and
// again before deletes are put.
func (t *task) judge(rel string) verdict {
	if !t.judged {
		t.judged = true
		if err := t.seams.refresh(); err != nil {
			t.blind = true
			t.unsafe = t.guard.lost(err, lostHint)
		}
	}
	if t.blind {
		return frozen
	}
	return t.mountsSay(rel)
}

// hold decides whether n deletes wait for a person, on top of those at hand. It is said once they are put: see count.
func (t *task) hold(n int64) bool {
	held, why := t.guard.hold(n + t.dels)
	if held {
		t.why = why
	}
	return held
}

// takeBackAt takes back the wishes for what was at and below rel and never got into the bucket.
func (t *task) takeBackAt(ctx context.Context, rel string, self bool) error {
	if self {
		rec, ok, err := t.pending(t.key(rel))
		if err == nil && ok {
			err = t.takeBack(ctx, rec, rel)
		}
		if err != nil {
			return err
		}
	}
	for rec, err := range t.queue.Records(ctx, t.folder.Bucket, t.key(rel)+"/", "") {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = t.takeBack(ctx, rec, rel)
		}
		if err != nil {
			return protocol.AsError(err, "read the queue", t.root)
		}
	}
	return nil
}

// takeBack ends a wish of ours for something at or below gone, which is not there any more, if the ledger has no row for
// it (else the delete of the row ends it). What was given up is forgotten. What waits or is in a hand is followed by a
// delete, which does nothing unless the hand still brings the object about; where nothing may be deleted, the worker
// finds that the source is missing.
func (t *task) takeBack(ctx context.Context, rec Record, gone string) error {
	rel, ok := t.ownsWish(rec)
	if !ok || rel != gone && !strings.HasPrefix(rel, gone+"/") || !t.inScope(rel, rec.Verb == protocol.Mkd) {
		return nil
	}
	if t.judge(rel) == frozen {
		return nil
	}
	row, err := t.entry(rec.Key)
	if err != nil || row != nil {
		return err
	}
	if rec.Dead {
		if _, err := t.queue.Drop(ctx, []protocol.ObjectID{t.id(rec.Key)}); err != nil {
			return protocol.AsError(err, "forget a failure", t.id(rec.Key).String())
		}
		return nil
	}
	if t.folder.Delete && rec.Key.Check() == nil {
		return t.remove(ctx, rec.Key, false, false)
	}
	return nil
}

// stale reports whether a wish is for something that is gone or is of another kind now.
func (t *task) stale(rec Record, rel string) (bool, error) {
	at, err := t.look(rel)
	if err != nil {
		return false, err
	}
	if !at.there {
		return true, nil
	}
	return at.stat.IsFolder() && rec.Verb == protocol.Upl || t.leaf(at.stat) && rec.Verb == protocol.Mkd, nil
}

// unfile ends the object of a file whose name a folder has now, before anything is written below it. In the plain
// layout the folder's object takes its place.
func (t *task) unfile(ctx context.Context, rel string) error {
	if t.layout == plain {
		return nil
	}
	rec, ok, err := t.pending(t.key(rel)) // before the row: see sweep
	if err != nil {
		return err
	}
	row, err := t.entry(t.key(rel))
	if err != nil {
		return err
	}
	if row == nil && ok && rec.Verb == protocol.Upl {
		if err := t.takeBack(ctx, rec, rel); err != nil {
			return err
		}
		if row, err = t.entry(t.key(rel)); err != nil { // it may have been carried out meanwhile
			return err
		}
	}
	if row == nil {
		return nil
	}
	if _, ok := t.owns(row); !ok || row.Verb != protocol.Upl {
		return nil
	}
	at := place{dev: row.Dev} // that the name is in use tells enough, whatever is mounted there
	held, ok, err := t.mayGo(row, at, false)
	if err != nil || !ok {
		return err
	}
	return t.remove(ctx, row.Key, held || t.hold(1), true)
}

// unfileWay does that for the folder rel and all above it: what is in a folder may be heard of before the folder is.
func (t *task) unfileWay(ctx context.Context, rel string) error {
	for nested := true; nested && !t.unfiled[rel]; rel, nested = dirOf(rel) {
		if err := t.unfile(ctx, rel); err != nil {
			return err
		}
		t.unfiled[rel] = true
	}
	return nil
}

// postorder puts the object of a folder behind what is below it. Keys are added in their order; memory is one key for
// each level.
type postorder struct {
	emit func(key protocol.Key, held bool) error
	open []waiting
}

type waiting struct {
	key  protocol.Key
	held bool
	end  string // the first key that is behind everything below it
}

func (p *postorder) add(key protocol.Key, folder, held bool) error {
	for n := len(p.open) - 1; n >= 0 && string(key) >= p.open[n].end; n-- {
		if err := p.close(); err != nil {
			return err
		}
	}
	if !folder {
		return p.emit(key, held)
	}
	end := string(key)
	if key.IsFolder() {
		end = end[:len(end)-1]
	}
	p.open = append(p.open, waiting{key: key, held: held, end: end + "0"}) // '0' is '/' + 1
	return nil
}

func (p *postorder) close() error {
	n := len(p.open) - 1
	last := p.open[n]
	p.open = p.open[:n]
	return p.emit(last.key, last.held)
}

func (p *postorder) end() error {
	for len(p.open) > 0 {
		if err := p.close(); err != nil {
			return err
		}
	}
	return nil
}
