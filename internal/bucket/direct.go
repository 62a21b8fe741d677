package bucket

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"s3apu/protocol"
)

// A small PUT costs more than half of its CPU in the SDK's stack of middleware (docs/design/0012). So its first attempt is made
// here, over the same transport with a signature of the same bytes (sigv4.go), and if S3 answers a plain 200 that is all.
// Whatever else comes of it, an answer or an error, is given to the SDK as what its own first attempt has brought: it reads it,
// says what it means and goes on with the second attempt. So there is one meaning of every failure and one way to try again.

// directLimit is the size of a body, in bytes, from which on the SDK asks the server with "Expect: 100-continue" first
// (s3shared.Add100Continue); at that size its share of the CPU is small.
const directLimit = 2 << 20

// oneWrite is the size of a body, in bytes, up to which it is sent in one write, from memory (exchange.go). A guess: beyond it the
// copy costs more than net/http does.
const oneWrite = 24 << 10

// unsigned stands for the hash of a body that is not part of the signature (Amazon S3 API, "Signature Version 4").
const unsigned = "UNSIGNED-PAYLOAD"

// location is where the objects of a bucket are, and for which region requests for them are signed.
type location struct {
	base   url.URL // of the bucket, without a slash at the end
	region string
}

// outcome is what an attempt brought.
type outcome struct {
	resp *http.Response
	err  error
}

// stored is what a successful PUT answers.
type stored struct {
	etag, version *string
	sse           types.ServerSideEncryption
	customer      *string
}

// putDirect makes one attempt at a PUT. ok: it succeeded. Else first is what came of it, or nil if nothing was sent; the SDK has
// to go on from there.
func (b *Bucket) putDirect(ctx context.Context, key protocol.Key, h protocol.Headers, body io.ReadSeeker, size int64,
	sum [md5.Size]byte,
) (out stored, first *outcome, ok bool) {
	if size >= directLimit || b.where == nil || ctx.Err() != nil {
		return out, nil, false
	}
	at, ok := b.where()
	if !ok {
		return out, nil, false
	}
	req, path, plain, err := b.directRequest(ctx, at, key, h, body, size, sum)
	if err != nil {
		return out, nil, false // the SDK will meet it too, and has words for it
	}
	var resp *http.Response
	if plain && size <= oneWrite && b.wire != nil && b.wire.carries(req) {
		text, failed := b.wire.text(req, path, body)
		if failed != nil {
			return out, nil, false // as above
		}
		resp, err = b.wire.exchange(ctx, req, *text, b.cfg.Stall)
		b.wire.done(text)
	} else {
		resp, err = b.lend(req.WithContext(ctx), body)
	}
	if err != nil {
		return out, &outcome{err: err}, false
	}
	if resp.StatusCode != http.StatusOK || !bodiless(resp) {
		return out, &outcome{resp: resp}, false
	}
	_ = resp.Body.Close() // it was read to its end
	return stored{
		etag: headerValue(resp.Header, "Etag"), version: headerValue(resp.Header, "X-Amz-Version-Id"),
		sse:      types.ServerSideEncryption(resp.Header.Get("X-Amz-Server-Side-Encryption")),
		customer: headerValue(resp.Header, "X-Amz-Server-Side-Encryption-Customer-Algorithm"),
	}, nil, true
}

// lend makes one attempt by net/http, which gets the body for as long as it takes.
func (b *Bucket) lend(req *http.Request, body io.ReadSeeker) (*http.Response, error) {
	if req.ContentLength == 0 {
		return b.http.Do(req)
	}
	l := &lent{body: &exact{r: body, size: req.ContentLength}}
	req.Body = l
	resp, err := b.http.Do(req)
	l.takeBack()
	return resp, err
}

