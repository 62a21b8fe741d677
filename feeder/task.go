package feeder

import (
	"context"
	"time"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

const (
	scanBatch   = 500  // wishes that a scan puts at once: large enough to share one commit, small enough to be heard of soon. A guess
	changeBatch = 5000 // the same of a change, so that an ordinary call is one Put. A guess
)

// task is one Change or Scan under way: what it has decided and not yet told the queue, and its report.
// Not for concurrent use.
type task struct {
	*Feeder
	looker
	former looker // for the names that files had before, beside the names at hand
	class  protocol.Class
	limit  int
	report Report
	began  time.Time

	wishes []Wish
	bytes  int64 // in the files of the uploads among them
	dels   int64 // the deletes of ledger rows among them
	forget []protocol.ObjectID
	adopt  []*protocol.Entry
	swept  map[string]bool // the paths that sweep has dealt with; true: the object at the path too, not only what is below

	unfiled map[string]bool // the folders of a change whose names, and those above, are free of objects of files: see unfileWay

	unsafe error  // why deletes were left out
	judged bool   // the table of mounts was read
	blind  bool   // and could not be
	said   bool   // see otherDevice
	why    string // why deletes are held

	later  []string // files in the place of others, to be looked at after the rest: see putOff
	lastly bool     // it is their turn

	gone func(rels []string) // takes the paths that are gone; nil: they are dealt with at once
}

func (f *Feeder) begin(class protocol.Class, limit int) *task {
	at := looker{root: f.folder.Root, via: f.links}
	return &task{Feeder: f, looker: at, former: at, class: class, limit: limit, began: time.Now(),
		swept: map[string]bool{}, unfiled: map[string]bool{}}
}

// end closes the report and adds it to the sums.
func (t *task) end() Report {
	t.report.Took = time.Since(t.began)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total.add(t.report)
	return t.report
}

// upload wishes for the file at rel, as a copy and the end of its old name if it had another one. Unless it was asked already
// whether the file is at rest, that is done before it takes the place of another name.
func (t *task) upload(ctx context.Context, rel string, st protocol.Stat, asked bool) error {
	ins := protocol.Instruction{Verb: protocol.Upl, Key: t.key(rel), Source: t.path(rel)}
	old, err := t.oldName(ctx, ins, st)
	if err != nil {
		return err
	}
	if old.row != nil {
		if !asked && !t.atRest(rel, st) {
			t.busy(rel)
			return nil
		}
		ins.From = old.row.ID().String()
	}
	return t.wishBoth(ctx, ins, old)
}

// mkdir wishes for the folder at rel, and for the end of its old name if it had another one.
func (t *task) mkdir(ctx context.Context, rel string, st protocol.Stat) error {
	ins := protocol.Instruction{Verb: protocol.Mkd, Key: t.folderKey(rel), Source: t.path(rel)}
	old, err := t.oldName(ctx, ins, st)
	if err != nil {
		return err
	}
	return t.wishBoth(ctx, ins, old)
}

// removeGone is remove for a file that was seen to be gone. In the live class it waits a little: the file may be seen
// under another name by then.
func (t *task) removeGone(ctx context.Context, key protocol.Key, held bool) error {
	t.dels++
	w := t.make(protocol.Instruction{Verb: protocol.Del, Key: key})
	w.Held = held
	if t.class == protocol.Live {
		w.Delay = lateFor
	}
	t.wishes = append(t.wishes, w)
	return t.full(ctx)
}

// remove wishes for the end of the object under key. counted says that it has a row in the ledger.
func (t *task) remove(ctx context.Context, key protocol.Key, held, counted bool) error {
	if counted {
		t.dels++
	}
	return t.wish(ctx, protocol.Instruction{Verb: protocol.Del, Key: key}, held)
}

func (t *task) wish(ctx context.Context, ins protocol.Instruction, held bool) error {
	w := t.make(ins)
	w.Held = held
	t.wishes = append(t.wishes, w)
	return t.full(ctx)
}

func (t *task) make(ins protocol.Instruction) Wish {
	ins.Bucket = t.folder.Bucket
	return Wish{Instruction: ins, Class: t.class}
}

// full tells the queue if enough has come together.
func (t *task) full(ctx context.Context) error {
	if len(t.wishes) < t.limit && len(t.forget) < t.limit && len(t.adopt) < t.limit {
		return nil
	}
	return t.flush(ctx)
}

// flush tells the queue what was decided. Rows are forgotten before the wish that follows from it is put, or the worker
// would find that nothing differs. Before deletes the root is looked at once more.
func (t *task) flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(t.forget) > 0 {
		if err := t.queue.Forget(ctx, t.forget...); err != nil {
			return protocol.AsError(err, "forget rows of the ledger", t.root)
		}
		t.forget = t.forget[:0]
	}
	if t.class == protocol.Backfill && len(t.wishes) > 0 {
		if err := t.queue.Room(ctx); err != nil {
			return err
		}
	}
	t.order.Lock()
	defer t.order.Unlock()
	t.lookAgain()
	if t.wants(protocol.Del) {
		if err := t.safe(); err != nil {
			t.unsafe, t.dels = err, 0
			t.leaveDeletes(func(*Wish) bool { return true })
		}
	}
	if len(t.wishes) > 0 {
		failpoint.Here("feeder.put")
		if err := t.queue.Put(ctx, t.wishes...); err != nil {
			return protocol.AsError(err, "put instructions", t.root)
		}
		if t.dels > 0 {
			t.guard.note(t.dels)
		}
		t.count()
	}
	if len(t.adopt) > 0 {
		if err := t.queue.Adopt(ctx, t.adopt...); err != nil {
			return protocol.AsError(err, "write rows of the ledger", t.root)
		}
		t.report.Adopted += int64(len(t.adopt))
		t.adopt = t.adopt[:0]
	}
	return nil
}

