package queue

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"s3apu/protocol"
)

// A damaged store is moved aside, never deleted, and a new one is begun; the folders and the bucket tell what to put into
// it. Nothing is taken over from the damaged one: what can still be read of it is no state that ever was. Under a newer
// row that is lost an older one comes to light, and an older row of the ledger is a permission to delete what somebody
// else may have put there since (docs/design/0008).

const (
	asideMark = ".damaged-"

	// maxAside is how many damaged stores may lie beside the queue. A disk that damages more needs a person, and its room
	// must not be filled with them. A guess.
	maxAside = 3
)

// whatIsLost says so to people.
const whatIsLost = "instructions from the socket that were not carried out yet, deletes of files that vanished before the next scan " +
	"(their objects stay in the bucket), deletes held for a person, and unfinished multipart uploads, which the bucket keeps until they are aborted"

// replace moves the damaged store aside and opens a new one. The lock stays where it is, so that nobody comes between.
func (q *Queue) replace(damage error) error {
	to, err := q.moveAside(damage)
	if err != nil {
		return err
	}
	q.log.Error("the queue's store is damaged; it was moved aside and a new one is built from the folders and the bucket",
		"err", damage, "moved_to", to, "lost", whatIsLost)
	// An answer to a lease of the old store must not fit one of the new: numbers go on above all that were given out,
	// over restarts as well. Never a million of them is used in a second.
	q.rebuilt = max(q.next, uint64(max(q.opt.Now().UnixMicro(), 1)))
	return q.open()
}

// moveAside renames everything in the folder of the queue but the lock into a folder beside it, whose name it returns; ""
// if there was nothing.
func (q *Queue) moveAside(damage error) (string, error) {
	f := q.opt.fs
	names, err := f.List(q.dir)
	if err != nil {
		return "", storeError(opOpen, q.dir, err)
	}
	earlier, err := q.earlierAside()
	if err != nil {
		return "", storeError(opOpen, q.dir, err)
	}
	to := ""
	for _, n := range names {
		if n == lockName || n == probeName {
			continue
		}
		if to == "" {
			if earlier >= maxAside {
				return "", &protocol.Error{Op: opOpen, Object: q.dir, Kind: protocol.KindDamaged, Err: damage,
					Hint: fmt.Sprintf("it is not the first time: %d damaged ones lie beside it (%s%s*); the disk or the memory of this machine is broken. "+
						"Mend that or move state_dir, and remove those folders: a new queue is built then", earlier, q.dir, asideMark)}
			}
			to = q.dir + asideMark + q.opt.Now().UTC().Format("20060102T150405.000Z")
			if err := f.MkdirAll(to, 0o700); err != nil {
				return "", probeError(q.dir, err)
			}
		}
		if err := f.Rename(f.PathJoin(q.dir, n), f.PathJoin(to, n)); err != nil {
			return "", probeError(q.dir, err)
		}
	}
	for _, dir := range []string{to, q.dir, f.PathDir(q.dir)} {
		if dir == "" {
			continue
		}
		if err := syncDir(f, dir); err != nil {
			return "", probeError(q.dir, err)
		}
	}
	return to, nil
}

// earlierAside counts the damaged stores beside the queue.
func (q *Queue) earlierAside() (n int, err error) {
	names, err := q.opt.fs.List(q.opt.fs.PathDir(q.dir))
	for _, name := range names {
		if strings.HasPrefix(name, q.opt.fs.PathBase(q.dir)+asideMark) {
			n++
		}
	}
	return n, err
}

// Aside returns the folders of damaged stores that were moved aside from a queue in dir and still lie there.
func Aside(dir string) []string {
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		return nil
	}
	var found []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(dir)+asideMark) {
			found = append(found, filepath.Join(filepath.Dir(dir), e.Name()))
		}
	}
	return found
}

// vanished reports that a store which was open in this process is not there any more.
func (q *Queue) vanished() bool {
	found, err := findStore(q.opt.fs, q.dir)
	return err == nil && !found && q.next > 0
}

// doubt looks through a store that showed damage while it was open. If all of it can be read it may have been a fault
// that passed; that is believed once.
func (q *Queue) doubt(was *protocol.Error) error {
	st := q.newStore()
	defer close(st.done)
	began := time.Now()
	_, err := q.inspect(st, st.guard.PathJoin(q.dir, storeName), true)
	switch {
	case err != nil:
		return storeError(opOpen, q.dir, err)
	case q.doubted:
		return was
	}
	q.doubted = true
	q.log.Warn("the queue's store showed damage once and can be read whole at the second look; it is kept", "err", was,
		"took", time.Since(began).Round(time.Millisecond).String())
	return q.open()
}
