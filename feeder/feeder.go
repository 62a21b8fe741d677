package feeder

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"s3apu/internal/mounts"
	"s3apu/protocol"
)

// Folder is a watched root and where it goes.
type Folder struct {
	Root   string // absolute; a link to a folder is followed here, and only here
	Bucket string
	Prefix string // of the keys; without a slash at the end; empty: the root of the bucket

	// Match says whether a path below Root belongs to the folder. rel is separated by slashes. A folder that does not
	// match is not entered. What does not match is neither uploaded nor deleted. It is called by several goroutines at the
	// same time. Nil: everything matches.
	Match func(rel string, folder bool) bool

	// Depth is how many levels are taken: 0 all, 1 the root's own entries, n entries of up to n names. A sub-folder at
	// the last level gets its folder object and is not entered.
	Depth int

	// Delete allows deletes at all. With it, deletes are still put as held while the root is empty, above max(1,000,
	// 5 % of the folder's rows in the ledger) within 5 minutes, and for rows of another device directly in the root.
	Delete bool

	// Away says that Root may be away when the Feeder is made: it is the one that [Feeder.Recall] tells of, if it comes back.
	Away bool

	// Doubt says that Root may be another folder than the one that the ledger's rows came from: every delete is put as
	// held until a scan of everything has ended.
	Doubt bool

	// Marker is the path below Root, with slashes, of something that must be there, or nothing is deleted; empty: nothing
	// must. It tells an empty mount point from an empty folder.
	Marker string

	// Links says what a symbolic link below Root means: "skip" (or empty): nothing; "follow": what it leads to, inside Root;
	// "store": itself, an object whose body is the target.
	Links string

	// Rescan asks for a deep scan of a folder, behind a link that was followed; needed for Links "follow". It is called in
	// Change and Scan, and must not block.
	Rescan func(rel string)

	// Seams is what was mounted below Root when a scan of everything last agreed with it ([Feeder.Seams]); nil: not
	// known. Below a place where something else is mounted now nothing is deleted.
	Seams []Seam

	FolderObjects string // "slash" (or empty): "dir/"; "plain": "dir"; "none": no folder objects

	// Settle is how long a file must not have changed to count as at rest. It is used only where no [Rest] is given.
	Settle time.Duration

	// Unasked reports whether a deep scan need not ask if a file in this state is at rest: whoever carries its wish out will, and
	// has it marked if it is not. It asks all the same before a file takes the place of another name, and before a row is
	// forgotten. Other scans ask: what is marked many times in a folder becomes one, and would go through the queue each time.
	// It is called by several goroutines at the same time. Nil: it asks of each.
	Unasked func(st protocol.Stat) bool

	// PartSize says in which parts a file of that many bytes would be uploaded, 0: in one piece. With it the ETags of
	// multipart uploads that are in the bucket already can be recognised. Nil: they are not.
	PartSize func(size int64) int64
}

// Wish is an instruction for the queue. Every wish of this package is a hint in the sense of [protocol.Delivery].
// Mkd carries the absolute path of the folder as its Source.
type Wish struct {
	protocol.Instruction
	Class protocol.Class
	Held  bool // a delete that waits for a person

	// Renamed is for the delete of the name that a file or folder had before. The wish before it is for the new name,
	// and it is to be carried out behind that: it takes the place of a delete that waits already, and frees one that is
	// held.
	Renamed bool

	// Delay is how long to wait before it is carried out; a wish for the same key that comes meanwhile takes its place.
	Delay time.Duration
}

// Record is what the queue holds under a key: a wish that waits, is in somebody's hand, is held or was given up.
type Record struct {
	protocol.Instruction
	Hint   bool // it came from watching or scanning, not from a person or a client
	Leased bool // it is in somebody's hand now, who may have looked at the file already
	Held   bool // a delete that waits for a person
	Dead   bool // it was given up and is listed with its reason
}