// lookAgain takes out every wish whose path is not what it was when the wish was made: gone, back, or of another kind.
// It is marked, to be judged anew. That a file has other content or times by now does not matter: the worker reads it as
// it is then.
func (t *task) lookAgain() {
	kept, bytes, fell := t.wishes[:0], int64(0), false
	for _, w := range t.wishes {
		rel := t.relOf(w.Key)
		st, err := t.state(rel)
		if fell = w.Renamed && fell || !t.stands(w, st, err); fell { // an old name stands with the new one only
			t.mark(rel)
			continue
		}
		kept = append(kept, w)
		if w.Verb == protocol.Upl && w.From == "" {
			bytes += st.Size
		}
	}
	t.wishes, t.bytes = kept, bytes
	if len(kept) == 0 {
		t.dels = 0
	}
}

// stands reports whether a wish still fits what lstat has said of its path. A delete stands only if there is nothing, or a
// folder where a file's object is to go, or a file where a folder's is; an error is no reason to delete.
func (t *task) stands(w Wish, st protocol.Stat, err error) bool {
	switch {
	case w.Verb == protocol.Upl:
		return err == nil && t.leaf(st)
	case w.Verb == protocol.Mkd:
		return err == nil && st.IsFolder()
	case err != nil:
		return missing(err)
	case w.Key.IsFolder():
		return t.leaf(st)
	}
	return st.IsFolder() && t.layout != plain // in the plain layout both have one key
}

func (t *task) wants(verb protocol.Verb) bool {
	for i := range t.wishes {
		if t.wishes[i].Verb == verb {
			return true
		}
	}
	return false
}

// safe reports why nothing may be deleted now; else it takes out, or puts as held, what the mounts do not let go.
func (t *task) safe() error {
	if err := t.guard.check(); err != nil {
		return err
	}
	if err := t.seams.refresh(); err != nil {
		return t.guard.lost(err, lostHint)
	}
	if !t.seams.any() {
		return nil
	}
	left := t.leaveDeletes(func(w *Wish) bool {
		says := t.mountsSay(t.relOf(w.Key))
		if says == doubt && w.Verb == protocol.Del {
			w.Held, t.why = true, whyMounted
		}
		return says == frozen
	})
	t.report.Frozen += left
	t.dels = max(t.dels-left, 0)
	return nil
}

