package watcher

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// watchTries is how many times a folder may change under our hands in a row; a guess.
const watchTries = 3

// stop is a folder on the way of a visit.
type stop struct {
	path string
	deep bool
}

// visit adds the watch of a folder, then lists it, and goes on to the folders in it if the watch is a new one or deep
// says so. Else it leaves a task for each new folder and for each that is another than the one watched. The caller has
// a Rescan follow.
//
// whole says that everything below was visited, so that the Rescan has to be deep.
func (k *keeper) visit(ctx context.Context, path string, deep bool) (whole bool) {
	way := []stop{{path, deep}}
	for len(way) > 0 && ctx.Err() == nil {
		s := way[len(way)-1]
		var fresh bool
		way, fresh = k.call(s, way[:len(way)-1])
		whole = whole || fresh
	}
	return whole || deep
}

// call is one stop of a visit; it returns the way that is left, and whether the watch is a new one.
func (k *keeper) call(s stop, way []stop) (left []stop, fresh bool) {
	began := k.w.now()
	n, fresh, ok := k.watch(s.path)
	if !ok {
		return way, false
	}
	if s.path == "" && k.rootGone {
		k.rootGone = false
		k.w.counts.rootGone.Store(false)
		k.w.cfg.Log.Info("the root is back", "folder", k.w.cfg.Root)
	}
	k.w.table.listing++
	listing := k.w.table.listing
	err := k.list(s.path, func(child string) {
		c := k.w.table.get(child)
		if c != nil {
			c.seen = listing
		}
		switch {
		case s.deep || fresh:
			way = append(way, stop{child, true})
		case c == nil || k.moved(c): // it needs a Rescan of its own
			k.sync(child, k.w.now(), true, "a new folder")
		}
	})
	if err != nil {
		k.unlisted(n, err)
		return way, fresh
	}
	var gone []string
	for c := n.child; c != nil; c = c.next {
		if c.seen != listing {
			gone = append(gone, c.path)
		}
	}
	for _, p := range gone {
		k.forget(p)
		k.w.marks.event(p, k.w.now())
	}
	n.visited = began
	return way, fresh
}

// peekAll looks for new folders where a creation was not looked at. A storm of files in a large folder asks for it all
// the time, so it takes at most a tenth of the time.
func (k *keeper) peekAll(ctx context.Context) {
	const gap = 2 * time.Millisecond // a guess
	k.mu.Lock()
	peeks := k.peeks
	if len(peeks) == 0 {
		k.mu.Unlock()
		return
	}
	k.peeks = map[string]struct{}{}
	k.mu.Unlock()
	began := k.w.now()
	for folder := range peeks {
		if ctx.Err() != nil {
			return
		}
		if k.w.table.get(folder) == nil {
			k.sync(folder, k.w.now(), false, "a new folder")
			continue
		}
		err := k.list(folder, func(child string) {
			if k.w.table.get(child) == nil {
				k.sync(child, k.w.now(), true, "a new folder")
			}
		})
		if err != nil {
			k.sync(folder, k.w.now(), false, "the folder cannot be listed")
		}
	}
	now := k.w.now()
	k.nextPeek = now + max(gap, 10*(now-began))
}

// moved reports whether another folder lies where n was watched.
func (k *keeper) moved(n *node) bool {
	id, folder, err := identify(k.w.full(n.path))
	return err == nil && folder && id != n.id
}

// list calls found for each folder in path that is to be watched.
func (k *keeper) list(path string, found func(child string)) error {
	f, err := os.Open(k.w.full(path))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read: nothing can be lost
	if err := enterable(k.w.full(path)); err != nil {
		return err
	}
	return foldersIn(f, func(name string) {
		if child := join(path, name); k.w.watchable(child) && !k.w.skip(child, true) {
			found(child)
		}
	})
}

// enterable reports why nothing in a folder can be looked at, although its names may be readable; else nil.
func enterable(full string) error {
	_, err := os.Lstat(full + string(filepath.Separator) + ".")
	return err
}

