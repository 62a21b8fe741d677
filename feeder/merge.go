package feeder

import (
	"context"
	"errors"
	"strings"

	"s3apu/protocol"
)

// visit is one step of the walk, met with what the streams have at its key.
func (s *scan) visit(ctx context.Context, w *found) error {
	if err := s.upTo(ctx, w.key, false); err != nil {
		return err
	}
	switch w.kind {
	case odd:
		return s.failName(ctx, w.rel, strings.HasSuffix(w.key, "/"), w.err)
	case swapped:
		s.busy(w.rel)
		return nil // what the streams have there is looked at as if there had been no step
	}
	f, err := s.takeAt(ctx, w.key)
	if err != nil {
		return err
	}
	counted := false
	if f.row != nil {
		if rel, ok := s.owns(f.row); ok {
			counted = true
			s.owned++
			s.survey.met(rel, false)
		}
	}
	switch w.kind {
	case aFile:
		return s.file(ctx, w, f)
	case aFolder:
		return s.dir(ctx, w, f)
	case special:
		s.report.Skipped++
	case astray:
		s.report.Skipped++
		s.report.Links++
		if counted && missing(w.err) { // it dangles: what it stood for is gone
			return s.missRow(ctx, f, w.rel, true)
		}
	case blind:
		return s.failPath(ctx, w.rel, true, w.err)
	case unseen:
		return s.failPath(ctx, w.rel, false, w.err)
	}
	return nil
}

// file compares one file.
func (s *scan) file(ctx context.Context, w *found, f facts) error {
	s.report.Seen++
	key := protocol.Key(w.key)
	if err := s.recheck(key, &f); err != nil || explicit(f.rec, f.queued) && f.rec.Verb != protocol.Upl {
		return err
	}
	if state := s.compare(f.row, w.rel, w.stat); state != differs {
		s.equal++
		s.survey.met(w.rel, true)
		if !w.via { // what a link leads to may lie on any device
			s.guard.learn(f.row.Dev, w.dev)
		}
		drift, err := s.drifted(f)
		switch {
		case err != nil:
			return err
		case drift:
			return s.send(ctx, w, f.row, true)
		case f.queued && (f.rec.Verb != protocol.Upl || f.rec.Dead):
			return s.send(ctx, w, f.row, false)
		}
		return s.agree(ctx, f.row, w.rel, w.stat, state)
	}
	if s.underway(f, protocol.Upl, w.rel) || s.putOff(w.rel, f.row, w.stat) {
		return nil
	}
	if f.row == nil && f.listed && s.listing && !f.obj.Folder && !f.queued {
		done, err := s.claim(ctx, w, f)
		if done || err != nil {
			return err
		}
	}
	return s.send(ctx, w, f.row, false)
}

// recheck reads the record at key once more, now that the file was looked at: a wish that still waits will look at the
// file later than we did.
func (s *scan) recheck(key protocol.Key, f *facts) (err error) {
	if f.queued {
		f.rec, f.queued, err = s.pending(key)
	}
	return err
}

// underway reports whether the same wish waits already and need not be put again.
func (s *scan) underway(f facts, verb protocol.Verb, rel string) bool {
	return f.queued && !f.rec.Dead && !f.rec.Leased && f.rec.Verb == verb && s.isPath(f.rec.Source, rel) &&
		s.class == protocol.Backfill
}

// drifted reports whether the bucket does not hold what the row says. The streams are of different moments, so that is
// said only of a row that is still the same and not being replaced.
func (s *scan) drifted(f facts) (bool, error) {
	if !s.listing || f.listed && agrees(f.row, f.obj) {
		return false, nil
	}
	row, err := s.entry(f.row.Key)
	if err != nil || row == nil || row.ETag != f.row.ETag || row.Put != f.row.Put {
		return false, err
	}
	_, ok, err := s.pending(f.row.Key)
	return !ok && err == nil, err
}

// agrees reports whether S3 lists what the row says. Of a common prefix it is known only that something is below it.
func agrees(row *protocol.Entry, obj protocol.Object) bool {
	if obj.Folder {
		return true
	}
	size := row.Size
	if row.Verb == protocol.Mkd {
		size = 0
	}
	return obj.Size == size && (row.ETag == "" || obj.ETag == "" || row.ETag == obj.ETag)
}

// claim is for a file that has no row but an object: if that holds the same bytes, it is ours from now on.
func (s *scan) claim(ctx context.Context, w *found, f facts) (done bool, err error) {
	key := protocol.Key(w.key)
	if row, err := s.entry(key); err != nil || s.compare(row, w.rel, w.stat) != differs {
		return true, err // it was uploaded since the scan began
	}
	if _, ok, err := s.pending(key); ok || err != nil {
		return false, err
	}
	if !s.atRest(w.rel, w.stat) {
		s.busy(w.rel)
		return true, nil
	}
	row, err := s.recognise(ctx, w.rel, w.stat, f.obj)
	switch {
	case errors.Is(err, errChanged):
		s.busy(w.rel)
		return true, nil
	case err != nil || row == nil:
		return false, err
	}
	s.adopt = append(s.adopt, row)
	return true, s.full(ctx)
}

