package watcher

import (
	"context"
	"slices"
)

// recover looks through everything that a queue covers after it did not tell everything: it compares the watches,
// finds the folders that came meanwhile, and then has it all reported.
func (k *keeper) recover(ctx context.Context, part int, l *loss) {
	now := k.w.now()
	if now-l.not > 4*l.gap {
		l.gap = 0 // it was quiet for long
	}
	l.gap = min(max(2*l.gap, k.w.cfg.gap), overflowMost*k.w.cfg.gap)
	why := l.why
	l.why = ""
	k.w.cfg.Log.Warn("events were lost; looking through what they covered", "folder", k.w.cfg.Root, "reason", why,
		"next", l.gap)

	for _, path := range k.covered(part) {
		if ctx.Err() != nil {
			return
		}
		if k.w.table.get(path) == nil {
			continue // it went away while others were visited
		}
		whole := k.visit(ctx, path, false)
		if len(k.w.sources) > 1 { // the root and its entries share their subtrees with other queues
			k.w.marks.rescan(path, whole || levels(path) >= 2, why, k.w.now())
		}
	}
	if len(k.w.sources) <= 1 {
		k.w.marks.rescan("", true, why, k.w.now())
	}
	l.not = k.w.now() + l.gap
}

// covered returns the folders of a queue, parents first.
func (k *keeper) covered(part int) []string {
	var out []string
	for path, n := range k.w.table.nodes {
		if n.part == part {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out
}

// checkRoot looks whether the root is still the folder it was, and whether something was mounted or unmounted below
// it: neither gives an event.
func (k *keeper) checkRoot(ctx context.Context) {
	k.nextRoot = k.w.now() + k.w.cfg.Check
	if k.rootGone {
		k.nextRoot = k.w.now() + k.w.cfg.Retry
	}
	id, folder, err := identify(k.w.full(""))
	n := k.w.table.get("")
	switch {
	case err != nil || !folder:
		k.without("", id, err)
	case n == nil || n.id != id:
		k.do(ctx, "", task{at: k.w.now(), deep: true, why: "the root is another folder"})
	case openable(k.w.full("")) != nil || isDenied(n.err):
		k.rootRights(ctx, n)
	default:
		if m := mountTable(); m != k.mounts {
			k.mounts = m
			k.compare(ctx, "")
		}
		k.count()
	}
}

// count looks whether watches were lost with a disk that was unmounted and is back: it looks as it did, down to its inode
// numbers and its line in the mount table. Only when something was mounted, for it takes a look at every folder's entry
// in memory; and a few times then, for the kernel's word to fsnotify may still be on its way.
func (k *keeper) count() {
	const looks = 3 // a guess
	if k.bell.rang() {
		k.counting = looks
	}
	if k.counting == 0 {
		return
	}
	k.counting--
	watched := make([]int, len(k.w.sources))
	for _, n := range k.w.table.nodes {
		if n.watched && n.part < len(watched) {
			watched[n.part]++
		}
	}
	for i, s := range k.w.sources {
		if s.Watches() < watched[i] {
			k.lose(i, "something was unmounted and mounted again")
		}
	}
}

// rootRights deals with a root that cannot be read, or could not be.
func (k *keeper) rootRights(ctx context.Context, n *node) {
	err := openable(k.w.full(""))
	switch {
	case err == nil:
		k.do(ctx, "", task{at: k.w.now(), deep: true, why: "the root can be read again"})
	case n.err == nil:
		k.trouble("", n.id, err)
		k.w.marks.rescan("", true, "the root cannot be read", k.w.now())
	}
}

// poll looks through the folders without a watch: it tries to watch them, and else has them reported. It takes at
// most a twentieth of the time.
func (k *keeper) poll(ctx context.Context) {
	began := k.w.now()
	paths := make([]string, 0, len(k.w.table.polled))
	for n := range k.w.table.polled {
		paths = append(paths, n.path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		if ctx.Err() != nil {
			return
		}
		k.pollFolder(ctx, path)
	}
	now := k.w.now()
	k.nextPoll = now + max(k.w.cfg.Poll, 20*(now-began))
}

func (k *keeper) pollFolder(ctx context.Context, path string) {
	n := k.w.table.get(path)
	if n == nil || n.err == nil {
		return
	}
	why := n.err.Error()
	whole := k.visit(ctx, path, false)
	k.w.marks.rescan(path, whole, "not watched: "+why, k.w.now())
}
