//go:build !linux

package mounts

import (
	"errors"
	"os"
)

// Table has nothing here.
func Table() ([]Mount, error) { return nil, errors.ErrUnsupported }

// Reader has nothing to read here.
type Reader struct{}

// Table is [Table].
func (*Reader) Table() ([]Mount, error) { return Table() }

// Identify tells only whether there is something.
func Identify(path string, follow bool) (id Identity, mount uint64, err error) {
	stat := os.Lstat
	if follow {
		stat = os.Stat
	}
	_, err = stat(path)
	return "", 0, err
}
