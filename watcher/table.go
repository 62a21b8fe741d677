package watcher

import "sync"

// identity tells folders apart whatever their path. The zero identity means that the system does not tell.
type identity struct {
	dev, ino uint64
	born     int64 // nanoseconds; 0 where the filesystem keeps none
}

// node is a folder that the keeper has visited.
type node struct {
	path    string
	id      identity
	part    int
	watched bool
	err     error // what is wrong, and the folder is polled; nil: nothing
	visited tick  // the last visit that began; changes heard of before it are covered

	seen                      uint64 // the last listing of the parent that had it
	parent, child, next, prev *node
}

// table is every known folder, by path and by identity. Only the keeper's goroutine writes; the lock is for the
// others, which read.
type table struct {
	mu      sync.RWMutex
	nodes   map[string]*node
	ids     map[identity]*node
	polled  map[*node]struct{}
	watched int
	scarce  int // polled for want of watches, kernel queues or open files
	denied  int // polled for want of rights
	listing uint64
}

func newTable() *table {
	return &table{nodes: map[string]*node{}, ids: map[identity]*node{}, polled: map[*node]struct{}{}}
}

// known reports whether path is a folder that was visited.
func (t *table) known(path string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.nodes[path] != nil
}

// watching reports whether the folder path has a watch.
func (t *table) watching(path string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.nodes[path]
	return n != nil && n.watched
}

// troubled returns what is wrong with a folder that was visited; nil: nothing, or it was not.
func (t *table) troubled(path string) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if n := t.nodes[path]; n != nil {
		return n.err
	}
	return nil
}

// get returns the node of a path, or nil. For the keeper.
func (t *table) get(path string) *node { return t.nodes[path] }

// holder returns the node of a folder by its identity, or nil. For the keeper.
func (t *table) holder(id identity) *node {
	if id == (identity{}) {
		return nil
	}
	return t.ids[id]
}

// put records a folder as watched, or why it is not watched or not wholly seen. Its parent must be known.
func (t *table) put(path string, id identity, part int, watched bool, err error) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[path]
	if n == nil {
		n = &node{path: path}
		t.nodes[path] = n
		if up := t.nodes[parent(path)]; up != nil && path != "" {
			n.parent, n.next = up, up.child
			if up.child != nil {
				up.child.prev = n
			}
			up.child = n
		}
	}
	t.unlink(n)
	n.id, n.part, n.watched, n.err = id, part, watched, err
	if id != (identity{}) && t.ids[id] == nil {
		t.ids[id] = n
	}
	if watched {
		t.watched++
	}
	if err != nil {
		t.polled[n] = struct{}{}
		t.count(err, 1)
	}
	return n
}

// unlink takes back what put counted.
func (t *table) unlink(n *node) {
	if t.ids[n.id] == n {
		delete(t.ids, n.id)
	}
	if n.watched {
		t.watched--
	}
	n.watched = false
	if _, ok := t.polled[n]; ok {
		delete(t.polled, n)
		t.count(n.err, -1)
	}
}

// count counts a folder that is polled by what is wrong with it.
func (t *table) count(err error, by int) {
	switch {
	case scarce(err):
		t.scarce += by
	case isDenied(err):
		t.denied += by
	}
}

// remove forgets a folder that has no known folders below it any more.
func (t *table) remove(n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unlink(n)
	switch {
	case n.prev != nil:
		n.prev.next = n.next
	case n.parent != nil:
		n.parent.child = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	}
	delete(t.nodes, n.path)
}

// lower marks a folder as not watched, whatever is below it. It will be visited again.
func (t *table) lower(n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unlink(n)
	n.visited = 0
}

// below returns the known folders at and below path, parents first.
func (t *table) below(path string) []*node {
	top := t.nodes[path]
	if top == nil {
		return nil
	}
	out := []*node{top}
	for i := 0; i < len(out); i++ {
		for c := out[i].child; c != nil; c = c.next {
			out = append(out, c)
		}
	}
	return out
}