// Queue is the durable queue and its ledger as the feeder sees them. All methods may be called at the same time.
type Queue interface {
	// Room waits while there is too much backfill.
	Room(ctx context.Context) error
	// Put takes the wishes in their order; nil means that it has all of them. A wish replaces an older one for its key and revives one that was given up.
	Put(ctx context.Context, wishes ...Wish) error
	// Fail lists a wish that cannot be carried out, with its reason. The key may be one that Put would refuse.
	Fail(ctx context.Context, w Wish, reason *protocol.Error) error
	// Pending returns what is held under a key, whatever its state.
	Pending(id protocol.ObjectID) (Record, bool, error)
	// Records yields what is held under the keys that begin with prefix and sort behind after, in key order, in
	// whatever state. after need not be a key: it is a bound, compared byte by byte.
	Records(ctx context.Context, bucket string, prefix, after protocol.Key) iter.Seq2[Record, error]
	// Drop forgets what was given up under the named keys, valid ones or not, and says how many there were. What has
	// come alive again meanwhile stays.
	Drop(ctx context.Context, ids []protocol.ObjectID) (int, error)

	// Entry returns the ledger's row for a key, nil if there is none.
	Entry(id protocol.ObjectID) (*protocol.Entry, error)
	// MadeFrom returns the row that was made from the file or folder with this device and inode number, nil if there is
	// none. Such numbers are used again: the row may be of another file.
	MadeFrom(bucket string, dev, ino uint64) (*protocol.Entry, error)
	// Ledger yields the rows whose keys begin with prefix and sort behind after, in key order, as of one moment. A row
	// is read before the next one is asked for, and not kept.
	Ledger(ctx context.Context, bucket string, prefix, after protocol.Key) iter.Seq2[*protocol.Entry, error]
	// Adopt writes rows for what the bucket was found to hold.
	Adopt(ctx context.Context, entries ...*protocol.Entry) error
	// Forget removes rows.
	Forget(ctx context.Context, ids ...protocol.ObjectID) error
}

// Lister lists a bucket in key order. With a delimiter, everything below a common prefix is one [protocol.Object] with
// Folder set, at the place of the prefix. After an error the sequence ends.
type Lister interface {
	List(ctx context.Context, prefix protocol.Key, delimiter string, after protocol.Key) iter.Seq2[protocol.Object, error]
}

// Rest reports whether the file at path, in state st, is at rest: nobody writes it now. It should say false only where
// that is known or likely, for such a file is not uploaded but marked, again and again.
type Rest func(path string, st protocol.Stat) bool

// Feeder compares one folder with the ledger and the bucket. Make it with [New].
type Feeder struct {
	folder Folder
	layout layout
	prefix string // of keys: empty, or with a slash at the end
	queue  Queue
	list   Lister
	rest   Rest
	mark   func(rel string)
	log    *slog.Logger
	guard  *guard
	seams  *seams
	links  *links

	remembers int // deferMax; fewer in tests

	// order is held from the last look at the paths of a batch until their wishes are put: of two tasks that judge the
	// same path at the same time, the one that looked last puts last.
	order sync.Mutex

	mu    sync.Mutex
	total Report
}

