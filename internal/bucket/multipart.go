package bucket

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"s3apu/protocol"
)

// StartUpload begins a multipart upload and returns its id. Nothing is visible until FinishUpload.
func (b *Bucket) StartUpload(ctx context.Context, key protocol.Key, h protocol.Headers) (string, error) {
	const op = "begin the multipart upload of"
	return b.startUpload(ctx, op, key, &s3.CreateMultipartUploadInput{ContentType: emptyTo(h.ContentType), Metadata: h.Meta})
}

func (b *Bucket) startUpload(ctx context.Context, op string, key protocol.Key, in *s3.CreateMultipartUploadInput) (string, error) {
	in.Bucket, in.Key = &b.name, (*string)(&key)
	in.ACL, in.StorageClass = types.ObjectCannedACL(b.cfg.ACL), types.StorageClass(b.cfg.StorageClass)
	// Once only: an attempt whose answer is lost may have begun an upload, and a second one would begin another.
	out, err := b.api.CreateMultipartUpload(ctx, in, func(o *s3.Options) { o.Retryer = retryer{attempts: 1} })
	if err != nil {
		e := b.fail(ctx, op, key, err)
		b.note(key, e)
		return "", e
	}
	if deref(out.UploadId) == "" {
		return "", b.empty(op, key)
	}
	return *out.UploadId, nil
}

// empty is the error for a success that does not hold what it must.
func (b *Bucket) empty(op string, key protocol.Key) *protocol.Error {
	return &protocol.Error{Op: op, Object: b.object(key), Kind: protocol.KindTransient, Status: 200,
		Err: fmt.Errorf("the answer is empty"), Hint: hintEndpoint}
}

// UploadPart sends a part: size bytes from the beginning of body, whose MD5 is sum. Numbers go from 1 to 10,000; every
// part but the last has at least 5 MiB (Amazon S3 User Guide, "Amazon S3 multipart upload limits"). A part sent again
// replaces itself. An upload that is no longer there is of KindNotFound. Bodies are treated as in [Bucket.Put].
func (b *Bucket) UploadPart(ctx context.Context, key protocol.Key, uploadID string, number int32, body io.ReadSeeker, size int64, sum [md5.Size]byte) (string, error) {
	const op = "upload a part of"
	out, err := b.api.UploadPart(ctx, &s3.UploadPartInput{
		Bucket:        &b.name,
		Key:           (*string)(&key),
		UploadId:      &uploadID,
		PartNumber:    &number,
		Body:          exactly(body, size),
		ContentLength: &size,
		ContentMD5:    contentMD5(sum),
	}, b.sending...)
	if err != nil {
		e := b.fail(ctx, op, key, err)
		b.note(key, e)
		return "", e
	}
	etag := trimETag(out.ETag)
	if err := b.verify(op, key, etag, sum, out.ServerSideEncryption, out.SSECustomerAlgorithm); err != nil {
		return "", err
	}
	return etag, nil
}

// FinishUpload makes an object of the parts, which are in the order of their numbers. An upload that is no longer there
// is success if the object is exactly what these parts make: then an earlier call came through whose answer was lost.
// Else it is of KindNotFound.
func (b *Bucket) FinishUpload(ctx context.Context, key protocol.Key, uploadID string, parts []protocol.Part) (protocol.Receipt, error) {
	const op = "finish the multipart upload of"
	done := make([]types.CompletedPart, len(parts))
	for i := range parts {
		etag := `"` + parts[i].ETag + `"`
		done[i] = types.CompletedPart{PartNumber: &parts[i].Number, ETag: &etag}
	}
	ctx = counting(ctx)
	out, err := b.api.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket:          &b.name,
		Key:             (*string)(&key),
		UploadId:        &uploadID,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
	})
	if err != nil {
		e := b.fail(ctx, op, key, err)
		if e.Kind == protocol.KindNotFound {
			if r, ok := b.finished(ctx, key, parts); ok {
				return r, nil
			}
		}
		b.note(key, e)
		return protocol.Receipt{}, e
	}
	if deref(out.ETag) == "" {
		return protocol.Receipt{}, b.empty(op, key)
	}
	b.note(key, nil)
	return protocol.Receipt{ETag: trimETag(out.ETag), VersionID: deref(out.VersionId)}, nil
}

