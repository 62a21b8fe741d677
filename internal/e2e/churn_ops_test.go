//go:build linux

package e2e

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

func (c *churn) create() (string, error) {
	rel := c.free()
	if rel == "" {
		return "nothing", nil
	}
	b := c.bytes()
	return fmt.Sprintf("%q %d", rel, len(b)), os.WriteFile(c.at(rel), b, 0o644)
}

func (c *churn) overwrite() (string, error) {
	rel, b := c.changeable(), c.bytes()
	if rel == "" {
		return "nothing", nil
	}
	return fmt.Sprintf("%q %d", rel, len(b)), os.WriteFile(c.at(rel), b, 0o644)
}

func (c *churn) grow() (string, error) {
	rel, b := c.changeable(), c.bytes()
	if rel == "" {
		return "nothing", nil
	}
	f, err := os.OpenFile(c.at(rel), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return rel, err
	}
	for len(b) > 0 && err == nil {
		n := min(len(b), 1+c.r.IntN(len(b)))
		_, err = f.Write(b[:n])
		b = b[n:]
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return fmt.Sprintf("%q", rel), err
}

func (c *churn) truncate() (string, error) {
	rel := c.changeable()
	if rel == "" {
		return "nothing", nil
	}
	n := int64(c.r.IntN(3000))
	return fmt.Sprintf("%q %d", rel, n), os.Truncate(c.at(rel), n)
}

func (c *churn) remove() (string, error) {
	rel := c.file()
	if rel == "" {
		return "nothing", nil
	}
	return fmt.Sprintf("%q", rel), os.Remove(c.at(rel))
}

func (c *churn) mkdirs() (string, error) {
	rel := c.folder()
	for range 1 + c.r.IntN(3) {
		rel = path.Join(rel, c.name())
	}
	if strings.Count(rel, "/") > mostDepth {
		return "nothing", nil
	}
	if err := os.MkdirAll(c.at(rel), 0o755); err != nil {
		return fmt.Sprintf("%q: %v", rel, err), nil // a file is in the way
	}
	if c.r.IntN(2) == 0 {
		file := path.Join(rel, c.name())
		if _, err := os.Lstat(c.at(file)); err != nil {
			return fmt.Sprintf("%q with %q", rel, file), os.WriteFile(c.at(file), c.bytes(), 0o644)
		}
	}
	return fmt.Sprintf("%q", rel), nil
}

func (c *churn) removeAll() (string, error) {
	rel := c.subfolder()
	if rel == "" {
		return "nothing", nil
	}
	return fmt.Sprintf("%q", rel), os.RemoveAll(c.at(rel))
}

// target is where something is moved to: something new, or something of the same kind that is replaced.
func (c *churn) target(replace func() string) string {
	if c.r.IntN(3) == 0 {
		return replace()
	}
	return c.free()
}

func (c *churn) renameFile() (string, error) {
	from, to := c.file(), c.target(c.file)
	if from == "" || to == "" || from == to {
		return "nothing", nil
	}
	c.renamed++
	return fmt.Sprintf("%q to %q", from, to), os.Rename(c.at(from), c.at(to))
}

func (c *churn) renameFolder() (string, error) {
	from, to := c.subfolder(), c.free()
	if from == "" || to == "" || strings.HasPrefix(to+"/", from+"/") || strings.Count(to, "/")+c.height(from) > mostDepth+1 {
		return "nothing", nil
	}
	c.renamed += c.files(from)
	return fmt.Sprintf("%q to %q", from, to), os.Rename(c.at(from), c.at(to))
}

// files is how many files there are at and below rel.
func (c *churn) files(rel string) (n int) {
	_ = filepath.WalkDir(c.at(rel), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return nil
	})
	return n
}

// height is how deep the tree below rel is, so that keys do not grow beyond what S3 takes.
func (c *churn) height(rel string) (most int) {
	_ = filepath.WalkDir(c.at(rel), func(p string, _ fs.DirEntry, _ error) error {
		most = max(most, strings.Count(strings.TrimPrefix(p, c.at(rel)), "/"))
		return nil
	})
	return most
}

