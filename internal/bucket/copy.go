package bucket

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"s3apu/protocol"
)

const opCopy = "copy to"

// Copy makes the object key of src, which may be in another bucket that the credentials can read, without its bytes
// coming here. With h nil the metadata is that of the source; else it is h, and the rest (cache control and the
// like) is dropped. src may be key itself if h is given. With ifMatch, an ETag without quotes, a source that is not
// that one any more is KindChanged. A source that is not there is KindNotFound, and the error's Object names it.
//
// Above 5 GB, the limit of S3's own copy, the parts are copied one by one; what the source has in metadata is carried
// over, tags are not, as they would need rights of their own.
func (b *Bucket) Copy(ctx context.Context, src protocol.ObjectID, key protocol.Key, h *protocol.Headers, ifMatch string) (protocol.Receipt, error) {
	source := src.Bucket + "/" + escapeKey(src.Key)
	in := &s3.CopyObjectInput{
		Bucket:            &b.name,
		Key:               (*string)(&key),
		CopySource:        &source,
		MetadataDirective: types.MetadataDirectiveCopy,
		CopySourceIfMatch: quoted(ifMatch),
		ACL:               types.ObjectCannedACL(b.cfg.ACL),
		StorageClass:      types.StorageClass(b.cfg.StorageClass),
	}
	if h != nil {
		in.MetadataDirective, in.ContentType, in.Metadata = types.MetadataDirectiveReplace, emptyTo(h.ContentType), h.Meta
	}
	ctx = counting(ctx)
	out, err := b.api.CopyObject(ctx, in)
	if err != nil {
		e := b.fail(ctx, opCopy, key, err)
		// S3 calls a source above its limit an invalid request, as it does other things: the size decides.
		if e.Code == "InvalidRequest" || e.Code == "EntityTooLarge" {
			if o, err := b.size(ctx, src); err == nil && aws.ToInt64(o.ContentLength) > b.cfg.CopyLimit {
				return b.copyParts(ctx, src, source, o, key, h, ifMatch)
			}
		}
		return protocol.Receipt{}, b.copyFailed(ctx, src, key, e)
	}
	if out.CopyObjectResult == nil || deref(out.CopyObjectResult.ETag) == "" {
		return protocol.Receipt{}, b.empty(opCopy, key)
	}
	b.note(key, nil)
	return protocol.Receipt{ETag: trimETag(out.CopyObjectResult.ETag), VersionID: deref(out.VersionId)}, nil
}

func quoted(etag string) *string {
	if etag == "" {
		return nil
	}
	etag = `"` + etag + `"`
	return &etag
}

// copyFailed completes the error of a copy: it may be about the source, and about a bucket that is not ours. That must
// not make our own bucket look as if it were out of order.
func (b *Bucket) copyFailed(ctx context.Context, src protocol.ObjectID, key protocol.Key, e *protocol.Error) error {
	switch {
	case e.Kind == protocol.KindNotFound && e.Code != "NoSuchUpload":
		e.Op, e.Object = "copy", src.String()
	case e.Kind == protocol.KindTarget && src.Bucket != b.name && (e.Code == "NoSuchBucket" || e.Code == "AccessDenied" || e.Status == 403 && e.Code == ""):
		if b.Probe(ctx) == nil {
			e.Op, e.Object, e.Kind = "copy", src.String(), protocol.KindItem
			e.Hint = "check that the source's bucket exists and that these credentials may read it"
		}
	}
	b.note(key, e)
	return e
}

// size looks at the source of a copy.
func (b *Bucket) size(ctx context.Context, src protocol.ObjectID) (*s3.HeadObjectOutput, error) {
	if src.Bucket == b.name {
		return b.api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.name, Key: (*string)(&src.Key)})
	}
	// Another bucket has another endpoint, at custom servers too.
	cfg := b.cfg
	cfg.Bucket = src.Bucket
	base, err := cfg.endpointURL()
	if err != nil {
		return nil, err
	}
	there := func(o *s3.Options) { place(o, &cfg, base) }
	return b.api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &src.Bucket, Key: (*string)(&src.Key)}, there)
}

// copyingParts is how many parts of one copy run at the same time: a guess; the server does all the work.
const copyingParts = 4

