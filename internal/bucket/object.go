package bucket

import (
	"context"
	"io"
	"net/http"
	"strings"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"s3apu/protocol"
)

// Delete deletes the object under key. That there was none is success.
func (b *Bucket) Delete(ctx context.Context, key protocol.Key) error {
	_, err := b.api.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: (*string)(&key)})
	if err == nil {
		return nil
	}
	if e := b.fail(ctx, "delete", key, err); e.Kind != protocol.KindNotFound {
		return e
	}
	return nil
}

// Head returns what S3 says about the object under key: everything but its bytes, with the headers as they came. No
// object is KindNotFound; so is no bucket, as a HEAD cannot tell the two apart, and a missing object is 403 where the
// key may not list (Amazon S3 API, HeadObject).
func (b *Bucket) Head(ctx context.Context, key protocol.Key) (*protocol.Object, error) {
	out, err := b.api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.name, Key: (*string)(&key)})
	if err != nil {
		return nil, b.fail(ctx, "look at", key, err)
	}
	o := &protocol.Object{Key: key, ETag: trimETag(out.ETag), Modified: when(out.LastModified), ContentType: deref(out.ContentType),
		VersionID: deref(out.VersionId), Meta: lower(out.Metadata), Header: header(out.ResultMetadata)}
	if out.ContentLength != nil {
		o.Size = *out.ContentLength
	}
	return o, nil
}

// Get opens the object under key for reading; the caller closes it. The reader's errors are as they come from the
// network; a body that is cut off ends in one.
func (b *Bucket) Get(ctx context.Context, key protocol.Key) (io.ReadCloser, *protocol.Object, error) {
	out, err := b.api.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: (*string)(&key)})
	if err != nil {
		return nil, nil, b.fail(ctx, "read", key, err)
	}
	o := &protocol.Object{Key: key, ETag: trimETag(out.ETag), Modified: when(out.LastModified), ContentType: deref(out.ContentType),
		VersionID: deref(out.VersionId), Meta: lower(out.Metadata), Header: header(out.ResultMetadata)}
	if out.ContentLength != nil {
		o.Size = *out.ContentLength
	}
	return out.Body, o, nil
}

// lower returns the metadata with names in lower case: header names come back in any.
func lower(meta map[string]string) map[string]string {
	for name := range meta {
		if strings.ToLower(name) != name {
			all := make(map[string]string, len(meta))
			for name, value := range meta {
				all[strings.ToLower(name)] = value
			}
			return all
		}
	}
	return meta
}

// header returns the headers of the answer that m belongs to.
func header(m middleware.Metadata) http.Header {
	if resp, ok := awsmiddleware.GetRawResponse(m).(*smithyhttp.Response); ok && resp != nil {
		return resp.Header
	}
	return nil
}
