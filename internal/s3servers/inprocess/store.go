package inprocess

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rclone/gofakes3"
)

// The hidden folder and what is in it. Bucket names begin with a letter or digit, so none can be in its way.
const (
	hidden     = ".s3apu"
	uploadsDir = hidden + "/uploads" // one folder an upload
	tmpDir     = hidden + "/tmp"     // files that are being written
	rowsDir    = hidden + "/objects" // bucket/xx.json: one row an object; bucket/xx.data: contents without a name of their own
)

// row is what is kept about an object.
type row struct {
	Key      string
	File     string // below the root, with slashes; empty for a folder object without bytes
	Size     int64
	ETag     string // without quotes
	Modified time.Time
	Changed  time.Time // the file's own time, to notice changes by hand
	Meta     map[string]string
}

// store keeps buckets in a folder. It implements [gofakes3.Backend] and [gofakes3.MultipartBackend].
type store struct {
	root *os.Root

	mu      sync.RWMutex
	buckets map[string]*shelf
}

// shelf is one bucket.
type shelf struct {
	made time.Time
	rows map[string]*row
	keys []string          // in order
	held map[string]string // folded path → the key whose file it is: two keys must not share one on any file system
}

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s := &store{root: root, buckets: map[string]*shelf{}}
	// Uploads do not outlive the process: gofakes3 remembers them in memory only.
	for _, d := range []string{uploadsDir, tmpDir} {
		if err := root.RemoveAll(d); err != nil {
			return nil, errors.Join(err, root.Close())
		}
	}
	for _, d := range []string{uploadsDir, tmpDir, rowsDir} {
		if err := root.MkdirAll(d, 0o755); err != nil {
			return nil, errors.Join(err, root.Close())
		}
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("read the objects in %s: %w", dir, err), root.Close())
	}
	return s, nil
}

// load reads the rows of every bucket. Rows whose file is gone or was changed by hand are dropped.
func (s *store) load() error {
	all, err := fs.ReadDir(s.root.FS(), rowsDir)
	if err != nil {
		return err
	}
	for _, b := range all {
		info, err := b.Info()
		if err != nil {
			return err
		}
		sh := newShelf(info.ModTime())
		files, err := fs.ReadDir(s.root.FS(), path.Join(rowsDir, b.Name()))
		if err != nil {
			return err
		}
		for _, f := range files {
			if !strings.HasSuffix(f.Name(), ".json") {
				continue
			}
			data, err := s.root.ReadFile(path.Join(rowsDir, b.Name(), f.Name()))
			if err != nil {
				return err
			}
			r := &row{}
			if json.Unmarshal(data, r) != nil || !s.intact(r) {
				continue
			}
			sh.rows[r.Key] = r
			sh.keys = append(sh.keys, r.Key)
			if r.File != "" {
				sh.held[fold(r.File)] = r.Key
			}
		}
		slices.Sort(sh.keys)
		s.buckets[b.Name()] = sh
	}
	return nil
}

func newShelf(made time.Time) *shelf {
	return &shelf{made: made, rows: map[string]*row{}, held: map[string]string{}}
}

func (s *store) intact(r *row) bool {
	if r.File == "" {
		return r.Size == 0
	}
	info, err := s.root.Lstat(r.File)
	return err == nil && info.Mode().IsRegular() && info.Size() == r.Size && info.ModTime().Equal(r.Changed)
}

// fold makes paths equal that some file system takes for the same.
func fold(p string) string { return strings.ToLower(p) }

// side returns the name of a key's row, or of its contents, in the hidden folder. The hash stands for keys of any
// length and with any bytes.
func side(bucket, key, ext string) string {
	sum := sha256.Sum256([]byte(key))
	return path.Join(rowsDir, bucket, hex.EncodeToString(sum[:16])+ext)
}

// maxName is the longest file name in bytes of common file systems (NAME_MAX, limits.h).
const maxName = 255

// readable returns the path of a key's file below the root, or "" if the key cannot be a path on every system.
func readable(bucket, key string) string {
	for seg := range strings.SplitSeq(key, "/") {
		if seg == "" || seg == "." || seg == ".." || len(seg) > maxName || strings.ContainsAny(seg, "\x00\\:*?\"<>|") && !safeHere(seg) || strings.HasSuffix(seg, ".") || strings.HasSuffix(seg, " ") {
			return ""
		}
	}
	return bucket + "/" + key
}

