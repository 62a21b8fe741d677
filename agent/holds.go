package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
	"s3apu/queue"
)

const (
	holdMemo   = "hold "         // name of the queue's value that says since when and why deletes of a folder are held
	holdLook   = 2 * time.Second // between two looks whether deletes are held (a guess: a person waits)
	holdRemind = time.Hour       // until held deletes are told of once more in the log (a guess)
)

// hold says since when deletes of a folder wait for a person, and why.
type hold struct {
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
}

// loadHold takes up what was kept before a restart.
func (f *folder) loadHold() {
	text, err := f.memo.Memo(holdMemo + f.name())
	if err != nil || len(text) == 0 {
		return
	}
	var h hold
	if err := json.Unmarshal(text, &h); err != nil {
		f.log.Warn("it is not known any more why deletes are held", "err", err)
		return
	}
	f.hold.Store(&h)
}

// noteHold keeps the reason of the first deletes that are held, until none are.
func (f *folder) noteHold(ctx context.Context) {
	last := f.feed.LastHold()
	for noted := f.noted.Load(); ; noted = f.noted.Load() {
		if last.N <= noted {
			return
		}
		if f.noted.CompareAndSwap(noted, last.N) {
			break
		}
	}
	h := &hold{Since: last.At, Why: last.Why}
	if !f.hold.CompareAndSwap(nil, h) {
		return
	}
	text, err := json.Marshal(h)
	if err != nil {
		f.log.Error("it cannot be kept why deletes are held", "err", err)
		return
	}
	f.write(ctx, holdMemo+f.name(), text)
}

// forgetHold is for when nothing is held any more.
func (f *folder) forgetHold(ctx context.Context) {
	if f.hold.Swap(nil) != nil {
		f.write(ctx, holdMemo+f.name(), nil)
	}
}

// watchHolds tells the log and the service manager while deletes wait for a person.
func (a *Agent) watchHolds(ctx context.Context) error {
	var seen heldSeen
	for ctx.Err() == nil {
		a.lookAtHolds(ctx, &seen)
		a.logs.settle()
		pause(ctx, holdLook)
	}
	return nil
}

// heldSeen is what a look at the held deletes has seen and said.
type heldSeen struct {
	before int64     // how many were held
	said   time.Time // when the log was told
}

// lookAtHolds is one look of watchHolds.
func (a *Agent) lookAtHolds(ctx context.Context, seen *heldSeen) {
	held := a.queue.Stats().Held
	if a.queue.Err() != nil { // it knows of nothing until it works again
		return
	}
	if held > 0 {
		a.explain(ctx)
	}
	switch {
	case held > 0 && (seen.before == 0 || time.Since(seen.said) >= holdRemind):
		seen.said = time.Now()
		a.log.Warn("deletes wait for a person; uploads go on", "held", held, "hint", holdHint, "err", a.whyHeld())
		a.say(counted(held, "delete", " is") + " HELD for a person: s3apu-agent queue held")
	case held == 0 && seen.before > 0:
		a.log.Info("no deletes are held any more")
		a.say("watching " + counted(int64(len(a.folders)), "folder", ""))
	case held == 0: // since the look before, so that no hold is just being noted
		for _, f := range a.folders {
			f.forgetHold(ctx)
		}
	}
	seen.before = held
}

// holdHint names the commands that end a hold.
const holdHint = "look: s3apu-agent queue held; delete them: s3apu-agent queue release --all; leave the objects: s3apu-agent queue drop --all"

// holds lists why deletes are held, folder by folder.
func (a *Agent) holds() []HoldHealth {
	all := []HoldHealth{}
	for _, f := range a.folders {
		if h := f.hold.Load(); h != nil {
			all = append(all, HoldHealth{Folder: f.cfg.Path, Since: h.Since, Why: h.Why})
		}
	}
	if h := a.unexplained.Load(); h != nil && len(all) == 0 {
		all = append(all, HoldHealth{Since: h.Since, Why: h.Why})
	}
	return all
}

// explain looks for the age of deletes that are held for no known reason: a crash came between, or an older version did it.
func (a *Agent) explain(ctx context.Context) {
	for _, f := range a.folders {
		if f.hold.Load() != nil {
			a.unexplained.Store(nil)
			return
		}
	}
	recs, err := a.queue.Held(ctx, protocol.ObjectID{}, 1)
	if err == nil && len(recs) > 0 {
		a.unexplained.Store(&hold{Since: recs[0].Since, Why: "the reason was not kept"})
	}
}

func (a *Agent) whyHeld() string {
	var why []string
	for _, h := range a.holds() {
		why = append(why, strings.TrimPrefix(fmt.Sprintf("%s: %s, since %s", h.Folder, h.Why, h.Since.Format(time.DateTime)), ": "))
	}
	return strings.Join(why, "; ")
}

// dropBatch is how many held deletes are read at a time to be dropped. A guess.
const dropBatch = 1000

// Drop forgets failures and held deletes. Whose delete is dropped is left in the bucket for good: its row is forgotten
// first, or the next scan would wish for the same delete again.
func (h clientHandler) Drop(ctx context.Context, ids []protocol.ObjectID) (int, error) {
	if len(ids) > 0 {
		ids = h.both(ids)
		if err := h.disown(ctx, ids); err != nil {
			return 0, err
		}
		failpoint.Here("agent.disowned")
		return h.queue.Drop(ctx, ids)
	}
	total := 0
	var after protocol.ObjectID
	for {
		recs, err := h.queue.Held(ctx, after, dropBatch)
		if err != nil || len(recs) == 0 {
			return total, err
		}
		page := make([]protocol.ObjectID, len(recs))
		for i, r := range recs {
			page[i] = r.ID()
		}
		after = page[len(page)-1]
		if err := h.disown(ctx, page); err != nil {
			return total, err
		}
		failpoint.Here("agent.disowned.page")
		n, err := h.queue.Drop(ctx, page)
		if total += n; err != nil {
			return total, err
		}
	}
}

// disown forgets the rows of those keys whose delete is held.
func (h clientHandler) disown(ctx context.Context, ids []protocol.ObjectID) error {
	var rows []protocol.ObjectID
	for _, id := range ids {
		rec, ok, err := h.queue.Pending(id)
		if err != nil {
			return err
		}
		if ok && rec.State == queue.Held && rec.Verb == protocol.Del {
			rows = append(rows, id)
		}
	}
	return h.queue.Forget(ctx, rows...)
}