// finished reports whether the object under key is what the parts make, by its ETag and size.
func (b *Bucket) finished(ctx context.Context, key protocol.Key, parts []protocol.Part) (protocol.Receipt, bool) {
	h := md5.New()
	var size int64
	for _, p := range parts {
		sum, ok := isMD5(p.ETag)
		if !ok {
			return protocol.Receipt{}, false
		}
		h.Write(sum[:])
		size += p.Size
	}
	o, err := b.Head(ctx, key)
	if err != nil || o.Size != size || o.ETag != fmt.Sprintf("%x-%d", h.Sum(nil), len(parts)) {
		return protocol.Receipt{}, false
	}
	return protocol.Receipt{ETag: o.ETag, VersionID: o.VersionID}, true
}

// AbortUpload gives an upload up and frees what its parts occupy. One that is no longer there is success.
func (b *Bucket) AbortUpload(ctx context.Context, key protocol.Key, uploadID string) error {
	_, err := b.api.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.name, Key: (*string)(&key), UploadId: &uploadID})
	if err == nil {
		return nil
	}
	if e := b.fail(ctx, "abort the multipart upload of", key, err); e.Kind != protocol.KindNotFound {
		return e
	}
	return nil
}

// clockSkew is how far the server's clock may be behind ours: S3 refuses requests that are off by more (Amazon S3 API,
// "RequestTimeTooSkewed").
const clockSkew = 15 * time.Minute

// AbortUnknown gives up the uploads to exactly this key that were begun since a time of our clock, less what the server's
// may differ: those whose ids were lost with an answer.
func (b *Bucket) AbortUnknown(ctx context.Context, key protocol.Key, since time.Time) error {
	var err error
	for u, lerr := range b.Uploads(ctx, key) {
		if lerr != nil {
			return errors.Join(err, lerr)
		}
		if u.Key == key && !u.Began.Before(since.Add(-clockSkew)) {
			err = errors.Join(err, b.AbortUpload(ctx, key, u.UploadID))
		}
	}
	return err
}

// OpenUpload is a multipart upload that was begun and neither finished nor aborted.
type OpenUpload struct {
	Key      protocol.Key
	UploadID string
	Began    time.Time
}

// Uploads yields the open uploads of keys that begin with prefix, in key order. An error ends it. MinIO knows only whole
// keys here: with any other prefix it yields nothing there.
func (b *Bucket) Uploads(ctx context.Context, prefix protocol.Key) iter.Seq2[OpenUpload, error] {
	const op = "list the multipart uploads of"
	return func(yield func(OpenUpload, error) bool) {
		in := &s3.ListMultipartUploadsInput{Bucket: &b.name, Prefix: emptyTo(string(prefix)), EncodingType: types.EncodingTypeUrl}
		for {
			out, err := b.api.ListMultipartUploads(ctx, in)
			if err != nil {
				// A 404 that is not about the bucket: some servers say so where no upload was ever begun.
				if e := b.fail(ctx, op, prefix, err); e.Kind != protocol.KindNotFound {
					yield(OpenUpload{}, e)
				}
				return
			}
			for i := range out.Uploads {
				u := &out.Uploads[i]
				key, err := unescape(u.Key, out.EncodingType)
				if err != nil {
					yield(OpenUpload{}, b.unreadable(op, prefix, err))
					return
				}
				if !yield(OpenUpload{Key: protocol.Key(key), UploadID: deref(u.UploadId), Began: when(u.Initiated)}, nil) {
					return
				}
			}
			if out.IsTruncated == nil || !*out.IsTruncated {
				return
			}
			marker, err := unescape(out.NextKeyMarker, out.EncodingType)
			if err == nil && marker == deref(in.KeyMarker) && deref(out.NextUploadIdMarker) == deref(in.UploadIdMarker) {
				err = fmt.Errorf("the server gives the same page again and again")
			}
			if err != nil {
				yield(OpenUpload{}, b.unreadable(op, prefix, err))
				return
			}
			in.KeyMarker, in.UploadIdMarker = &marker, out.NextUploadIdMarker
		}
	}
}

// unreadable is the error for an answer that makes no sense.
func (b *Bucket) unreadable(op string, key protocol.Key, err error) *protocol.Error {
	return &protocol.Error{Op: op, Object: b.object(key), Kind: protocol.KindDamaged, Status: 200, Err: err, Hint: hintEndpoint}
}

func when(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