// openable reports why a folder cannot be listed or entered, or nil.
func openable(full string) error {
	f, err := os.Open(full)
	if err != nil {
		return err
	}
	return errors.Join(enterable(full), f.Close())
}

// unlisted is what becomes of a folder whose listing failed: gone ones are found out by a new task, others polled.
func (k *keeper) unlisted(n *node, err error) {
	if isGone(err) {
		k.sync(n.path, k.w.now(), false, "the folder vanished")
		return
	}
	k.note(n.path, err)
	k.w.table.put(n.path, n.id, n.part, n.watched, err)
}

// watch makes sure that the folder that lies at path now is watched under that path, and nothing else under it. fresh
// says that it was not so before. Not ok: there is no folder.
func (k *keeper) watch(path string) (n *node, fresh, ok bool) {
	full := k.w.full(path)
	if strings.HasSuffix(full, path) {
		path = full[len(full)-len(path):] // one copy of the name in memory, not two
	}
	for range watchTries {
		id, folder, err := identify(full)
		if err != nil || !folder {
			k.without(path, id, err)
			return nil, false, false
		}
		n := k.w.table.get(path)
		if n != nil && n.watched && (n.id != id || id == identity{}) {
			k.unwatch(n)
			k.later(path)
		}
		if twin := k.free(path, id); twin != "" {
			return k.w.table.put(path, id, k.part(path), false, twinError(twin)), false, true
		}
		fresh := n == nil || !n.watched
		err = k.add(full, k.part(path))
		if isGone(err) {
			continue
		}
		if err != nil {
			return k.refuse(path, id, err), false, true
		}
		if now, folder, err := identify(full); err != nil || !folder || now != id {
			k.removeWatch(full, k.part(path))
			if n != nil {
				k.w.table.lower(n)
			}
			continue
		}
		return k.w.table.put(path, id, k.part(path), true, nil), fresh, true
	}
	k.sync(path, k.w.now(), true, "the folder keeps changing")
	return nil, false, false
}

// add asks the queue for a watch.
func (k *keeper) add(full string, part int) error {
	if part >= len(k.w.sources) {
		return k.refused
	}
	return k.w.sources[part].Add(full)
}

// free takes the folder id away from another path under which it is watched and where it does not lie any more;
// fsnotify would otherwise go on under that path, and silently ignore the new one. If it does lie there too (a bind
// mount) free returns that path.
func (k *keeper) free(path string, id identity) (twin string) {
	old := k.w.table.holder(id)
	if old == nil || old.path == path {
		return ""
	}
	if now, folder, err := identify(k.w.full(old.path)); err == nil && folder && now == id {
		return old.path
	}
	k.unwatch(old)
	if !k.pending(old.path) {
		k.sync(old.path, k.w.now(), true, "the folder was moved")
	}
	return ""
}

// refuse records why a folder has no watch.
func (k *keeper) refuse(path string, id identity, err error) *node {
	k.note(path, err)
	if n := k.w.table.get(path); n != nil {
		k.unwatch(n) // it may have been read before
	}
	return k.w.table.put(path, id, k.part(path), false, err)
}

// unwatch takes a watch away; the folder stays known until it is visited again.
func (k *keeper) unwatch(n *node) {
	if n.watched {
		k.removeWatch(k.w.full(n.path), n.part)
	}
	k.w.table.lower(n)
}

// removeWatch gives a watch back. An error says that the kernel had dropped it already, with the folder.
func (k *keeper) removeWatch(full string, part int) {
	if part < len(k.w.sources) {
		_ = k.w.sources[part].Remove(full)
	}
}

// forget removes every watch and every known folder at and below path.
func (k *keeper) forget(path string) {
	nodes := k.w.table.below(path)
	for i := len(nodes) - 1; i >= 0; i-- {
		k.unwatch(nodes[i])
		k.w.table.remove(nodes[i])
	}
}
