package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"s3apu/protocol"
)

func be64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// opError gives an error of one call its form. What says that the store cannot be read breaks the queue.
func (q *Queue) opError(op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if broken := q.Err(); broken != nil {
		return broken // what a broken store shows, as if it were damaged, says nothing
	}
	var e *protocol.Error
	if errors.As(err, &e) {
		return e
	}
	e = storeError(op, q.dir, err)
	if e.Kind == protocol.KindDamaged {
		q.store.Load().breakWith(e)
	}
	return e
}

// errNewer marks what a newer version of the program wrote. It is no damage.
var errNewer = errors.New("a newer version of the program made it")

const hintNewer = "run the newer version that made it"

// storeError tells a store that is damaged from a disk that refuses.
func storeError(op, dir string, err error) *protocol.Error {
	var e *protocol.Error
	if errors.As(err, &e) {
		return e
	}
	e = &protocol.Error{Op: op, Object: dir, Kind: protocol.KindLocal, Err: err}
	var errno syscall.Errno
	switch {
	case errors.Is(err, errNewer):
		e.Kind, e.Hint = protocol.KindUsage, hintNewer
	case errors.Is(err, errEncoding), pebble.IsCorruptionError(err),
		errors.Is(err, pebble.ErrDBDoesNotExist), errors.Is(err, pebble.ErrDBNotPristine),
		errors.Is(err, fs.ErrNotExist):
		e.Kind = protocol.KindDamaged
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "give the folder to the user that the agent runs as"
	case errors.As(err, &errno):
		e.Hint = diskHint(errno, dir)
	case errors.Is(err, errFrozen):
	case op == opOpen:
		// No errno: not the disk but what is on it.
		e.Kind = protocol.KindDamaged
	}
	if e.Kind == protocol.KindDamaged {
		e.Hint = "run moves it aside and builds a new one from the folders and the bucket"
	}
	return e
}
