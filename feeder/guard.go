package feeder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"s3apu/internal/mounts"
	"s3apu/protocol"
)

const (
	holdLeast  = 1000            // deletes that never count as a mass delete by their number alone (product rule)
	holdShare  = 20              // a mass delete is more than one in so many rows of the folder: 5 % (product rule)
	holdWithin = 5 * time.Minute // the time over which deletes are counted (product rule)

	// holdEmptied is how many deletes may go unheld although the root is empty: the last file of an inbox that is
	// taken out of it is no accident, two at once may be one. A guess.
	holdEmptied = 1

	// devicesMax bounds what is remembered about devices. More than a few mean something that nobody has thought of; then
	// deletes are frozen rather than allowed. A guess.
	devicesMax = 64
)

// guard stands before every delete. It knows which folder the root was, how much was deleted lately, and which
// devices belong together.
type guard struct {
	root  string
	match func(rel string, folder bool) bool
	// marker is the path below the root of what must be there; empty: nothing must
	marker string
	linked bool // symbolic links are not nothing

	mu       sync.Mutex
	doubtful bool // see doubt
	was      rootState
	home     mounts.Identity // of the folder in which what the ledger has was last found; empty: unknown
	rows     int64           // of the folder in the ledger, as the last scan of everything counted them
	past     []burst
	held     Hold // the last one
	devices  map[devices]struct{}
}

// Hold says when deletes were last put as held, and why.
type Hold struct {
	N   int64 // which one it is, counted from 1 since the start: times may step back
	At  time.Time
	Why string
}

// holding notes that deletes were put as held.
func (g *guard) holding(why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = Hold{N: g.held.N + 1, At: time.Now(), Why: why}
}

func (g *guard) lastHold() Hold {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held
}

// burst is a number of deletes put at one time.
type burst struct {
	at time.Time
	n  int64
}

// rootState tells which folder the root is: device, inode and birth.
type rootState struct {
	fi fs.FileInfo
	id mounts.Identity
}

func (r rootState) same(o rootState) bool {
	return os.SameFile(r.fi, o.fi) && (r.id == "" || o.id == "" || mounts.Same(r.id, o.id))
}

// devices pairs the device in a row with that of the folder in which the row's file was found unchanged.
type devices struct{ row, folder uint64 }

func newGuard(root string, match func(string, bool) bool) *guard {
	return &guard{root: root, match: match, devices: map[devices]struct{}{}}
}

const whyReplaced = "another folder was put in the place of the root"

const lostHint = "nothing is deleted until it is there and can be read"

func (g *guard) lost(err error, hint string) *protocol.Error {
	return &protocol.Error{Op: "look at the folder", Object: g.root, Kind: protocol.KindLocal, Hint: hint, Err: err}
}

// now returns which folder the root is, or why it is not fit to be compared with anything.
func (g *guard) now() (rootState, error) {
	fi, err := os.Stat(g.root)
	if err != nil {
		return rootState{}, g.lost(errors.Unwrap(err), lostHint)
	}
	if !fi.IsDir() {
		return rootState{}, g.lost(errors.New("it is not a folder"), lostHint)
	}
	if err := readable(g.root, ""); err != nil {
		return rootState{}, g.lost(err, lostHint)
	}
	if _, err := os.Lstat(joinPath(g.root, ".")); err != nil { // its names may be readable, and nothing else
		return rootState{}, g.lost(errors.Unwrap(err), lostHint)
	}
	return rootState{fi, RootIdentity(g.root)}, nil
}

// readable reports why the folder rel below root cannot be listed, or nil.
func readable(root, rel string) error {
	d, _, err := openDir(root, rel)
	if err != nil {
		return err
	}
	d.Close()
	return nil
}

// remember takes the root for what it is now.
func (g *guard) remember() error {
	fi, err := g.now()
	if err != nil {
		return err
	}
	g.take(fi)
	return nil
}

func (g *guard) take(now rootState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.was = now
}

// doubt says whether the root may be another folder than the one that the ledger's rows came from. Until a scan of
// everything has ended in it, every delete waits for a person.
func (g *guard) doubt(yes bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.doubtful = yes
}

