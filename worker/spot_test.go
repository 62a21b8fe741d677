package worker

import (
	"s3apu/internal/beneath"
	"s3apu/protocol"
)

// lstat returns the state of what lies at path, as the worker sees it.
func lstat(path string) (protocol.Stat, *protocol.Error) {
	st, err := beneath.LstatPath(path)
	if err != nil {
		return st, fileError(path, err)
	}
	return st, nil
}
