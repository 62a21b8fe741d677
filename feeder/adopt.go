package feeder

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"strconv"
	"strings"
	"time"

	"s3apu/internal/beneath"
	"s3apu/protocol"
)

// readSize is how much of a file is hashed between two looks at the context, in bytes. A guess.
const readSize = 256 << 10

var errChanged = errors.New("the file changed while it was read")

// recognise reports whether the object that S3 lists holds the bytes of the file at rel, and returns the row that says
// so. The whole file is read. errChanged means that the file is not at rest; any other error of the file says nothing
// about the object and is left to the upload.
func (t *task) recognise(ctx context.Context, rel string, st protocol.Stat, obj protocol.Object) (*protocol.Entry, error) {
	if obj.Size != st.Size {
		return nil, nil
	}
	partSize, ok := t.partSizeOf(obj)
	if !ok {
		return nil, nil
	}
	if st.IsLink() {
		return nil, nil // it is sent in no time
	}
	var etag string
	real, err := t.links.real(rel)
	if err == nil {
		etag, err = fileETag(ctx, t.folder.Root, real, st, partSize)
	}
	switch {
	case errors.Is(err, errChanged) || ctx.Err() != nil:
		return nil, err
	case !strings.EqualFold(etag, obj.ETag): // also what could not be read
		return nil, nil
	}
	// The ETag is cloned, for it would keep the texts of the whole page in memory.
	row := &protocol.Entry{Bucket: t.folder.Bucket, Key: t.key(rel), Verb: protocol.Upl, Source: t.path(rel), Stat: st,
		ETag: strings.Clone(obj.ETag), PartSize: partSize, Put: obj.Modified.UnixNano()}
	if partSize == 0 {
		row.MD5 = etag
	}
	return row, nil
}

// partSizeOf returns the size of the parts in which the object was uploaded if it was uploaded by us, 0 for one piece. It
// says no if the ETag tells nothing about the content.
func (t *task) partSizeOf(obj protocol.Object) (int64, bool) {
	_, parts, ok := strings.Cut(obj.ETag, "-")
	if !ok {
		return 0, len(obj.ETag) == 2*md5.Size
	}
	n, err := strconv.ParseInt(parts, 10, 32)
	if err != nil || t.folder.PartSize == nil {
		return 0, false
	}
	size := t.folder.PartSize(obj.Size)
	return size, size > 0 && (obj.Size+size-1)/size == n
}

// fileETag returns the ETag that S3 gives the file, uploaded in one piece (partSize 0) or in parts: the MD5 of the
// content, or the MD5 of the parts' MD5s and their number (Amazon S3 API Reference, "Object": ETag; observed for
// multipart, not promised). The file must be in state st before and after.
func fileETag(ctx context.Context, root, rel string, st protocol.Stat, partSize int64) (etag string, err error) {
	if err := outlast(ctx, st); err != nil {
		return "", err
	}
	folder, name := beneath.Split(rel)
	d, err := beneath.At(root, folder)
	if err != nil {
		return "", err
	}
	defer d.Close()
	file, err := d.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if now, err := beneath.Fstat(file); err != nil || now != st {
		return "", errors.Join(errChanged, err)
	}
	content := io.NewSectionReader(file, 0, st.Size)
	one, all, parts := md5.New(), md5.New(), 0
	buf := make([]byte, min(max(st.Size, 1), readSize))
	for left := st.Size; ; {
		size := left
		if partSize > 0 {
			size = min(left, partSize)
		}
		one.Reset()
		if err := hashSome(ctx, one, content, size, buf); err != nil {
			return "", err
		}
		sum := one.Sum(nil)
		if partSize > 0 {
			_, _ = all.Write(sum) // a hash never fails (hash.Hash)
		}
		parts++
		if left -= size; left == 0 {
			etag = hex.EncodeToString(sum)
			break
		}
	}
	if now, err := beneath.Fstat(file); err != nil || now != st {
		return "", errors.Join(errChanged, err)
	}
	if now, err := d.Lstat(name); err != nil || now != st {
		return "", errors.Join(errChanged, err)
	}
	if partSize > 0 {
		etag = hex.EncodeToString(all.Sum(nil)) + "-" + strconv.Itoa(parts)
	}
	return etag, nil
}

// outlast waits out the step of the clock in which a file last changed: within it the file could change once more without
// its times telling, and its row would be taken for true for ever.
func outlast(ctx context.Context, st protocol.Stat) error {
	left := st.Trustworthy(time.Now())
	if left <= 0 {
		return nil
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hashSome hashes exactly size bytes.
func hashSome(ctx context.Context, h hash.Hash, r io.Reader, size int64, buf []byte) error {
	for size > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buf[:min(size, int64(len(buf)))])
		_, _ = h.Write(buf[:n]) // a hash never fails (hash.Hash)
		if size -= int64(n); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errChanged
		}
		if err != nil {
			return err
		}
	}
	return nil
}
