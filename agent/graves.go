package agent

import (
	"context"
	"sync/atomic"
	"time"
)

// Times and sizes of what is gone. All are guesses.
const (
	graveBatches = 64                    // batches of gone paths that wait; more make the events wait
	graveGap     = 20 * time.Millisecond // between two looks whether a batch has to wait
	arriveMost   = 5 * time.Second       // the longest wait for new folders to get their watches
	rescanMost   = 10 * time.Minute      // the longest wait for scans; after it a renamed file may be sent again
)

// grave is a batch of paths that are gone, and the number of the last folder that was to be scanned by then.
type grave struct {
	rels   []string
	before uint64
}

// graves are the paths that were seen to be gone. They wait until the folders that came before are scanned: if one of
// these is a folder that was renamed, its files are copied from their old names first, and what is deleted then is what
// is really gone.
type graves struct {
	batches chan grave
	paths   atomic.Int64 // how many wait, that which is being buried among them
}

// add waits while there are too many.
func (g *graves) add(ctx context.Context, rels []string, before uint64) {
	g.paths.Add(int64(len(rels)))
	select {
	case g.batches <- grave{rels, before}:
	case <-ctx.Done():
	}
}

// bury deletes what is gone, batch by batch, until ctx ends.
func (f *folder) bury(ctx context.Context) {
	for {
		select {
		case g := <-f.graves.batches:
			f.mourn(ctx, g)
			f.changed(ctx, g.rels, f.feed.Change(ctx, g.rels))
			f.graves.paths.Add(-int64(len(g.rels)))
		case <-ctx.Done():
			return
		}
	}
}

// mourn waits until the scans that came before g have ended, also those of folders that are just getting their watches.
func (f *folder) mourn(ctx context.Context, g grave) {
	tick := time.NewTicker(graveGap)
	defer tick.Stop()
	waited := false
	for began := time.Now(); time.Since(began) < rescanMost; {
		switch {
		case time.Since(began) < arriveMost && f.watch.Stats().Rescans > 0:
			waited = true
		case waited: // what arrived was handed out up to a gap ago: the next look knows of it
			waited, g.before = false, f.rescans.last()+1
		case !f.rescans.pending(g.before):
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