// check reports why nothing may be deleted now, or nil: the root is there, can be read, and is the folder that it was.
func (g *guard) check() error {
	fi, err := g.now()
	if err != nil {
		return err
	}
	if !g.same(fi) && !g.isHome(fi) {
		return g.lost(errors.New("another folder lies in its place"),
			"nothing is deleted; this passes when the old one is back, or once files that were uploaded before are seen in the new one")
	}
	return g.marked()
}

// marked reports why the marker cannot be seen, or nil.
func (g *guard) marked() error {
	if g.marker == "" {
		return nil
	}
	if _, err := lstat(joinPath(g.root, g.marker)); err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return g.lost(fmt.Errorf("the marker %q: %w", g.marker, err),
			"nothing is deleted until the marker is there: mount what is missing, or make the file anew if this is the right folder")
	}
	return nil
}

// isHome reports whether a root that is another folder than a moment ago is the one that the ledger's rows came from. It
// is taken for what it is then.
func (g *guard) isHome(now rootState) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.home.Sure() || !now.id.Sure() || !mounts.Same(g.home, now.id) {
		return false
	}
	g.was, g.doubtful = now, false
	return true
}

// settle takes the root for the folder that the ledger's rows came from.
func (g *guard) settle() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.home = g.was.id
}

func (g *guard) homeIs(home mounts.Identity) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.home = home
}

func (g *guard) homeWas() mounts.Identity {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.home
}

func (g *guard) same(now rootState) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.was.same(now)
}

// empty reports whether nothing that belongs to the folder lies in the root. The marker, and what can be no object, such as
// links and FIFOs, does not fill it.
func (g *guard) empty() (bool, error) {
	d, _, err := openDir(g.root, "")
	if err != nil {
		return false, err
	}
	defer d.Close()
	any, err := d.any(func(e entry) bool {
		top, _, _ := strings.Cut(g.marker, "/")
		return e.kind != specialEntry && (e.kind != linkEntry || g.linked) && e.name != top && g.match(e.name, e.kind == folderEntry)
	})
	return !any, err
}

// hold reports whether n deletes, on top of those of the last minutes, must wait for a person, and why.
func (g *guard) hold(n int64) (bool, string) {
	if n == 0 {
		return false, ""
	}
	g.mu.Lock()
	if g.doubtful {
		g.mu.Unlock()
		return true, whyReplaced
	}
	lately := g.lately() + n
	limit := max(holdLeast, g.rows/holdShare)
	g.mu.Unlock()
	if lately > limit {
		return true, fmt.Sprintf("%d deletes within %s, more than %d", lately, holdWithin, limit)
	}
	if lately > holdEmptied {
		if empty, err := g.empty(); err != nil || empty {
			return true, "the folder is empty"
		}
	}
	return false, ""
}

// least is the number of deletes from which on hold says yes in any case.
func (g *guard) least() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(holdLeast, g.rows/holdShare) + 1
}

// lately counts the deletes within the window. The lock is held.
func (g *guard) lately() int64 {
	old := 0
	for old < len(g.past) && time.Since(g.past[old].at) > holdWithin {
		old++
	}
	g.past = g.past[old:]
	var n int64
	for _, b := range g.past {
		n += b.n
	}
	return n
}

// note counts deletes that were put, held ones too. Those within a second are one burst, so that memory is bounded.
func (g *guard) note(n int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if last := len(g.past) - 1; last >= 0 && time.Since(g.past[last].at) < time.Second {
		g.past[last].n += n
		return
	}
	g.past = append(g.past, burst{at: time.Now(), n: n})
}

// counted takes the number of the folder's rows from a scan of everything.
func (g *guard) counted(rows int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rows = rows
}

// learn remembers that a file which the ledger has on device row was found unchanged in a folder on device folder:
// devices get new numbers at a reboot, and some file systems give files another one than folders.
func (g *guard) learn(row, folder uint64) {
	if row == folder {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.devices) < devicesMax {
		g.devices[devices{row, folder}] = struct{}{}
	}
}

// together reports whether a file of device row can have been in a folder of device folder, so that its absence
// means that it is gone. If not, something is mounted there that was not, or the other way round.
func (g *guard) together(row, folder uint64) bool {
	if row == folder || row == 0 || folder == 0 {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.devices[devices{row, folder}]
	return ok
}
