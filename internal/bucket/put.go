package bucket

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"s3apu/protocol"
)

// Put writes an object in one request: size bytes from the beginning of body, whose MD5 is sum. S3 checks the MD5
// before the object becomes visible, and the ETag is compared with it where it is one. A body that ends early or
// fails makes no object. The body may be read more than once, and not after Put has returned.
func (b *Bucket) Put(ctx context.Context, key protocol.Key, h protocol.Headers, body io.ReadSeeker, size int64, sum [md5.Size]byte) (protocol.Receipt, error) {
	const op = "upload"
	ctx = counting(ctx)
	out, first, ok := b.putDirect(ctx, key, h, body, size, sum)
	if !ok {
		var err error
		if out, err = b.putBySDK(ctx, key, h, body, size, sum, first); err != nil {
			e := b.fail(ctx, op, key, err)
			b.note(key, e)
			return protocol.Receipt{}, e
		}
	}
	r := protocol.Receipt{ETag: trimETag(out.etag), VersionID: deref(out.version)}
	if err := b.verify(op, key, r.ETag, sum, out.sse, out.customer); err != nil {
		return protocol.Receipt{}, err
	}
	b.note(key, nil)
	return r, nil
}

// putBySDK makes a PUT by the SDK. first is what its first attempt has brought already, or nil.
func (b *Bucket) putBySDK(ctx context.Context, key protocol.Key, h protocol.Headers, body io.ReadSeeker, size int64,
	sum [md5.Size]byte, first *outcome,
) (stored, error) {
	if _, err := body.Seek(0, io.SeekStart); err != nil { // the SDK begins where the body stands
		return stored{}, err
	}
	in := &s3.PutObjectInput{
		Bucket:        &b.name,
		Key:           (*string)(&key),
		Body:          exactly(body, size),
		ContentLength: &size,
		ContentMD5:    contentMD5(sum),
		ContentType:   emptyTo(h.ContentType),
		Metadata:      h.Meta,
		ACL:           types.ObjectCannedACL(b.cfg.ACL),
		StorageClass:  types.StorageClass(b.cfg.StorageClass),
	}
	out, err := b.api.PutObject(ctx, in, b.after(first)...)
	if err != nil {
		return stored{}, err
	}
	return stored{out.ETag, out.VersionId, out.ServerSideEncryption, out.SSECustomerAlgorithm}, nil
}

// verify compares the ETag of an answer with the MD5 of what was sent, where it has to be that MD5: it is not with
// SSE-KMS or SSE-C, and an ETag that is not 32 hexadecimal digits is some other hash (Amazon S3 API, "Object").
func (b *Bucket) verify(op string, key protocol.Key, etag string, sum [md5.Size]byte, sse types.ServerSideEncryption, customer *string) error {
	if etag == "" {
		return &protocol.Error{Op: op, Object: b.object(key), Kind: protocol.KindTransient, Status: 200,
			Err: errNoETag, Hint: hintEndpoint}
	}
	if sse == types.ServerSideEncryptionAwsKms || sse == types.ServerSideEncryptionAwsKmsDsse || customer != nil {
		return nil
	}
	got, ok := isMD5(etag)
	if !ok || got == sum {
		return nil
	}
	return &protocol.Error{Op: op, Object: b.object(key), Kind: protocol.KindTransient, Status: 200,
		Err:  fmt.Errorf("the server says that it stored MD5 %x, and %x was sent", got, sum),
		Hint: "the object may be damaged until the next attempt succeeds; if this goes on, the server's ETags are not what S3's are"}
}

var errNoETag = errors.New("the answer holds no ETag")

// isMD5 returns an ETag as the MD5 that it may be.
func isMD5(etag string) (sum [md5.Size]byte, ok bool) {
	n, err := hex.Decode(sum[:], []byte(etag[:min(len(etag), 2*md5.Size)]))
	return sum, err == nil && n == md5.Size && len(etag) == 2*md5.Size
}

func contentMD5(sum [md5.Size]byte) *string {
	s := base64.StdEncoding.EncodeToString(sum[:])
	return &s
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// exactly returns size bytes of r as the SDK wants them; nothing for a size of 0.
func exactly(r io.ReadSeeker, size int64) io.Reader {
	if size == 0 {
		return nil
	}
	return &exact{r: r, size: size}
}

// exact gives out exactly size bytes of r, or an error of KindChanged where r has fewer. It never asks for a byte more:
// what a growing file has behind them is not part of what was announced.
type exact struct {
	r        io.ReadSeeker
	size, at int64
}

func (e *exact) Read(p []byte) (int, error) {
	if e.at >= e.size {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.size-e.at)])
	e.at += int64(n)
	switch {
	case errors.Is(err, io.EOF) && e.at < e.size:
		return n, &protocol.Error{Op: "read", Object: "the body", Kind: protocol.KindChanged,
			Err: fmt.Errorf("it ended after %d of %d bytes", e.at, e.size)}
	case errors.Is(err, io.EOF):
		err = nil
	}
	return n, err
}

func (e *exact) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += e.at
	case io.SeekEnd:
		offset += e.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning of a body")
	}
	at, err := e.r.Seek(offset, io.SeekStart)
	if err != nil {
		return 0, err
	}
	e.at = at
	return at, nil
}
