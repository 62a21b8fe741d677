package feeder

import (
	"context"
	"errors"

	"s3apu/protocol"
)

// finish puts the deletes: first those of the rows that were met, then those of whole sub-folders.
func (s *scan) finish(ctx context.Context) error {
	n, err := s.countDoomed(ctx)
	if err != nil {
		return err
	}
	held := n > 0 && s.hold(n)
	order := postorder{emit: func(key protocol.Key, h bool) error { return s.removeGone(ctx, key, h) }}
	err = s.eachDoomed(ctx, func(row *protocol.Entry, at place) error {
		h, ok, err := s.mayGo(row, at, held)
		if err != nil || !ok {
			return err
		}
		return order.add(row.Key, row.Verb == protocol.Mkd, h)
	})
	if err != nil {
		return err
	}
	if err := order.end(); err != nil {
		return err
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	if err := s.bury(ctx, s.buried); err != nil {
		return err
	}
	return s.flush(ctx)
}

// countDoomed counts the rows to be deleted, up to the number from which on they are held in any case: without those
// whose files the scan has found under other names, for these have their deletes by now.
func (s *scan) countDoomed(ctx context.Context) (int64, error) {
	return s.countFree(s.guard.least(), func(count func(*protocol.Entry) error) error {
		return s.eachDoomed(ctx, func(row *protocol.Entry, _ place) error { return count(row) })
	})
}

// eachDoomed calls do for the rows whose files were missing and still are.
func (s *scan) eachDoomed(ctx context.Context, do func(*protocol.Entry, place) error) error {
	s.last.known = false
	for _, key := range s.doomed {
		row, err := s.entry(key)
		if err == nil && row != nil {
			err = s.ifDoomed(row, do)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	if s.more == 0 {
		return nil
	}
	last := s.doomed[len(s.doomed)-1]
	for row, err := range s.queue.Ledger(ctx, s.folder.Bucket, protocol.Key(s.rows.base), last) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && s.passedOver(row.Key, last) {
			err = s.ifDoomed(row, do)
		}
		if errors.Is(err, errEnough) {
			return err
		}
		if err != nil {
			return protocol.AsError(err, "read the ledger", s.root)
		}
	}
	return nil
}

// passedOver reports whether key, behind the last that is remembered, may be one of those for which there was no room: it
// belongs to the folder that is compared, and is not frozen, for what is was counted as such by then.
func (s *scan) passedOver(key, last protocol.Key) bool {
	rel := s.relOf(key)
	return (!s.rows.shallow || depthOf(rel) == depthOf(s.relOf(last))) && s.judge(rel) != frozen
}

// ifDoomed calls do for a row of ours if its file is missing.
func (s *scan) ifDoomed(row *protocol.Entry, do func(*protocol.Entry, place) error) error {
	rel, ok := s.owns(row)
	if !ok || s.isSwept(row.Key) || !s.inScope(rel, row.Verb == protocol.Mkd) {
		return nil
	}
	at, err := s.look(rel)
	if err != nil {
		return s.unjudged(err)
	}
	if at.there && !s.overFile(row, at) {
		return nil
	}
	return do(row, at)
}
