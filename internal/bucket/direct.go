package bucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
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

// plain reports whether the SDK signs requests for a bucket there as they are: without a query, and with the host as it is.
func (l *location) plain() bool {
	return l.base.RawQuery == "" && l.base.Opaque == "" && !defaultPort(l.base.Scheme, l.base.Host)
}

// rooted returns where objects are by an endpoint, whose path may lack the slash at its beginning or be empty, as
// [url.URL.JoinPath] of no path leaves it.
func rooted(base url.URL, region string) location {
	if base.Path != "" && base.Path[0] != '/' {
		base.Path, base.RawPath = "/"+base.Path, ""
	}
	return location{base: base, region: region}
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
	keys, err := b.keys.cache.Retrieve(ctx)
	var hash string
	if err == nil {
		hash, err = b.payloadHash(body, size)
	}
	if err != nil {
		return out, nil, false // the SDK will meet it too, and has words for it
	}
	now, with := b.signer.serverTime(), b.signer.signingWith(keys.SecretAccessKey)
	var room [mostFields]field
	stamp := now.UTC().Format(stampFormat)
	r := b.request(room[:0], at, key, h, size, sum, keys.SessionToken, hash, stamp)
	var plain bool
	r.auth, plain = with.signPlain(keys.AccessKeyID, &r, hash, stamp)
	var resp *http.Response
	if plain && size <= oneWrite && b.wire != nil && b.wire.carries(at.base.Scheme, at.base.Host) {
		text, failed := b.wire.text(&r, body)
		if failed != nil {
			return out, nil, false // as above
		}
		out, resp, err = b.wire.exchange(ctx, &r, *text, b.cfg.Stall)
		b.wire.done(text)
		if err == nil && resp == nil {
			return out, nil, true
		}
	} else {
		req := r.http()
		if !plain && with.v4.SignHTTP(ctx, keys, req, hash, "s3", at.region, now) != nil {
			return out, nil, false // as above
		}
		resp, err = b.lend(req.WithContext(ctx), body)
	}
	if err != nil {
		return out, &outcome{err: err}, false
	}
	if resp.StatusCode != http.StatusOK || !bodiless(resp) {
		return out, &outcome{resp: resp}, false
	}
	_ = resp.Body.Close() // it was read to its end
	return storedBy(resp.Header), nil, true
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

// payloadHash returns what the signature says of the body, which stands at its beginning afterwards.
func (b *Bucket) payloadHash(body io.ReadSeeker, size int64) (string, error) {
	if _, err := body.Seek(0, io.SeekStart); err != nil || !b.signBodies {
		return unsigned, err
	}
	sha := sha256.New()
	if _, err := io.CopyN(sha, body, size); err != nil {
		return "", err
	}
	_, err := body.Seek(0, io.SeekStart)
	return hex.EncodeToString(sha.Sum(nil)), err
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
