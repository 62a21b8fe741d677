package bucket

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"s3apu/protocol"
)

// StartUpload begins the multipart upload of up.Key, of which nothing is visible until FinishUpload. It sets up.UploadID,
// and up.CRC64 if the server says that it checks parts by CRC-64/NVME (x-amz-checksum-algorithm in the answer; Amazon S3
// API, CreateMultipartUpload): that costs a tenth of MD5 (docs/design/0017), and in the end S3 holds, and has checked, the
// sum of the whole. A server that does not say so is not asked again while the bucket is open. An UploadID beside an error is
// that of an upload that has to be ended.
func (b *Bucket) StartUpload(ctx context.Context, up *protocol.Upload, h protocol.Headers) error {
	const op = "begin the multipart upload of"
	start := func(crc bool) (*s3.CreateMultipartUploadOutput, error) {
		in := &s3.CreateMultipartUploadInput{ContentType: emptyTo(h.ContentType), Metadata: h.Meta}
		if crc {
			in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc64nvme, types.ChecksumTypeFullObject
		}
		return b.startUpload(ctx, op, up.Key, in)
	}
	crc := !b.sums.onlyMD5.Load()
	out, err := start(crc)
	switch {
	case !crc:
	case declined(err):
		crc = false
		why := err
		if out, err = start(false); err == nil {
			b.byMD5(why)
		}
	case err == nil && !agrees(out):
		// It may have noted without a word what it was asked for, and would take no part without it (SeaweedFS).
		crc = false
		b.byMD5(errSilent)
		up.UploadID = *out.UploadId
		if err = b.AbortUpload(ctx, up.Key, up.UploadID); err == nil {
			up.UploadID = ""
			out, err = start(false)
		}
	}
	if err != nil {
		b.note(up.Key, err)
		return err
	}
	up.UploadID, up.CRC64 = *out.UploadId, crc
	return nil
}

// startUpload returns an answer that holds an id.
func (b *Bucket) startUpload(ctx context.Context, op string, key protocol.Key, in *s3.CreateMultipartUploadInput) (*s3.CreateMultipartUploadOutput, error) {
	in.Bucket, in.Key = &b.name, (*string)(&key)
	in.ACL, in.StorageClass = types.ObjectCannedACL(b.cfg.ACL), types.StorageClass(b.cfg.StorageClass)
	// Once only: an attempt whose answer is lost may have begun an upload, and a second one would begin another.
	out, err := b.api.CreateMultipartUpload(ctx, in, func(o *s3.Options) { o.Retryer = retryer{attempts: 1} })
	if err != nil {
		return nil, b.fail(ctx, op, key, err)
	}
	if deref(out.UploadId) == "" {
		return nil, b.empty(op, key)
	}
	return out, nil
}

// empty is the error for a success that does not hold what it must.
func (b *Bucket) empty(op string, key protocol.Key) *protocol.Error {
	return &protocol.Error{Op: op, Object: b.object(key), Kind: protocol.KindTransient, Status: 200,
		Err: fmt.Errorf("the answer is empty"), Hint: hintEndpoint}
}

// UploadPart sends a part of up, p.Size bytes from the beginning of body, and returns its ETag. The server checks them
// against p.CRC64 or, without up.CRC64, against the MD5 sum, and says what it has. A server that does not do with a CRC-64
// what it should is an error of KindChanged: the upload is of no use then, and the next is by MD5. Numbers go from
// 1 to 10,000; every part but the last has at least 5 MiB (Amazon S3 User Guide, "Amazon S3 multipart upload limits"). A part
// sent again replaces itself. An upload that is no longer there is of KindNotFound. Bodies are treated as in [Bucket.Put]. Of
// up it only reads the key, the id and CRC64.
func (b *Bucket) UploadPart(ctx context.Context, up *protocol.Upload, p protocol.Part, sum [md5.Size]byte, body io.ReadSeeker) (string, error) {
	const op = "upload a part of"
	in := &s3.UploadPartInput{
		Bucket:        &b.name,
		Key:           (*string)(&up.Key),
		UploadId:      &up.UploadID,
		PartNumber:    &p.Number,
		Body:          exactly(body, p.Size),
		ContentLength: &p.Size,
	}
	if up.CRC64 {
		in.ChecksumCRC64NVME = aws.String(crcText(p.CRC64))
	} else {
		in.ContentMD5 = contentMD5(sum)
	}
	out, err := b.api.UploadPart(ctx, in, b.sending...)
	if err != nil {
		e := b.fail(ctx, op, up.Key, err)
		if up.CRC64 {
			b.doubt(e, byPart)
		}
		b.note(up.Key, e)
		return "", e
	}
	etag := trimETag(out.ETag)
	if up.CRC64 {
		err = b.verifyCRC(op, up.Key, etag, p.CRC64, deref(out.ChecksumCRC64NVME))
	} else {
		err = b.verify(op, up.Key, etag, sum, out.ServerSideEncryption, out.SSECustomerAlgorithm)
	}
	if err != nil {
		return "", err
	}
	return etag, nil
}

// FinishUpload makes an object of up.Parts, which are in the order of their numbers. With up.CRC64 the server compares the
// sum of the whole with ours before the object is visible; a server that errs there gets MD5 the next time (KindChanged).
// An upload that is no longer there is success if the object is exactly what these parts make: then an earlier call came
// through whose answer was lost. Else it is of KindNotFound.
func (b *Bucket) FinishUpload(ctx context.Context, up *protocol.Upload) (protocol.Receipt, error) {
	const op = "finish the multipart upload of"
	done := make([]types.CompletedPart, len(up.Parts))
	for i := range up.Parts {
		etag := `"` + up.Parts[i].ETag + `"`
		done[i] = types.CompletedPart{PartNumber: &up.Parts[i].Number, ETag: &etag}
		if up.CRC64 { // AWS can do without, MinIO and versitygw cannot
			done[i].ChecksumCRC64NVME = aws.String(crcText(up.Parts[i].CRC64))
		}
	}
	in := &s3.CompleteMultipartUploadInput{
		Bucket:          &b.name,
		Key:             (*string)(&up.Key),
		UploadId:        &up.UploadID,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
	}
	if up.CRC64 {
		in.ChecksumType, in.ChecksumCRC64NVME = types.ChecksumTypeFullObject, aws.String(crcText(combinedCRC(up.Parts)))
	}
	ctx = counting(ctx)
	out, err := b.api.CompleteMultipartUpload(ctx, in)
	if err != nil {
		e := b.fail(ctx, op, up.Key, err)
		if e.Kind == protocol.KindNotFound {
			if r, ok := b.finished(ctx, up.Key, up.Parts); ok {
				return r, nil
			}
		}
		if up.CRC64 {
			b.doubt(e, byWhole)
		}
		b.note(up.Key, e)
		return protocol.Receipt{}, e
	}
	if deref(out.ETag) == "" {
		return protocol.Receipt{}, b.empty(op, up.Key)
	}
	if up.CRC64 {
		b.sums.prove(byWhole)
	}
	b.note(up.Key, nil)
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