// leaveDeletes takes the deletes for which is says yes out of what is to be put, and says how many there were.
func (t *task) leaveDeletes(is func(*Wish) bool) (left int64) {
	kept := t.wishes[:0]
	for _, w := range t.wishes {
		if w.Verb == protocol.Del && is(&w) {
			left++
			continue
		}
		kept = append(kept, w)
	}
	t.wishes = kept
	return left
}

// count enters what was put in the report, and starts anew.
func (t *task) count() {
	was := t.report.Held
	defer func() {
		if t.report.Held > was {
			t.guard.holding(t.why)
			t.log.Warn("deletes are held for a person", "held", t.report.Held-was, "err", t.why)
		}
	}()
	for _, w := range t.wishes {
		if w.From != "" {
			t.report.Renamed++
		}
		switch {
		case w.Verb != protocol.Del:
			t.report.Sent++
		case w.Held:
			failpoint.Here("feeder.held")
			t.report.Held++
		default:
			t.report.Deleted++
		}
	}
	t.report.Bytes += t.bytes
	t.wishes, t.bytes, t.dels = t.wishes[:0], 0, 0
}

// fail lists a path that cannot go, unless it is listed already. What was decided before is put first: it may be about
// the same key.
func (t *task) fail(ctx context.Context, verb protocol.Verb, key protocol.Key, rel string, reason *protocol.Error) error {
	t.report.Failed++
	if err := t.flush(ctx); err != nil {
		return err
	}
	id := t.id(key)
	rec, ok, err := t.pending(key)
	if err != nil || ok && (rec.Dead || !rec.Hint) {
		return err
	}
	w := Wish{Instruction: protocol.Instruction{Verb: verb, Bucket: id.Bucket, Key: key, Source: t.path(rel)}, Class: t.class}
	if err := t.queue.Fail(ctx, w, reason); err != nil {
		return protocol.AsError(err, "list a failure", id.String())
	}
	return nil
}

// failName lists a path whose name cannot be a key, under a form of it that can be read. Should a file of exactly that
// name lie beside it, the form is made another one, for the two must not be taken for each other.
func (t *task) failName(ctx context.Context, rel string, folder bool, why error) error {
	verb, shown := protocol.Upl, display(rel)
	for shown != rel && len(shown) < 2*protocol.MaxKeyBytes {
		if _, err := lstat(t.path(shown)); missing(err) {
			break
		}
		shown += "~"
	}
	key := t.key(shown)
	if folder {
		verb, key = protocol.Mkd, t.folderKey(shown)
	}
	reason := &protocol.Error{Op: "name", Object: display(t.path(rel)), Kind: protocol.KindItem, Err: why, Hint: "rename it"}
	return t.fail(ctx, verb, key, rel, reason)
}

// failPath lists a path that the file system does not let us see.
func (t *task) failPath(ctx context.Context, rel string, folder bool, err error) error {
	verb, key, op := protocol.Upl, t.key(rel), "look at the file"
	if folder {
		verb, key, op = protocol.Mkd, t.folderKey(rel), "read the folder"
	}
	return t.fail(ctx, verb, key, rel, denied(op, t.path(rel), err))
}

// pending looks into the queue.
func (t *task) pending(key protocol.Key) (Record, bool, error) {
	rec, ok, err := t.queue.Pending(t.id(key))
	if err != nil {
		return rec, ok, protocol.AsError(err, "look into the queue", t.id(key).String())
	}
	return rec, ok, nil
}

// entry looks into the ledger.
func (t *task) entry(key protocol.Key) (*protocol.Entry, error) {
	row, err := t.queue.Entry(t.id(key))
	if err != nil {
		return nil, protocol.AsError(err, "look into the ledger", t.id(key).String())
	}
	return row, nil
}

// explicit reports whether a person or a client has asked for something else about a key, which is theirs to have.
func explicit(rec Record, ok bool) bool { return ok && !rec.Hint && !rec.Dead }
