package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"s3apu/feeder"
	"s3apu/internal/mounts"
)

// Names of the queue's values about where a folder lies.
const (
	rootMemo  = "root "  // in which folder what was uploaded was found last: its [mounts.Identity]
	seamsMemo = "seams " // what was mounted below it then: a list of [feeder.Seam] as JSON
)

// kept is what was written last, so that it is not written again with each scan.
type kept struct {
	mu    sync.Mutex
	seams []byte
}

// recall tells the feeder what the queue remembers of the folder, which can be read from here on.
func (f *folder) recall() {
	f.loadHold()
	home, doubt := f.otherRoot()
	seams, err := f.seams()
	if err != nil {
		f.log.Warn("it is not known what was mounted below the folder; every delete waits for a person until it is scanned", "err", err)
		doubt = true
	}
	f.feed.Recall(doubt, home, seams)
}

// away reports whether the folder is not there, or cannot be read, and was uploaded from before: its disk may come later,
// and the others need not wait for it. The error is that of a folder that never was.
func (f *folder) away(cfg *Config) (bool, error) {
	bad := folderThere(f.cfg.Path)
	if bad == nil {
		return false, nil
	}
	if was, err := f.memo.Memo(rootMemo + f.name()); err != nil || len(was) == 0 {
		return false, cfg.notThere(f.cfg.Path, bad)
	}
	f.log.Warn("the folder is away; it is looked for, and nothing is deleted", "err", bad)
	return true, nil
}

// forget has all be written once more: the queue may have been begun anew.
func (f *folder) forget() {
	f.kept.mu.Lock()
	defer f.kept.mu.Unlock()
	f.kept.seams = nil
}

// otherRoot returns which folder the root was when what was uploaded was last found in it, and whether another one lies
// at the path now, or may.
func (f *folder) otherRoot() (home mounts.Identity, other bool) {
	was, err := f.memo.Memo(rootMemo + f.name())
	now := feeder.RootIdentity(f.cfg.Path)
	home = mounts.Identity(was)
	return home, err != nil || home != "" && now != "" && !mounts.Same(home, now)
}

// seams returns what was mounted below the folder when everything was last compared; nil if that is not known.
func (f *folder) seams() ([]feeder.Seam, error) {
	text, err := f.memo.Memo(seamsMemo + f.name())
	if err != nil || len(text) == 0 {
		return nil, err
	}
	var was []feeder.Seam
	if err := json.Unmarshal(text, &was); err != nil || was == nil {
		return nil, fmt.Errorf("%q is no list of mounts: %w", text, err)
	}
	f.kept.seams = text
	return was, nil
}

// remember keeps, after a scan, which folder was compared whole and what is mounted below it.
func (f *folder) remember(ctx context.Context, whole bool) {
	if now := f.feed.Home(); whole && now != "" {
		if was, err := f.memo.Memo(rootMemo + f.name()); err != nil || string(was) != string(now) {
			f.write(ctx, rootMemo+f.name(), []byte(now))
		}
	}
	now := f.feed.Seams()
	if now == nil {
		return
	}
	text, err := json.Marshal(now)
	if err != nil {
		f.log.Error("it cannot be kept what is mounted here", "err", err)
		return
	}
	f.kept.mu.Lock()
	defer f.kept.mu.Unlock()
	if !bytes.Equal(f.kept.seams, text) && f.write(ctx, seamsMemo+f.name(), text) {
		f.kept.seams = text
	}
}

// write sets one of the queue's values and reports whether it is on disk.
func (f *folder) write(ctx context.Context, name string, text []byte) bool {
	err := f.memo.SetMemo(ctx, name, text)
	if err != nil && ctx.Err() == nil {
		f.log.Warn("something could not be kept across a restart", "value", strings.TrimSpace(name[:strings.IndexByte(name, ' ')+1]), "err", err)
	}
	return err == nil
}