// exchange lets two entries change places, by way of a third name.
func (c *churn) exchange() (string, error) {
	pick := c.file
	if c.r.IntN(2) == 0 {
		pick = c.subfolder
	}
	a, b := pick(), pick()
	if a == "" || b == "" || a == b || strings.HasPrefix(a+"/", b+"/") || strings.HasPrefix(b+"/", a+"/") ||
		strings.Count(a, "/")+c.height(b) > mostDepth+1 || strings.Count(b, "/")+c.height(a) > mostDepth+1 {
		return "nothing", nil
	}
	c.renamed += c.files(a) + c.files(b)
	third := c.at(".third")
	for _, move := range [][2]string{{c.at(a), third}, {c.at(b), c.at(a)}, {third, c.at(b)}} {
		if err := os.Rename(move[0], move[1]); err != nil {
			return fmt.Sprintf("%q and %q", a, b), err
		}
	}
	return fmt.Sprintf("%q and %q", a, b), nil
}

func (c *churn) moveOut() (string, error) {
	from := c.file()
	if c.r.IntN(2) == 0 {
		from = c.subfolder()
	}
	if from == "" {
		return "nothing", nil
	}
	c.n++
	to := fmt.Sprintf("out%d", c.n)
	return fmt.Sprintf("%q to outside %q", from, to), os.Rename(c.at(from), filepath.Join(c.outside, to))
}

func (c *churn) moveIn() (string, error) {
	all, _ := os.ReadDir(c.outside)
	to := c.free()
	if len(all) == 0 || to == "" || strings.Count(to, "/") > 1 {
		return "nothing", nil
	}
	from := all[c.r.IntN(len(all))].Name()
	return fmt.Sprintf("outside %q to %q", from, to), os.Rename(filepath.Join(c.outside, from), c.at(to))
}

func (c *churn) fileToFolder() (string, error) {
	rel := c.file()
	if rel == "" || strings.Count(rel, "/") >= mostDepth {
		return "nothing", nil
	}
	if err := os.Remove(c.at(rel)); err != nil {
		return rel, err
	}
	if err := os.Mkdir(c.at(rel), 0o755); err != nil {
		return rel, err
	}
	if c.r.IntN(3) == 0 {
		return fmt.Sprintf("%q, empty", rel), nil
	}
	return fmt.Sprintf("%q", rel), os.WriteFile(c.at(path.Join(rel, c.name())), c.bytes(), 0o644)
}

func (c *churn) folderToFile() (string, error) {
	rel := c.subfolder()
	if rel == "" {
		return "nothing", nil
	}
	if err := os.RemoveAll(c.at(rel)); err != nil {
		return rel, err
	}
	return fmt.Sprintf("%q", rel), os.WriteFile(c.at(rel), c.bytes(), 0o644)
}

// save is what editors do: a new file beside, then a rename over the old one.
func (c *churn) save() (string, error) {
	rel := c.target(c.file)
	if rel == "" {
		return "nothing", nil
	}
	temp := path.Join(path.Dir(rel), "."+fmt.Sprint(c.r.IntN(10))+".tmp")
	if err := os.WriteFile(c.at(temp), c.bytes(), 0o644); err != nil {
		return rel, err
	}
	if c.r.IntN(3) == 0 {
		back := time.Now().Add(-time.Duration(c.r.IntN(1e6)) * time.Second) // older than what it replaces
		if err := os.Chtimes(c.at(temp), back, back); err != nil {
			return rel, err
		}
	}
	c.pause()
	return fmt.Sprintf("%q", rel), os.Rename(c.at(temp), c.at(rel))
}

func (c *churn) link() (string, error) {
	from, to := c.file(), c.free()
	if from == "" || to == "" {
		return "nothing", nil
	}
	return fmt.Sprintf("%q as %q", from, to), os.Link(c.at(from), c.at(to))
}

