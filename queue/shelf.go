package queue

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// LoadUpload returns how far the multipart upload of an object has come, or nil if none is under way. It is asked for each object
// that is written, and mostly there is not one upload: then it does not look.
func (q *Queue) LoadUpload(id protocol.ObjectID) (u *protocol.Upload, err error) {
	if !q.uploads.Load() {
		if err := q.enter(); err != nil {
			return nil, err
		}
		q.exit()
		return nil, nil
	}
	err = q.fetch("read an upload", idKey(nil, spaceUpload, id), func(v []byte) error {
		u, err = decodeUpload(id, v)
		return err
	})
	return u, err
}

// SaveUpload keeps how far a multipart upload has come. It is durable when it returns.
func (q *Queue) SaveUpload(ctx context.Context, u *protocol.Upload) error {
	id := protocol.ObjectID{Bucket: u.Bucket, Key: u.Key}
	if err := checkID(id); err != nil {
		return &protocol.Error{Op: "keep an upload", Object: id.String(), Kind: protocol.KindItem, Err: err}
	}
	failpoint.Here("queue.upload.save")
	return q.do(ctx, "keep an upload", synced, func(t *tx) error {
		q.uploads.Store(true) // under the lock: the store may just have been opened anew
		t.val = appendUpload(t.val[:0], u)
		t.set(idKey(nil, spaceUpload, id), t.val)
		return nil
	})
}

// DropUpload forgets a multipart upload. It is durable when it returns.
func (q *Queue) DropUpload(ctx context.Context, id protocol.ObjectID) error {
	failpoint.Here("queue.upload.drop")
	return q.do(ctx, "forget an upload", synced, func(t *tx) error {
		t.del(idKey(nil, spaceUpload, id))
		return nil
	})
}

// Uploads yields all multipart uploads that are under way, in the order of bucket and key. An error is the last thing
// yielded.
func (q *Queue) Uploads(ctx context.Context) iter.Seq2[*protocol.Upload, error] {
	return func(yield func(*protocol.Upload, error) bool) {
		if err := q.enter(); err != nil {
			yield(nil, err)
			return
		}
		defer q.exit()
		on := true
		err := q.walk(ctx, []byte{spaceUpload}, []byte{spaceUpload + 1}, func(key, val []byte) (bool, error) {
			id, ok := parseID(key[1:])
			if !ok {
				return false, fmt.Errorf("%w: the key of an upload", errEncoding)
			}
			u, err := decodeUpload(id, val)
			on = err != nil || yield(u, nil)
			return on && err == nil, err
		})
		if err = q.opError("read the uploads", err); err != nil && on {
			yield(nil, err)
		}
	}
}

// Memo returns the value that was set under a name, or nil.
func (q *Queue) Memo(name string) (val []byte, err error) {
	err = q.fetch("read a memo", append([]byte{spaceMemo}, name...), func(v []byte) error {
		val = slices.Clone(v)
		return nil
	})
	return val, err
}

// SetMemo sets the value under a name, or removes it if value is nil. It is durable when it returns.
func (q *Queue) SetMemo(ctx context.Context, name string, value []byte) error {
	failpoint.Here("queue.memo")
	return q.do(ctx, "write a memo", synced, func(t *tx) error {
		key := append([]byte{spaceMemo}, name...)
		if value == nil {
			t.del(key)
		} else {
			t.set(key, value)
		}
		return nil
	})
}
