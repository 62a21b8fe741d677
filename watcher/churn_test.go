package watcher

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var (
	churnSeeds = flag.Int("churn.seeds", 6, "random trees that are churned")
	churnSeed  = flag.Uint64("churn.seed", 1, "the first of them")
	churnOps   = flag.Int("churn.ops", 300, "operations on each")
)

// churner changes a tree at random. Operations that do not fit the tree fail, and that is fine.
type churner struct {
	t       *testing.T
	r       *rand.Rand
	root    string
	outside string
	n       int
}

// path is a random one; folder names repeat, so that they meet.
func (c *churner) path() string {
	names := []string{"a", "b", "c", "d e", "ö", "f.txt", "g.txt"}
	p := c.root
	for range 1 + c.r.IntN(4) {
		p = filepath.Join(p, names[c.r.IntN(len(names))])
	}
	return p
}

func (c *churner) step() {
	c.n++
	p, q := c.path(), c.path()
	content := []byte(fmt.Sprint(c.n, string(make([]byte, c.r.IntN(2000)))))
	switch c.r.IntN(16) {
	case 0, 1, 2:
		_ = os.WriteFile(p, content, 0o600)
	case 3, 4:
		_ = os.MkdirAll(filepath.Dir(p), 0o700)
		_ = os.WriteFile(p, content, 0o600)
	case 5:
		_ = os.MkdirAll(p, 0o700)
	case 6:
		if f, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0); err == nil {
			_, _ = f.Write(content)
			_ = f.Close()
		}
	case 7:
		_ = os.Truncate(p, int64(c.r.IntN(100)))
	case 8:
		_ = os.Remove(p)
	case 9:
		_ = os.RemoveAll(p)
	case 10, 11:
		_ = os.Rename(p, q)
	case 12: // out and perhaps back
		o := filepath.Join(c.outside, fmt.Sprint(c.n))
		if os.Rename(p, o) == nil && c.r.IntN(2) == 0 {
			_ = os.WriteFile(filepath.Join(o, "outside"), content, 0o600)
			_ = os.Rename(o, q)
		}
	case 13: // atomic save
		if os.WriteFile(q+".tmp", content, 0o600) == nil {
			_ = os.Rename(q+".tmp", q)
		}
	case 14: // swap by a third name
		o := filepath.Join(c.root, "third")
		if os.Rename(p, o) == nil {
			_ = os.Rename(q, p)
			if os.Rename(o, q) != nil {
				_ = os.RemoveAll(o)
			}
		}
	case 15:
		_ = os.Chtimes(p, time.Unix(int64(c.n), 0), time.Unix(int64(c.n), 0))
		_ = os.Chmod(p, 0o700)
	}
}

// The tree is changed at random while the mirror listens; in the end they are equal, and so are the watches.
func TestChurn(t *testing.T) {
	configs := []func(*Config){
		func(*Config) {},
		func(c *Config) { c.MaxNames, c.MaxFolders = 2, 3 },
		func(c *Config) { c.Queue = 2 },
		func(c *Config) { c.Watchers = 1 },
		func(c *Config) {
			c.rest = func(string) (Rest, bool) { return Unknown, true }
			c.Settle = 5 * time.Millisecond
		},
		func(c *Config) { c.Grace = time.Hour; c.Check = time.Hour }, // nothing is found by looking again
	}
	for i := range *churnSeeds {
		seed := *churnSeed + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			c := &churner{t: t, r: rand.New(rand.NewPCG(seed, 0)), root: t.TempDir(), outside: t.TempDir()}
			for range 100 {
				c.step()
			}
			cfg := quick(c.root)
			configs[seed%uint64(len(configs))](&cfg)
			m := mirrored(t, cfg)
			for n := range *churnOps {
				c.step()
				if n%100 == 99 {
					m.equal(t)
				}
			}
			m.equal(t)
			trueWatches(t, m)
		})
	}
}
