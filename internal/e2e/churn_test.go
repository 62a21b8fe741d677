//go:build linux

package e2e

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// churn does to a folder what people and programs do, at random but the same for the same seed. The tree is read back
// before each operation, so that nothing is remembered wrongly. Some operations find nothing to do; they are logged too.
type churn struct {
	r       *rand.Rand
	root    string // the watched folder
	outside string // a folder on the same file system that is not watched
	log     []string
	rare    bool // also files large enough for parts
	links   bool // also symbolic links
	follow  bool // which are followed
	n       int  // of names that were made up
	renamed int  // files that got another name, those in folders that did among them
}

func newChurn(seed uint64, root, outside string) *churn {
	return &churn{r: rand.New(rand.NewPCG(seed, 0x5eed)), root: root, outside: outside}
}

// Bounds of the tree, guesses: small enough that names meet again and again, which is where programs go wrong.
const (
	mostEntries = 250 // beyond it deletes become likelier
	mostDepth   = 5
)

// operation is one thing that can happen. weight is how often, relative to the others.
type operation struct {
	name   string
	weight int
	do     func(*churn) (what string, err error)
}

var operations = []operation{
	{"create", 16, (*churn).create},
	{"overwrite", 8, (*churn).overwrite},
	{"append", 8, (*churn).grow},
	{"truncate", 4, (*churn).truncate},
	{"delete", 7, (*churn).remove},
	{"mkdir -p", 5, (*churn).mkdirs},
	{"rmtree", 3, (*churn).removeAll},
	{"rename a file", 8, (*churn).renameFile},
	{"rename a folder", 6, (*churn).renameFolder},
	{"swap two", 2, (*churn).exchange},
	{"move out", 2, (*churn).moveOut},
	{"move in", 3, (*churn).moveIn},
	{"file to folder", 2, (*churn).fileToFolder},
	{"folder to file", 2, (*churn).folderToFile},
	{"save atomically", 7, (*churn).save},
	{"hard link", 2, (*churn).link},
	{"copy with times", 2, (*churn).copyWithTimes},
	{"chmod", 3, (*churn).chmod},
	{"touch", 3, (*churn).touch},
	{"mtime back", 2, (*churn).mtimeBack},
	{"same size, same times", 2, (*churn).sameTimes},
	{"a folder that lives for a moment", 1, (*churn).momentary},
}

// moving are the operations that leave the content of files alone.
var moving = []string{"rename a file", "rename a folder", "swap two", "move out", "move in", "hard link"}

// step does one operation, of those named if any are.
func (c *churn) step(only ...string) error {
	total := 0
	among := operations
	if c.links {
		among = append(slices.Clone(operations), operation{"symbolic link", 10, (*churn).symlink})
	}
	if len(only) > 0 {
		among = slices.DeleteFunc(slices.Clone(operations), func(o operation) bool { return !slices.Contains(only, o.name) })
	}
	for _, o := range among {
		total += o.weight
	}
	k := c.r.IntN(total)
	o := among[0]
	for _, o = range among {
		if k -= o.weight; k < 0 {
			break
		}
	}
	if len(only) == 0 && c.r.IntN(40) == 0 && c.count() > mostEntries {
		o = operation{name: "rmtree", do: (*churn).removeAll}
	}
	what, err := o.do(c)
	c.log = append(c.log, fmt.Sprintf("%4d %s %s", len(c.log), o.name, what))
	if err != nil {
		return fmt.Errorf("operation %s: %w", c.log[len(c.log)-1], err)
	}
	return nil
}

func (c *churn) at(rel string) string { return filepath.Join(c.root, rel) }

// count is how many entries there are.
func (c *churn) count() (n int) {
	_ = filepath.WalkDir(c.root, func(string, fs.DirEntry, error) error { n++; return nil }) // what is there is what is counted
	return n
}

// name makes up a name, often one that was there before, sometimes an odd one.
func (c *churn) name() string {
	switch k := c.r.IntN(20); {
	case k < 12:
		return fmt.Sprintf("%c%d", 'a'+c.r.IntN(5), c.r.IntN(4))
	case k < 15:
		return oddNames[c.r.IntN(len(oddNames))]
	case k < 16:
		n := 10 + c.r.IntN(25)
		if c.follow { // a path through a link may be twice as deep, and its key is no longer for it
			n /= 3
		}
		return strings.Repeat("long-", n) + fmt.Sprint(c.r.IntN(3))
	default:
		c.n++
		return fmt.Sprintf("n%d", c.n)
	}
}

// folder picks a folder at random; "" is the root.
func (c *churn) folder() string {
	at := ""
	for depth := 0; depth < mostDepth-1 && c.r.IntN(3) > 0; depth++ {
		below := c.entries(at, true)
		if len(below) == 0 {
			break
		}
		at = path.Join(at, below[c.r.IntN(len(below))])
	}
	return at
}

func (c *churn) entries(rel string, folders bool) (names []string) {
	all, _ := os.ReadDir(c.at(rel)) // sorted; one that cannot be read has none
	for _, e := range all {
		if e.IsDir() == folders && e.Name() != keeper {
			names = append(names, e.Name())
		}
	}
	return names
}

// keeper is a file that stays in the root: a root that is suddenly empty holds deletes, which is another test's matter.
const keeper = "keeper"

// file picks a file at random; "" if none was found.
func (c *churn) file() string {
	for range 10 {
		at := c.folder()
		if names := c.entries(at, false); len(names) > 0 {
			return path.Join(at, names[c.r.IntN(len(names))])
		}
	}
	return ""
}

// subfolder picks a folder that is not the root; "" if none was found.
func (c *churn) subfolder() string {
	for range 10 {
		if at := c.folder(); at != "" {
			return at
		}
	}
	return ""
}

// free makes up a path at which nothing is; "" if none was found.
func (c *churn) free() string {
	for range 10 {
		rel := path.Join(c.folder(), c.name())
		if _, err := os.Lstat(c.at(rel)); err != nil {
			return rel
		}
	}
	return ""
}

func (c *churn) bytes() []byte {
	n := c.r.IntN(4000)
	switch k := c.r.IntN(100); {
	case k < 10:
		n = 0
	case k < 15:
		n = 1<<20 + c.r.IntN(1<<20) // read twice, not kept in memory
	case k == 99 && c.rare && c.r.IntN(4) == 0:
		n = 16<<20 + c.r.IntN(4<<20) // in parts
	}
	b := make([]byte, n)
	for i := 0; i < n; i += 8 {
		v := c.r.Uint64()
		for j := i; j < min(i+8, n); j++ {
			b[j] = byte(v >> (8 * (j - i)))
		}
	}
	return b
}

// solitary reports whether rel is a file to which no other name leads. Through another name it would change without an event under
// this one (inotify(7)): what follows from that is tested by itself.
func (c *churn) solitary(rel string) bool {
	var st syscall.Stat_t
	return syscall.Lstat(c.at(rel), &st) == nil && st.Nlink == 1 && st.Mode&syscall.S_IFMT == syscall.S_IFREG
}

// changeable picks a file whose content or attributes may be changed in place.
func (c *churn) changeable() string {
	if rel := c.file(); rel != "" && c.solitary(rel) {
		return rel
	}
	return ""
}

// pause lets some time pass now and then, so that operations meet every stage of what the agent makes of those before.
func (c *churn) pause() {
	switch k := c.r.IntN(100); {
	case k < 15:
		<-time.After(time.Duration(c.r.IntN(3000)) * time.Microsecond)
	case k < 18:
		<-time.After(time.Duration(c.r.IntN(60)) * time.Millisecond)
	}
}
