package bucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"s3apu/protocol"
)

// Probe asks with the cheapest request there is (HeadBucket) whether the bucket can be worked with; nil means yes.
//
// Credentials that may write but not list are refused that, and a HEAD says no more than 403. Then a second request
// tells whether the credentials are known at all, and a third whether they may write: a PUT with a wrong Content-MD5,
// which S3 turns down for that reason (BadDigest) only after it has let it in, so that it never leaves an object. It
// goes to the name [CheckPrefix]"probe" in the folder of the last write that went well, else of the last one that
// was refused.
func (b *Bucket) Probe(ctx context.Context) error {
	const op = "reach"
	b.keys.again()
	_, err := b.api.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &b.name})
	if err == nil {
		return nil
	}
	e := b.fail(ctx, op, "", err)
	switch {
	case e.Status == http.StatusNotFound:
		b.keys.refused() // some servers hide a bucket from keys that they do not know any more
		e.Kind, e.Code, e.Hint = protocol.KindTarget, "NoSuchBucket", hintBucket
		return e
	case e.Status != http.StatusForbidden && e.Status != http.StatusBadRequest:
		return e
	}
	_, err = b.api.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b.name, MaxKeys: aws.Int32(1)})
	if err == nil {
		return nil
	}
	if e = b.fail(ctx, op, "", err); e.Code != "AccessDenied" {
		return e
	}
	if b.mayWrite(ctx) {
		return nil
	}
	return e
}

// mayWrite reports whether a PUT is let in, without making an object.
func (b *Bucket) mayWrite(ctx context.Context) bool {
	folder := b.written.Load()
	if folder == nil {
		folder = b.refused.Load()
	}
	if folder == nil {
		folder = new(protocol.Key)
	}
	key := *folder + CheckPrefix + "probe"
	wrong := base64.StdEncoding.EncodeToString(make([]byte, md5.Size))
	_, err := b.api.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.name, Key: (*string)(&key), ContentMD5: &wrong,
		ContentLength: aws.Int64(0)})
	if err == nil { // a server that does not look at Content-MD5 has made one
		if err := b.Delete(ctx, key); err != nil {
			b.cfg.Log.Warn("a probe object stays behind", "bucket", b.name, "key", string(key), "err", err)
		}
		return true
	}
	code := b.fail(ctx, "write to", key, err).Code
	return code == "BadDigest" || code == "InvalidDigest"
}

// CheckPrefix begins the names of the small objects that [Bucket.Check] and [Bucket.Probe] may write, and delete at once.
const CheckPrefix = ".s3apu-check-"

// Finding is one line of what [Bucket.Check] found.
type Finding struct {
	What   string // what was looked at, in two or three words
	OK     bool
	Detail string // what was found
	Hint   string // what to do about it, if it is not OK
	Err    error  // behind it, if any
}

// Names of the findings, in the order in which they come.
const (
	FindEndpoint    = "endpoint"
	FindClock       = "clock"
	FindCredentials = "credentials"
	FindBucket      = "bucket"
	FindList        = "list"
	FindWrite       = "write"
	FindRead        = "read back"
	FindDelete      = "delete"
)

// maxSkew is when the clock becomes a finding: well before S3's limit of 15 minutes (API Reference, RequestTimeTooSkewed).
const maxSkew = 5 * time.Minute

// Check tries out, in this order, everything that the program needs from the bucket, and says what it found. What cannot
// be tried after a failure is left out. It writes, reads and deletes one object of a few bytes under a name of its
// own that begins with [CheckPrefix], with the configured ACL and storage class. under is a folder for it, in case the
// credentials are limited to one: empty or ending in a slash.
func (b *Bucket) Check(ctx context.Context, under protocol.Key) []Finding {
	c := &checkup{b: b}
	var first *protocol.Error
	resp, err := b.api.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b.name, MaxKeys: aws.Int32(1), Prefix: emptyTo(string(under))})
	if err != nil {
		first = b.fail(ctx, opList, under, err)
	}
	if first != nil && first.Status == 0 && first.Kind != protocol.KindTarget {
		c.add(FindEndpoint, first, "")
		return c.found
	}
	if first == nil || first.Status != 0 {
		c.add(FindEndpoint, nil, "it answers")
		c.clock(dateOf(resp, err))
	}
	if first != nil && aboutKeys[first.Hint] {
		c.add(FindCredentials, first, "")
		return c.found
	}
	denied := first != nil && first.Code == "AccessDenied"
	if first != nil && !denied {
		if first.Kind == protocol.KindTarget {
			c.add(FindCredentials, nil, "they are known")
		}
		c.add(FindBucket, first, "")
		return c.found
	}
	c.add(FindCredentials, nil, "they are known")
	c.add(FindBucket, nil, b.name)
	if denied {
		first.Hint = "allow s3:ListBucket; without it nothing can be compared with the bucket"
	}
	c.add(FindList, first, "allowed")
	c.roundTrip(ctx, under)
	return c.found
}

