package watcher

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

// structural events may mean that a watch stands on the wrong folder, or on none.
const structural = fsnotify.Create | fsnotify.Remove | fsnotify.Rename

// listen hears one kernel queue until ctx ends. It marks, and does nothing that can wait: while it waits, the queue
// in the kernel fills.
func (w *Watcher) listen(ctx context.Context, i int, s source) {
	for {
		if w.cfg.gate != nil {
			w.cfg.gate(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-s.Events():
			if !ok {
				w.sourceEnded(ctx, i)
				return
			}
			w.hear(ev)
		case err, ok := <-s.Errors():
			if !ok {
				w.sourceEnded(ctx, i)
				return
			}
			w.hearError(i, err)
		}
	}
}

func (w *Watcher) sourceEnded(ctx context.Context, i int) {
	if ctx.Err() == nil {
		w.keeper.lose(i, "the system's notifications ended")
	}
}

// hear marks what an event speaks of. What became of the path is for the disk to say.
func (w *Watcher) hear(ev fsnotify.Event) {
	w.counts.events.Add(1)
	rel, ok := w.rel(ev.Name)
	if !ok {
		return
	}
	now := w.now()
	if rel == "" && ev.Op&structural == 0 && w.table.watching("") {
		w.marks.event("", now)
		return
	}
	if rel == "" || ev.Op&structural != 0 && w.table.known(rel) {
		w.keeper.sync(rel, now, ev.Has(fsnotify.Rename), "the folder was "+what(ev.Op))
		return
	}
	if ev.Has(fsnotify.Create) {
		w.marks.create(rel, now)
		return
	}
	w.marks.event(rel, now)
}

// what is an operation in the words of a Rescan's Why.
func what(op fsnotify.Op) string {
	switch {
	case op.Has(fsnotify.Rename):
		return "renamed"
	case op.Has(fsnotify.Remove):
		return "removed"
	case op.Has(fsnotify.Create):
		return "created"
	}
	return "changed"
}

// rel is a path on disk below the root.
func (w *Watcher) rel(name string) (string, bool) {
	if name == w.cfg.Root {
		return "", true
	}
	root := w.cfg.Root
	if !strings.HasSuffix(root, string(filepath.Separator)) {
		root += string(filepath.Separator)
	}
	rest, ok := strings.CutPrefix(name, root)
	return strings.TrimLeft(filepath.ToSlash(rest), "/"), ok
}

// hearError has everything that the queue covers looked through again.
func (w *Watcher) hearError(i int, err error) {
	if errors.Is(err, fsnotify.ErrEventOverflow) {
		w.counts.overflows.Add(1)
		w.keeper.lose(i, "the kernel's event queue ran over")
		return
	}
	if err == error(syscall.EINVAL) { //nolint:errorlint // a bare EINVAL comes from one place only, see below
		// fsnotify v1.10.1 removes the watch of a folder that was renamed, and reports the kernel's EINVAL when the
		// folder has meanwhile been deleted too. The Rename event follows; nothing was lost.
		return
	}
	w.counts.errors.Add(1)
	w.cfg.Log.Warn("an error instead of events; looking through what it covers", "folder", w.cfg.Root, "err", err)
	w.keeper.lose(i, "an error instead of events: "+err.Error())
}