// send wishes for an upload, once what is in its way is dealt with.
func (s *scan) send(ctx context.Context, w *found, row *protocol.Entry, drift bool) error {
	asked := s.asks || drift || !s.folder.Unasked(w.stat) // with drift its row goes, which one that is busy keeps
	if asked && !s.atRest(w.rel, w.stat) {
		s.busy(w.rel)
		return nil
	}
	if drift {
		s.report.Drift++
		s.forget = append(s.forget, row.ID())
	}
	dir := w.key + "/"
	if s.rows.mayHold(dir) || s.recs.mayHold(dir) { // also with a row of the file: see wasFolder
		if err := s.clear(ctx, w.rel, place{dev: w.dev, top: !strings.Contains(w.rel, "/")}); err != nil {
			return err
		}
	}
	return s.upload(ctx, w.rel, w.stat, asked)
}

// dir compares one folder's own object.
func (s *scan) dir(ctx context.Context, w *found, f facts) error {
	s.report.Seen++
	key := protocol.Key(w.key)
	if err := s.recheck(key, &f); err != nil || explicit(f.rec, f.queued) && f.rec.Verb != protocol.Mkd {
		return err
	}
	if s.layout == none {
		if f.queued && f.rec.Dead { // it could not be read, and now it can
			return s.mkdir(ctx, w.rel, w.stat)
		}
		return nil
	}
	if s.compare(f.row, w.rel, w.stat) != differs {
		if f.row.Ino == w.stat.Ino {
			s.equal++
		}
		drift, err := s.drifted(f)
		if err != nil {
			return err
		}
		if drift {
			s.report.Drift++
			s.forget = append(s.forget, f.row.ID())
		}
		if drift || f.queued && (f.rec.Verb != protocol.Mkd || f.rec.Dead) {
			return s.mkdir(ctx, w.rel, w.stat)
		}
		return nil
	}
	if s.underway(f, protocol.Mkd, w.rel) {
		return nil
	}
	if f.row == nil && f.listed && s.listing && !f.obj.Folder && !f.queued && f.obj.Size == 0 {
		row, err := s.entry(key)
		if err != nil || row != nil {
			return err // it was made since the scan began
		}
		s.adopt = append(s.adopt, &protocol.Entry{Bucket: s.folder.Bucket, Key: key, Verb: protocol.Mkd,
			Source: s.path(w.rel), Stat: w.stat, ETag: strings.Clone(f.obj.ETag), Put: f.obj.Modified.UnixNano()})
		return s.full(ctx)
	}
	return s.mkdir(ctx, w.rel, w.stat)
}

// absent deals with what the streams have at a key where the walk has found nothing.
func (s *scan) absent(ctx context.Context, key string) error {
	f, err := s.takeAt(ctx, key)
	if err != nil {
		return err
	}
	switch {
	case f.nested:
		if rel := s.relOf(protocol.Key(key)); s.inScope(rel, true) {
			return s.goneFolder(rel)
		}
	case f.row != nil:
		return s.goneRow(ctx, f)
	case f.queued:
		rel, ok := s.ownsWish(f.rec)
		if !ok || s.isSwept(f.rec.Key) || !s.inScope(rel, f.rec.Verb == protocol.Mkd) {
			return nil
		}
		if stale, err := s.stale(f.rec, rel); err != nil || !stale {
			return s.unjudged(err)
		}
		return s.takeBack(ctx, f.rec, rel)
	case !f.obj.Folder:
		s.report.Foreign++
	}
	return nil
}

// unjudged passes over a path that could not be looked at; why that is so is listed where the walk has met it.
func (s *scan) unjudged(err error) error {
	if err != nil {
		s.report.Skipped++
		if !errors.Is(err, errLinked) {
			s.rootLost()
		}
	}
	return nil
}

// goneRow decides about a row without a step of the walk: its file is missing, of another kind, or not ours.
func (s *scan) goneRow(ctx context.Context, f facts) error {
	rel, ok := s.owns(f.row)
	if !ok || !s.inScope(rel, f.row.Verb == protocol.Mkd) {
		return nil
	}
	s.owned++
	return s.missRow(ctx, f, rel, false)
}

// missRow is goneRow for a row of ours; met says that the survey has met it.
func (s *scan) missRow(ctx context.Context, f facts, rel string, met bool) error {
	if !s.folder.Delete || s.isSwept(f.row.Key) || f.queued && f.rec.Verb == protocol.Del && !f.rec.Dead {
		return nil
	}
	at, err := s.look(rel)
	switch {
	case err != nil:
		return s.unjudged(err)
	case at.there && at.stat.IsFolder() && f.row.Verb == protocol.Upl:
		return s.unfile(ctx, rel)
	case at.there && !s.overFile(f.row, at):
		return nil
	case s.judge(rel) == frozen:
		if !met {
			s.survey.met(rel, false)
		}
		s.survey.lost(rel)
		s.report.Frozen++
	case len(s.doomed) < s.remembers:
		s.doomed = append(s.doomed, protocol.Key(strings.Clone(string(f.row.Key)))) // else all of the row is kept
	default:
		s.more++
	}
	return nil
}

// overFile reports whether a row is of a folder "x/" where a file x lies now.
func (s *scan) overFile(row *protocol.Entry, at place) bool {
	return s.leaf(at.stat) && row.Verb == protocol.Mkd && row.Key.IsFolder()
}

// goneFolder decides about a sub-folder that a shallow walk has not found although something below it is known.
func (s *scan) goneFolder(rel string) error {
	at, err := s.look(rel)
	if err != nil {
		return s.unjudged(err)
	}
	if !at.there {
		s.buried = append(s.buried, rel)
	}
	return nil
}
