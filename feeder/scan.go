package feeder

import (
	"context"
	"errors"
	"io/fs"
	"iter"

	"s3apu/protocol"
)

// deferMax is how many keys to be deleted a scan remembers until its end, at about 100 bytes each. Behind them it
// remembers only where they begin, and reads the ledger a second time. A guess.
const deferMax = 10_000

// ScanOptions say how much a scan compares.
type ScanOptions struct {
	Deep bool // all that is below, not only the folder's own entries
	List bool // with what the bucket lists, too
	Live bool // the instructions are of class live, not backfill

	// Gone is handed the sub-folders that a scan which is not deep has missed, to be given to [Feeder.Change] later; see
	// [Feeder.ChangeBut]. Nil: the scan deals with them itself.
	Gone func(rels []string)
}

// Scan compares the folder rel ("" is the root) with the ledger and, if asked, with a listing of the bucket, and puts
// what follows; deletes last. If rel is not a folder, it is what [Feeder.Change] is for that path. The caller has set its
// watches before, so that what changes during the scan is reported by them.
//
// The report is good for what was done also when there is an error: of the context, of the queue or the ledger, or one
// of KindLocal if the root is not fit; then nothing was deleted, and the next scan makes good for it. Cancelling takes
// effect before the next entry; a call into a file system that hangs cannot be cancelled.
func (f *Feeder) Scan(ctx context.Context, rel string, opt ScanOptions) (Report, error) {
	class, limit := protocol.Backfill, scanBatch
	if opt.Live {
		class = protocol.Live
	}
	t := f.begin(class, limit)
	t.gone = opt.Gone
	err := t.scan(ctx, rel, opt)
	if err == nil {
		err = t.leftOut()
	}
	return t.end(), err
}

func (t *task) scan(ctx context.Context, rel string, opt ScanOptions) error {
	root, err := t.guard.now()
	if err != nil {
		return err
	}
	if rel != "" {
		at, err := t.look(rel)
		if err != nil || !at.there || !at.stat.IsFolder() {
			return t.change(ctx, []string{rel}) // it says what is wrong
		}
		if !t.inScope(rel, true) {
			return nil
		}
		if _, err := t.settle(ctx, rel); err != nil {
			return err
		}
		if !t.enters(rel) || checkKey(t.key(rel), true) != nil {
			return t.flush(ctx)
		}
	}
	s := newScan(ctx, t, rel, opt)
	s.all, s.asks = rel == "" && opt.Deep, !opt.Deep || t.folder.Unasked == nil
	defer s.close()
	if opt.Deep {
		t.judge(rel) // has the table of mounts read
		s.survey = t.seams.survey(rel)
	}
	if err := s.run(ctx, rel); err != nil {
		return err
	}
	t.sameElsewhere(rel)
	if err := t.known(root, s); err != nil || s.survey == nil || t.unsafe != nil {
		return err
	}
	if err := s.survey.end(s.all); err != nil {
		return t.guard.lost(err, lostHint)
	}
	return nil
}

// known learns from a scan that has come to its end that a root which is not the one it was is ours all the same, because
// files lie in it that were uploaded before (or because nothing ever was).
func (t *task) known(root rootState, s *scan) error {
	bad := t.guard.check()
	if bad == nil {
		if s.all {
			t.guard.doubt(false) // what is missing in it was put as held
		}
		if s.all && (s.equal > 0 || s.owned == 0) {
			t.guard.settle()
		}
		return nil
	}
	if now, err := t.guard.now(); err == nil && !t.guard.same(now) && (s.equal > 0 || s.all && s.owned == 0) && root.same(now) {
		t.guard.take(root)
		t.guard.doubt(s.owned > 0)
	}
	return bad
}

// scan is the merge of the walk with the rows, the records and the listing.
type scan struct {
	*task
	rows    *stream[*protocol.Entry]
	recs    *stream[Record]
	objs    *stream[protocol.Object] // nil: not asked for
	listing bool                     // it is good so far
	walker  walker
	levels  int
	all     bool // the whole folder is compared
	asks    bool // of each file whether it is at rest

	row    protocol.Entry // of the facts at hand
	doomed []protocol.Key // of rows whose files are missing: to be deleted in the end
	more   int64          // how many more there were behind those
	buried []string       // sub-folders that are missing, of a scan that is not deep, and files that went during it
	owned  int64          // rows of this folder
	equal  int64          // rows that agree with what is on disk
	survey *survey        // nil: the scan is not deep
}