// New checks the folder and remembers which folder its root is, so that another one in its place is noticed. list may
// be nil: then no scan consults a listing. rest may be nil: then a file is at rest when its times are older than
// Settle. mark is called with the path of a file that is to be settled and reported again; nil: nobody is told. log may
// be nil. Errors are of Kind KindUsage (a bad Folder) and KindLocal (the root is missing or cannot be read).
func New(folder Folder, queue Queue, list Lister, rest Rest, mark func(rel string), log *slog.Logger) (*Feeder, error) {
	const op = "prepare the folder"
	usage := func(text string) error {
		return &protocol.Error{Op: op, Object: folder.Root, Kind: protocol.KindUsage, Err: errors.New(text)}
	}
	if !filepath.IsAbs(folder.Root) {
		return nil, usage("the path of the folder is not absolute")
	}
	if folder.Depth < 0 {
		return nil, usage("the recursion is negative")
	}
	lay, ok := layoutOf(folder.FolderObjects)
	if !ok {
		return nil, usage(`folder_objects is none of "slash", "plain", "none"`)
	}
	prefix, err := keyPrefix(folder.Prefix)
	if err != nil {
		return nil, usage("the prefix " + folder.Prefix + " cannot be used: " + err.Error())
	}
	folder.Root = filepath.Clean(folder.Root)
	if folder.Match == nil {
		folder.Match = func(string, bool) bool { return true }
	}
	if mark == nil {
		mark = func(string) {}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Feeder{folder: folder, layout: lay, prefix: prefix, queue: queue, list: list, rest: rest, mark: mark,
		log: log.With("folder", folder.Root), guard: newGuard(folder.Root, folder.Match), remembers: deferMax}
	if f.rest == nil {
		f.rest = settledFor(folder.Settle)
	}
	f.guard.marker = folder.Marker
	if err := f.guard.remember(); err != nil && !folder.Away {
		return nil, err
	}
	if f.links, err = newLinks(&folder, f.log); err != nil {
		return nil, usage(err.Error())
	}
	f.guard.linked = f.links.rule == linksFollow || f.links.rule == linksStore
	f.guard.doubt(folder.Doubt)
	f.seams = newSeams(folder.Root, folder.Seams, folder.Seams != nil, f.log)
	return f, nil
}

// Recall says anew what [Folder.Doubt] and [Folder.Seams] said, for a caller who could not tell when the Feeder was made, and
// which folder the root was ([Feeder.Home]; empty: unknown). Call it before the first Scan or Change.
func (f *Feeder) Recall(doubt bool, home mounts.Identity, was []Seam) {
	f.guard.doubt(doubt)
	f.guard.homeIs(home)
	f.seams.recall(was)
}

// Home returns which folder the root was when what was uploaded was last found in it, to be remembered across restarts:
// another one in its place is doubted, and this one known again at once. Empty: not known.
func (f *Feeder) Home() mounts.Identity { return f.guard.homeWas() }

// RootIdentity tells which folder a root is, a link followed; empty if that cannot be told.
func RootIdentity(root string) mounts.Identity {
	id, _, err := mounts.Identify(root, true)
	if err != nil {
		return ""
	}
	return id
}

// Seams returns what is to be remembered for [Folder.Seams]: nil before a scan of everything has ended.
func (f *Feeder) Seams() []Seam {
	was, known := f.seams.memory()
	if known && was == nil {
		was = []Seam{}
	}
	return was
}

// LastHold tells of the last deletes that were put as held; its time is zero if there were none since [New].
func (f *Feeder) LastHold() Hold { return f.guard.lastHold() }

// Fit reports why nothing may be deleted now, or nil: the root is there, can be read, is the folder that it was, and has
// its marker.
func (f *Feeder) Fit() error { return f.guard.check() }

// MayGo reports why what was uploaded from source must not be deleted now, or nil: the root is not fit, or something else
// is mounted above it than was. It is for who carries out a delete, maybe hours after it was decided. A source that does
// not lie below the root is not judged: nil.
func (f *Feeder) MayGo(source string) error {
	rel, ok := strings.CutPrefix(source, strings.TrimSuffix(joinPath(f.folder.Root, "x"), "x"))
	if !ok {
		return nil
	}
	if err := f.guard.check(); err != nil {
		return err
	}
	if err := f.seams.refresh(); err != nil {
		return f.guard.lost(err, lostHint)
	}
	if f.mountsSay(filepath.ToSlash(rel)) == frozen {
		return f.guard.lost(errors.New(whyMounted), "it is deleted when what was mounted is back, and the file is still gone")
	}
	return nil
}

// Frozen returns the folders below which nothing is deleted, because something else is mounted there than before, as the
// last call of Change or Scan has found them.
func (f *Feeder) Frozen() []Frozen { return f.seams.list() }

// Total returns the sums over all calls since [New].
func (f *Feeder) Total() Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

// settledFor is the [Rest] that looks at the clock only. Times in the future count as now: a clock that was set back
// must not keep a file from ever being at rest.
func settledFor(settle time.Duration) Rest {
	return func(_ string, st protocol.Stat) bool {
		if settle <= 0 {
			return true
		}
		now := time.Now().UnixNano()
		for _, t := range []int64{st.MTime, st.CTime} {
			if age := now - t; age >= 0 && age < settle.Nanoseconds() {
				return false
			}
		}
		return true
	}
}

// keyPrefix returns a prefix of keys with a slash at its end, or the empty one.
func keyPrefix(prefix string) (string, error) {
	prefix = strings.TrimRight(prefix, "/")
	if prefix == "" {
		return "", nil
	}
	if err := protocol.Key(prefix).Check(); err != nil {
		return "", err
	}
	return prefix + "/", nil
}

// path returns the absolute path of rel, as it stands in a row's Source.
func (f *Feeder) path(rel string) string { return joinPath(f.folder.Root, rel) }

func joinPath(root, rel string) string {
	if rel == "" {
		return root
	}
	if os.PathSeparator != '/' {
		rel = filepath.FromSlash(rel)
	}
	if strings.HasSuffix(root, string(os.PathSeparator)) { // the root of a file system
		return root + rel
	}
	return root + string(os.PathSeparator) + rel
}
