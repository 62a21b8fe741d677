//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// dataset is a tree of files with made-up contents, the same for the same fields.
type dataset struct {
	name      string
	files     int
	perFolder int
	least     int // bytes of the smallest file
	most      int // bytes of the largest
}

// The datasets. All sizes are guesses; those of many files are small, so that they fit on any disk.
func small(files int) dataset { // the works of 10,000 files
	return dataset{name: "small", files: files, perFolder: 100, least: 512, most: 16 << 10}
}
func many(files int) dataset {
	return dataset{name: "many", files: files, perFolder: 200, least: 64, most: 512}
}
func big() dataset {
	return dataset{name: "big", files: 4, perFolder: 4, least: 256 << 20, most: 256 << 20}
}

func (d dataset) String() string {
	return fmt.Sprintf("%s-%d", d.name, d.files)
}

// rel is the path of file i below the tree.
func (d dataset) rel(i int) string {
	return fmt.Sprintf("d%05d/file-%07d.dat", i/d.perFolder, i)
}

// make returns the folder of the tree; it makes it if it is not there whole.
func (d dataset) make(ctx context.Context, below string) (string, error) {
	root := filepath.Join(below, d.String())
	whole := root + ".whole" // outside the tree, or it would be a file of it
	if _, err := os.Stat(whole); err == nil {
		return root, nil
	}
	if err := os.RemoveAll(root); err != nil {
		return "", err
	}
	for i := range d.files {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if i%d.perFolder == 0 {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, d.rel(i))), 0o755); err != nil {
				return "", err
			}
		}
		if err := d.write(root, i, 0); err != nil {
			return "", err
		}
	}
	return root, os.WriteFile(whole, nil, 0o644)
}

// block is how much of a file is written at once, in bytes; a guess.
const block = 1 << 20

// write writes file i in its version-th form.
func (d dataset) write(root string, i, version int) error {
	return d.writeTo(filepath.Join(root, d.rel(i)), i, version)
}

// writeTo is write for a file in any place.
func (d dataset) writeTo(path string, i, version int) (err error) {
	rnd := rand.New(rand.NewPCG(uint64(i), uint64(version))) //nolint:gosec // contents need no secret, and must be the same each time
	size := d.least + rnd.IntN(d.most-d.least+1)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, min(size, block))
	for size > 0 {
		n := min(size, len(buf))
		fill(rnd, buf[:n])
		if _, err := f.Write(buf[:n]); err != nil {
			return err
		}
		size -= n
	}
	return nil
}

// fill fills p with noise.
func fill(rnd *rand.Rand, p []byte) {
	for i := 0; i < len(p); i += 8 {
		v := rnd.Uint64()
		for k := i; k < min(i+8, len(p)); k++ {
			p[k] = byte(v)
			v >>= 8
		}
	}
}

// treeBytes is how many bytes the files below root have.
func treeBytes(root string) (n int64, err error) {
	err = filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // an engine has tidied up
		}
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// copyTree copies a folder of files.
func copyTree(from, to string) error { return os.CopyFS(to, os.DirFS(from)) }
