package agent

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"s3apu/feeder"
	"s3apu/internal/mounts"
)

// blindShare bounds what the looks at blind places cost: one in so many parts of the time, 5 % (a guess).
const blindShare = 20

// BlindPlace is a folder on a file system whose changes may come from where the kernel does not report them.
type BlindPlace struct {
	Path string // below the watched folder, with slashes; empty: the folder itself
	FS   string // the type of the file system
}

// String says it for people.
func (p BlindPlace) String() string {
	if p.Path == "" {
		return p.FS
	}
	return p.FS + " at " + p.Path
}

// BlindPlaces returns the places at and below root where others may write unheard, by the table of mounts: that answers
// where statfs(2) would wait for a dead server. Nil where there are none, or no table.
func BlindPlaces(root string) []BlindPlace {
	table, err := mounts.Table()
	if err != nil {
		return nil
	}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	if over, ok := mounts.Over(table, root); ok && mounts.Blind(over.FS) {
		return []BlindPlace{{FS: over.FS}}
	}
	var places []BlindPlace
	for rel, m := range mounts.Below(table, root) {
		if mounts.Blind(m.FS) {
			places = append(places, BlindPlace{rel, m.FS})
		}
	}
	slices.SortFunc(places, func(a, b BlindPlace) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(places, func(a, b BlindPlace) bool { return inside(a.Path, b.Path) }) // one look sees both
}

// lookBlind compares the places where the watcher hears nothing of others, each [reconcile] blind, until ctx ends: there it
// is the watcher. It begins when the first scan has ended.
func (f *folder) lookBlind(ctx context.Context) {
	every := f.every.Blind.D()
	select {
	case <-f.ready:
	case <-ctx.Done():
		return
	}
	for f.memo.Up(ctx) == nil {
		began := time.Now()
		for _, p := range f.findBlind(ctx) {
			if every <= 0 {
				break
			}
			if _, err := f.scan(ctx, p.Path, feeder.ScanOptions{Deep: true, Live: true}); err != nil && ctx.Err() == nil {
				break // it is said, and tried again the next time
			}
		}
		pause(ctx, blindGap(every, time.Since(began)))
	}
}

// blindGap is the time until the next looks, when the last ones took so long.
func blindGap(every, took time.Duration) time.Duration {
	return max(every, minBlind, (blindShare-1)*took)
}

// minBlind is between two looks at the table of mounts, where nothing is compared in between. A guess.
const minBlind = time.Second

// findBlind looks which places are blind, and says so when that has changed.
func (f *folder) findBlind(ctx context.Context) []BlindPlace {
	var places []BlindPlace
	for _, p := range f.blindLook(f.cfg.Path) {
		if p.Path == "" || f.takes(p.Path) {
			places = append(places, p)
		}
	}
	was := f.blind.Swap(&places)
	if was == nil && len(places) == 0 || was != nil && slices.Equal(*was, places) {
		return places
	}
	if len(places) == 0 {
		f.log.Info("every change is reported by the kernel again")
		return nil
	}
	level := slog.LevelInfo
	if f.every.Blind <= 0 {
		level = slog.LevelWarn
	}
	f.log.Log(ctx, level, "not everything is heard here", "err", BlindText(places, f.every))
	return places
}

// takes reports whether what lies in the folder rel belongs to the watched folder.
func (f *folder) takes(rel string) bool {
	depth := strings.Count(rel, "/") + 1
	if f.cfg.Recursion > 0 && depth >= f.cfg.Recursion {
		return false
	}
	for at := rel; at != "."; at = filepath.ToSlash(filepath.Dir(at)) {
		if !f.match.Has(at, true) {
			return false
		}
	}
	return true
}

// BlindText says which places are blind and when changes by others are found there.
func BlindText(places []BlindPlace, every Reconcile) string {
	names := make([]string, len(places))
	for i, p := range places {
		names[i] = p.String()
	}
	what := "the kernel does not report what others change on " + strings.Join(names, ", ")
	switch {
	case every.Blind > 0:
		return fmt.Sprintf("%s: looked for every %v", what, every.Blind.D())
	case every.Interval > 0:
		return fmt.Sprintf("%s: found by the comparison every %v only ([reconcile] blind is off)", what, every.Interval.D())
	}
	return what + ": never found ([reconcile] blind and interval are off)"
}