// symlink makes a link to something that is there or not, or retargets what has the name.
func (c *churn) symlink() (string, error) {
	rel, to := c.target(c.file), c.name()
	if rel == "" {
		return "nothing", nil
	}
	kinds := 3
	if c.follow {
		kinds = 6
	}
	switch c.r.IntN(kinds) {
	case 0:
		to = c.at(c.folder())
	case 1:
		to = "../" + to
	case 3:
		to = c.at(c.file()) // another link perhaps
	case 4:
		to = c.at(path.Join(c.folder(), to)) // there or not
	case 5:
		if to = path.Base(rel); c.r.IntN(2) == 0 { // itself
			to = strings.Repeat("../", strings.Count(rel, "/")) + cmp.Or(c.folder(), ".") // relative, from the root
		}
	}
	temp := c.at(path.Join(path.Dir(rel), ".link.tmp"))
	if err := os.Symlink(to, temp); err != nil {
		return rel, err
	}
	return fmt.Sprintf("%q to %q", rel, to), os.Rename(temp, c.at(rel))
}

// changeableNow is changeable with the state that the file has.
func (c *churn) changeableNow() (rel string, fi fs.FileInfo, err error) {
	if rel = c.changeable(); rel != "" {
		fi, err = os.Lstat(c.at(rel))
	}
	return rel, fi, err
}

// copyWithTimes replaces a file by a new one of the same size, mtime and mode, as cp -p after rm: the new one often gets
// the old one's inode.
func (c *churn) copyWithTimes() (string, error) {
	rel, fi, err := c.changeableNow()
	if rel == "" || err != nil {
		return cmp.Or(rel, "nothing"), err
	}
	if err := os.Remove(c.at(rel)); err != nil {
		return rel, err
	}
	if err := os.WriteFile(c.at(rel), c.same(fi.Size()), fi.Mode().Perm()); err != nil {
		return rel, err
	}
	return fmt.Sprintf("%q", rel), os.Chtimes(c.at(rel), fi.ModTime(), fi.ModTime())
}

// same returns other bytes of a given number.
func (c *churn) same(n int64) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("%08x", c.r.Uint32()), int(n/8)+1))[:n]
}

// sameTimes changes a file in place and puts its size and mtime back: only the ctime tells.
func (c *churn) sameTimes() (string, error) {
	rel, fi, err := c.changeableNow()
	if rel == "" || err != nil {
		return cmp.Or(rel, "nothing"), err
	}
	f, err := os.OpenFile(c.at(rel), os.O_WRONLY, 0)
	if err != nil {
		return rel, err
	}
	_, err = f.WriteAt(c.same(fi.Size()), 0)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Chtimes(c.at(rel), fi.ModTime(), fi.ModTime())
	}
	return fmt.Sprintf("%q", rel), err
}

func (c *churn) chmod() (string, error) {
	rel := c.changeable()
	if c.r.IntN(3) == 0 {
		rel = c.subfolder()
	}
	if rel == "" {
		return "nothing", nil
	}
	mode := []fs.FileMode{0o755, 0o700, 0o770}[c.r.IntN(3)]
	return fmt.Sprintf("%q %o", rel, mode), os.Chmod(c.at(rel), mode)
}

func (c *churn) touch() (string, error) {
	rel := c.changeable()
	if rel == "" {
		return "nothing", nil
	}
	return fmt.Sprintf("%q", rel), os.Chtimes(c.at(rel), time.Now(), time.Now())
}

// mtimeBack gives a file a time that programs rarely think of.
func (c *churn) mtimeBack() (string, error) {
	rel := c.changeable()
	if rel == "" {
		return "nothing", nil
	}
	when := []time.Time{time.Unix(0, 0), time.Date(1901, 12, 14, 0, 0, 0, 0, time.UTC), time.Now().Add(-time.Hour),
		time.Now().Add(100 * time.Hour), time.Date(2105, 1, 1, 0, 0, 0, 5, time.UTC)}[c.r.IntN(5)]
	return fmt.Sprintf("%q %v", rel, when.UTC()), os.Chtimes(c.at(rel), when, when)
}

// momentary makes a folder full of files and takes it away again.
func (c *churn) momentary() (string, error) {
	rel := c.free()
	if rel == "" {
		return "nothing", nil
	}
	if err := os.Mkdir(c.at(rel), 0o755); err != nil {
		return rel, err
	}
	for i := range 20 {
		if err := os.WriteFile(c.at(path.Join(rel, fmt.Sprint(i))), nil, 0o644); err != nil {
			return rel, err
		}
	}
	c.pause()
	return fmt.Sprintf("%q", rel), os.RemoveAll(c.at(rel))
}
