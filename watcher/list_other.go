//go:build !linux

package watcher

import (
	"errors"
	"io"
	"os"
)

const listBatch = 1024 // names read at a time

// foldersIn calls found with the name of each folder in the open folder f.
func foldersIn(f *os.File, found func(name string)) error {
	for {
		entries, err := f.ReadDir(listBatch)
		for _, e := range entries {
			if e.IsDir() {
				found(e.Name())
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