func newScan(ctx context.Context, t *task, rel string, opt ScanOptions) *scan {
	base := t.prefix
	if rel != "" {
		base += rel + "/"
	}
	s := &scan{task: t, levels: 1}
	if opt.Deep {
		s.levels = max(t.folder.Depth-depthOf(rel), 0)
	}
	s.walker = walker{root: t.folder.Root, prefix: t.prefix, layout: t.layout, links: t.links, match: t.folder.Match}
	prefix := protocol.Key(base)
	s.rows = &stream[*protocol.Entry]{base: base, shallow: s.levels == 1, fresh: freshFor,
		keyOf: func(e *protocol.Entry) protocol.Key { return e.Key },
		open: func(after protocol.Key) iter.Seq2[*protocol.Entry, error] {
			return t.queue.Ledger(ctx, t.folder.Bucket, prefix, after)
		}}
	s.recs = &stream[Record]{base: base, shallow: s.levels == 1, fresh: freshFor,
		keyOf: func(r Record) protocol.Key { return r.Key },
		open: func(after protocol.Key) iter.Seq2[Record, error] {
			return t.queue.Records(ctx, t.folder.Bucket, prefix, after)
		}}
	if opt.List && t.list != nil {
		delimiter := ""
		if s.levels == 1 {
			delimiter = "/"
		}
		s.listing = true
		s.objs = &stream[protocol.Object]{base: base, keyOf: func(o protocol.Object) protocol.Key { return o.Key },
			open: func(after protocol.Key) iter.Seq2[protocol.Object, error] {
				return t.list.List(ctx, prefix, delimiter, after)
			}}
	}
	return s
}

func (s *scan) close() {
	s.rows.close()
	s.recs.close()
	if s.objs != nil {
		s.objs.close()
	}
}

func (s *scan) run(ctx context.Context, rel string) error {
	if err := s.recs.start(); err != nil { // before the rows: see sweep
		return protocol.AsError(err, "read the queue", s.root)
	}
	if err := s.rows.start(); err != nil {
		return protocol.AsError(err, "read the ledger", s.root)
	}
	if s.listing {
		s.degrade(ctx, s.objs.start())
	}
	if err := s.walker.ahead(ctx, rel, s.levels, func(w *found) error { return s.visit(ctx, w) }); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var pe *fs.PathError
		if !errors.As(err, &pe) {
			return err
		}
		// The folder itself could be looked at a moment ago: whatever it is, the rows below it are looked at one by one.
		if rel == "" {
			return s.guard.lost(pe.Err, "nothing is deleted until it is there and can be read")
		}
		if !missing(err) && !replaced(err) {
			if s.report.Failed == 0 { // else it is listed already
				if err := s.failPath(ctx, rel, true, err); err != nil {
					return err
				}
			}
			return s.flush(ctx)
		}
	}
	if err := s.upTo(ctx, "", true); err != nil {
		return err
	}
	late, err := s.settleLater(ctx)
	if err != nil {
		return err
	}
	s.buried = append(s.buried, late...)
	if err := s.flush(ctx); err != nil {
		return err
	}
	if s.all {
		s.guard.counted(s.owned)
	}
	return s.finish(ctx)
}

// degrade takes note of a listing that broke off; the context's end is none.
func (s *scan) degrade(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		s.listing = false
		s.report.Degraded = protocol.AsError(err, "list", s.id(protocol.Key(s.rows.base)).String())
	}
}

// upTo deals with everything that sorts before key, or with all that is left, and is not on disk.
func (s *scan) upTo(ctx context.Context, key string, all bool) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		at, any := key, false
		for _, h := range [...]struct {
			ok  bool
			key string
		}{{s.rows.ok, s.rows.key}, {s.recs.ok, s.recs.key}, {s.objs != nil && s.objs.ok, s.headObject()}} {
			if h.ok && (h.key < at || all && !any) {
				at, any = h.key, true
			}
		}
		if !any {
			return nil
		}
		if err := s.absent(ctx, at); err != nil {
			return err
		}
	}
}

func (s *scan) headObject() string {
	if s.objs == nil {
		return ""
	}
	return s.objs.key
}

// facts are what the streams have at one key.
type facts struct {
	row    *protocol.Entry // good until the next facts are taken; nil: none
	rec    Record
	queued bool // there is a rec
	obj    protocol.Object
	listed bool // there is an obj
	nested bool // something below the key, which is a sub-folder's, was passed over
}

// takeAt takes what the streams have at key.
func (s *scan) takeAt(ctx context.Context, key string) (facts, error) {
	var f facts
	if s.rows.ok && s.rows.key == key && !s.rows.nested {
		s.row = *s.rows.val // read before the next one is asked for
		f.row = &s.row
	}
	_, _, rows, err := s.rows.take(key)
	if err != nil {
		return f, protocol.AsError(err, "read the ledger", s.root)
	}
	var recs bool
	if f.rec, f.queued, recs, err = s.recs.take(key); err != nil {
		return f, protocol.AsError(err, "read the queue", s.root)
	}
	f.nested = rows || recs
	if s.objs != nil {
		f.obj, f.listed, _, err = s.objs.take(key)
		s.degrade(ctx, err)
	}
	return f, ctx.Err()
}