// copyParts copies a large object by a multipart upload, which it aborts if it fails. All parts are of the source that
// was looked at: a source that changes meanwhile is KindChanged.
func (b *Bucket) copyParts(ctx context.Context, src protocol.ObjectID, source string, o *s3.HeadObjectOutput, key protocol.Key, h *protocol.Headers, ifMatch string) (protocol.Receipt, error) {
	etag := trimETag(o.ETag)
	if ifMatch != "" && ifMatch != etag {
		return protocol.Receipt{}, &protocol.Error{Op: "copy", Object: src.String(), Kind: protocol.KindChanged,
			Err: fmt.Errorf("its ETag is %s and not %s", etag, ifMatch)}
	}
	in := &s3.CreateMultipartUploadInput{
		ContentType: o.ContentType, Metadata: o.Metadata, CacheControl: o.CacheControl, ContentDisposition: o.ContentDisposition,
		ContentEncoding: o.ContentEncoding, ContentLanguage: o.ContentLanguage, WebsiteRedirectLocation: o.WebsiteRedirectLocation,
	}
	if h != nil {
		in = &s3.CreateMultipartUploadInput{ContentType: emptyTo(h.ContentType), Metadata: h.Meta}
	}
	out, err := b.startUpload(ctx, opCopy, key, in)
	if err != nil {
		b.note(key, err)
		return protocol.Receipt{}, err
	}
	up := &protocol.Upload{Bucket: b.name, Key: key, UploadID: *out.UploadId}
	up.Parts, err = b.copyRanges(ctx, source, etag, *o.ContentLength, key, up.UploadID)
	var r protocol.Receipt
	if err == nil {
		r, err = b.FinishUpload(ctx, up)
	}
	if err == nil {
		return r, nil
	}
	// What was copied so far would be paid for, for ever. The caller's context may have ended already.
	aborting, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	if aerr := b.AbortUpload(aborting, key, up.UploadID); aerr != nil {
		b.cfg.Log.Warn("a multipart upload stays open", "bucket", b.name, "key", string(key), "upload", up.UploadID, "err", aerr)
	}
	e := protocol.AsError(err, opCopy, b.object(key))
	return protocol.Receipt{}, b.copyFailed(ctx, src, key, e)
}

// abortTimeout is the time for tidying up after a failure: a guess.
const abortTimeout = 10 * time.Second

// copyRanges copies size bytes of source into the parts of an upload.
func (b *Bucket) copyRanges(ctx context.Context, source, etag string, size int64, key protocol.Key, id string) ([]protocol.Part, error) {
	step := max(b.cfg.CopyPart, (size+maxParts-1)/maxParts)
	parts := make([]protocol.Part, (size+step-1)/step)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var all sync.WaitGroup
	for range min(copyingParts, len(parts)) {
		all.Go(func() {
			for i := range next {
				from := int64(i) * step
				p, err := b.copyRange(ctx, source, etag, from, min(step, size-from), key, id, int32(i+1))
				if err != nil {
					cancel(err)
					return
				}
				parts[i] = p
			}
		})
	}
feed:
	for i := range parts {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	all.Wait()
	if ctx.Err() != nil {
		return nil, protocol.AsError(context.Cause(ctx), opCopy, b.object(key))
	}
	return parts, nil
}

func (b *Bucket) copyRange(ctx context.Context, source, etag string, from, size int64, key protocol.Key, id string, number int32) (protocol.Part, error) {
	bytes := fmt.Sprintf("bytes=%d-%d", from, from+size-1)
	out, err := b.api.UploadPartCopy(ctx, &s3.UploadPartCopyInput{Bucket: &b.name, Key: (*string)(&key), UploadId: &id, PartNumber: &number,
		CopySource: &source, CopySourceRange: &bytes, CopySourceIfMatch: quoted(etag)})
	if err != nil {
		return protocol.Part{}, b.fail(ctx, opCopy, key, err)
	}
	if out.CopyPartResult == nil || deref(out.CopyPartResult.ETag) == "" {
		return protocol.Part{}, b.empty(opCopy, key)
	}
	return protocol.Part{Number: number, Size: size, ETag: trimETag(out.CopyPartResult.ETag)}, nil
}