// directRequest makes the signed request, without its body, which stands at its beginning afterwards, and without the context. path is
// the escaped path of its URL; plain: see [signer.signOurs].
func (b *Bucket) directRequest(ctx context.Context, at location, key protocol.Key, h protocol.Headers, body io.ReadSeeker, size int64,
	sum [md5.Size]byte,
) (req *http.Request, path string, plain bool, err error) {
	keys, err := b.keys.cache.Retrieve(ctx)
	if err != nil {
		return nil, "", false, err
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return nil, "", false, err
	}
	hash := unsigned
	if b.signBodies {
		sha := sha256.New()
		if _, err := io.CopyN(sha, body, size); err != nil {
			return nil, "", false, err
		}
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return nil, "", false, err
		}
		hash = hex.EncodeToString(sha.Sum(nil))
	}
	u := at.base
	if u.Path != "" && u.Path[0] != '/' { // [url.URL.JoinPath] of no path leaves it out
		u.Path, u.RawPath = "/"+u.Path, ""
	}
	path = u.EscapedPath() + "/" + escapeKey(key)
	u.Path, u.RawPath = u.Path+"/"+string(key), path
	const own, signature = 6, 3 // headers at the most
	head, values := make(http.Header, own+signature+len(h.Meta)), make([]string, 0, own+len(h.Meta))
	add := func(name, value string) {
		values = append(values, value)
		head[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set := func(name, value string) {
		if value != "" {
			add(name, value)
		}
	}
	set("User-Agent", b.cfg.UserAgent)
	set("Content-Md5", *contentMD5(sum))
	set("Content-Type", cmp.Or(h.ContentType, "application/octet-stream")) // what the SDK says where nothing is said
	set("X-Amz-Acl", b.cfg.ACL)
	set("X-Amz-Storage-Class", b.cfg.StorageClass)
	set("X-Amz-Content-Sha256", hash)
	for name, value := range h.Meta {
		add(textproto.CanonicalMIMEHeaderKey("X-Amz-Meta-"+name), value)
	}
	req = &http.Request{Method: http.MethodPut, URL: &u, Host: u.Host, Header: head, ContentLength: size,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody}
	plain, err = b.signer.signOurs(ctx, keys, req, path, hash, at.region)
	return req, path, plain, err
}

// headerValue returns the first value of a header, or nil if it is not there. The name is in canonical form.
func headerValue(h http.Header, name string) *string {
	if v := h[name]; len(v) > 0 {
		return &v[0]
	}
	return nil
}

// bodiless reports whether an answer has no body. If it has one the answer is left as it came.
func bodiless(resp *http.Response) bool {
	if resp.ContentLength == 0 {
		return true
	}
	var one [1]byte
	n, err := io.ReadFull(resp.Body, one[:])
	if n == 0 && err == io.EOF {
		return true
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(one[:n]), resp.Body), resp.Body}
	return false
}

// after returns the option by which a call of the SDK has first as the outcome of its first attempt.
func (b *Bucket) after(first *outcome) []func(*s3.Options) {
	if first == nil {
		return b.sending
	}
	return append(slices.Clip(b.sending), func(o *s3.Options) { o.HTTPClient = &replay{first: first, rest: b.http} })
}

// replay is a client whose first answer was there before. It is used by one goroutine.
type replay struct {
	first *outcome
	rest  *watched
}

// Do is what the SDK calls for each attempt.
func (r *replay) Do(req *http.Request) (*http.Response, error) {
	if first := r.first; first != nil {
		r.first = nil
		return first.resp, first.err
	}
	return r.rest.Do(req)
}

// lent is the caller's body while a transport may read it. net/http may go on reading when the answer is there already, and by then
// the caller may use the body for something else; so it is taken back first. Safe for concurrent use.
type lent struct {
	mu   sync.Mutex
	body io.Reader // nil: taken back
}

func (l *lent) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.body == nil {
		return 0, http.ErrBodyReadAfterClose
	}
	return l.body.Read(p)
}

// Close is called by the transport when it is done. It closes nothing: what was lent belongs to the caller.
func (l *lent) Close() error {
	l.takeBack()
	return nil
}

// takeBack ends the loan: it waits for a Read that is under way, and every later one fails.
func (l *lent) takeBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.body = nil
}