// safeHere reports whether a name with characters that Windows refuses is a plain name on this system.
func safeHere(seg string) bool { return os.PathSeparator == '/' && !strings.ContainsAny(seg, "\x00") }

// place moves the finished file tmp to where the contents of key belong, and returns that path.
func (s *store) place(sh *shelf, bucket, key, tmp string) (string, error) {
	if p := readable(bucket, key); p != "" {
		if owner, taken := sh.held[fold(p)]; !taken || owner == key {
			// Either can fail where a file is in the place of a folder or the other way round: then it goes aside.
			if s.root.MkdirAll(path.Dir(p), 0o755) == nil && s.root.Rename(tmp, p) == nil {
				return p, nil
			}
		}
	}
	p := side(bucket, key, ".data")
	return p, s.root.Rename(tmp, p)
}

// commit makes r, whose bytes are in the file tmp (empty for none), the object of its key. The lock is held.
func (s *store) commit(sh *shelf, bucket, tmp string, r *row) error {
	old := sh.rows[r.Key]
	if r.Size == 0 && strings.HasSuffix(r.Key, "/") {
		// A folder object is a folder, where that can be.
		if err := s.root.Remove(tmp); err != nil {
			return err
		}
		if p := readable(bucket, strings.TrimSuffix(r.Key, "/")); p != "" {
			_ = s.root.MkdirAll(p, 0o755) // what is in its place is a file: the row alone has to do
		}
	} else {
		file, err := s.place(sh, bucket, r.Key, tmp)
		if err != nil {
			return err
		}
		info, err := s.root.Lstat(file)
		if err != nil {
			return err
		}
		r.File, r.Changed = file, info.ModTime()
	}
	if err := s.writeRow(bucket, r); err != nil {
		return err
	}
	if old == nil {
		i, _ := slices.BinarySearch(sh.keys, r.Key)
		sh.keys = slices.Insert(sh.keys, i, r.Key)
	} else if old.File != "" && old.File != r.File {
		s.discard(sh, bucket, old.File)
	}
	sh.rows[r.Key] = r
	if r.File != "" {
		sh.held[fold(r.File)] = r.Key
	}
	return nil
}

func (s *store) writeRow(bucket string, r *row) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp := s.tmpName()
	if err := s.root.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return s.root.Rename(tmp, side(bucket, r.Key, ".json"))
}

// remove forgets key. The lock is held.
func (s *store) remove(sh *shelf, bucket, key string) error {
	r := sh.rows[key]
	if r == nil {
		return nil
	}
	if err := s.root.Remove(side(bucket, key, ".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	delete(sh.rows, key)
	if i, ok := slices.BinarySearch(sh.keys, key); ok {
		sh.keys = slices.Delete(sh.keys, i, i+1)
	}
	if r.File != "" {
		s.discard(sh, bucket, r.File)
	} else if p := readable(bucket, strings.TrimSuffix(key, "/")); p != "" {
		s.prune(sh, bucket, p)
	}
	return nil
}

// discard deletes a file that belongs to no key any more, and the folders that are empty without it.
func (s *store) discard(sh *shelf, bucket, file string) {
	delete(sh.held, fold(file))
	_ = s.root.Remove(file) // gone by hand already; a file without a row is not an object
	if !strings.HasPrefix(file, hidden+"/") {
		s.prune(sh, bucket, path.Dir(file))
	}
}

// prune deletes dir and the folders above it within the bucket, as long as they are empty and not objects themselves.
func (s *store) prune(sh *shelf, bucket, dir string) {
	for ; strings.HasPrefix(dir, bucket+"/"); dir = path.Dir(dir) {
		// A file in the place of the folder is an object of its own.
		info, err := s.root.Lstat(dir)
		if err != nil || !info.IsDir() || sh.rows[strings.TrimPrefix(dir, bucket+"/")+"/"] != nil || s.root.Remove(dir) != nil {
			return
		}
	}
}

// shelf returns a bucket. The lock is held.
func (s *store) shelf(name string) (*shelf, error) {
	if sh := s.buckets[name]; sh != nil {
		return sh, nil
	}
	return nil, gofakes3.BucketNotFound(name)
}