// aboutKeys is the hints of failures that say that the credentials are at fault.
var aboutKeys = map[string]bool{hintKeys: true, hintExpired: true, hintClock: true, hintNoKeys: true, hintAccount: true}

// checkup collects findings.
type checkup struct {
	b     *Bucket
	found []Finding
}

func (c *checkup) add(what string, e *protocol.Error, detail string) {
	f := Finding{What: what, OK: e == nil, Detail: detail}
	if e != nil { // what is wrong is the detail
		short := *e
		short.Hint = "" // it has a place of its own
		f.Detail, f.Hint, f.Err = short.Error(), e.Hint, e
	}
	c.found = append(c.found, f)
}

// dateOf returns the server's time from an answer, good or bad.
func dateOf(out *s3.ListObjectsV2Output, err error) time.Time {
	var h http.Header
	if out != nil {
		h = header(out.ResultMetadata)
	}
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil {
		h = answer.Response.Header
	}
	t, _ := http.ParseTime(h.Get("Date"))
	return t
}

func (c *checkup) clock(server time.Time) {
	if server.IsZero() {
		return // it does not say
	}
	skew := time.Since(server).Round(time.Second)
	detail := fmt.Sprintf("%s apart from the server's", skew.Abs())
	if skew.Abs() < maxSkew {
		c.add(FindClock, nil, detail)
		return
	}
	c.add(FindClock, &protocol.Error{Op: "compare clocks with", Object: c.b.object(""), Kind: protocol.KindTarget, Err: errors.New(detail), Hint: hintClock}, "")
}

// roundTrip writes, reads and deletes the small object.
func (c *checkup) roundTrip(ctx context.Context, under protocol.Key) {
	key := under + protocol.Key(CheckPrefix+time.Now().UTC().Format("20060102T150405-")+rand.Text()[:8])
	body := []byte("written by s3apu-agent check, may be deleted\n")
	_, err := c.b.Put(ctx, key, protocol.Headers{ContentType: "text/plain", Meta: map[string]string{"mode": "0100644"}},
		bytes.NewReader(body), int64(len(body)), md5.Sum(body))
	if err != nil {
		c.add(FindWrite, protocol.AsError(err, "upload", c.b.object(key)), "")
		return
	}
	c.add(FindWrite, nil, "allowed")
	if err := c.readBack(ctx, key, body); err != nil {
		e := protocol.AsError(err, "read", c.b.object(key))
		if e.Kind == protocol.KindTarget {
			e.Hint = "allow s3:GetObject; without it nothing can be looked at or restored"
		}
		c.add(FindRead, e, "")
	} else {
		c.add(FindRead, nil, "the same bytes")
	}
	if err := c.b.Delete(ctx, key); err != nil {
		e := protocol.AsError(err, "delete", c.b.object(key))
		e.Hint = "allow s3:DeleteObject, or set delete = false for the folders; the object named here stays behind"
		c.add(FindDelete, e, "")
		return
	}
	c.add(FindDelete, nil, "allowed")
}

func (c *checkup) readBack(ctx context.Context, key protocol.Key, want []byte) error {
	r, o, err := c.b.Get(ctx, key)
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := io.ReadAll(io.LimitReader(r, int64(len(want))+1))
	switch {
	case err != nil:
		return c.b.fail(ctx, "read", key, err)
	case !bytes.Equal(got, want):
		return &protocol.Error{Op: "read", Object: c.b.object(key), Kind: protocol.KindDamaged, Err: errors.New("what came back is not what was written")}
	case o.Meta["mode"] != "0100644":
		return &protocol.Error{Op: "read", Object: c.b.object(key), Kind: protocol.KindItem, Err: errors.New("the server dropped the metadata"),
			Hint: "mode, owner and time of files are kept as x-amz-meta- headers, which this server loses"}
	}
	return nil
}
