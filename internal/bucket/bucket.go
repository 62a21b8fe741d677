package bucket

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"

	"s3apu/protocol"
)

// Bucket is one bucket. All methods may be called at the same time.
type Bucket struct {
	name string
	cfg  Config
	api  *s3.Client
	keys *keyring
	rt   http.RoundTripper
	own  bool // rt is ours to close

	sending []func(*s3.Options) // options of the requests that carry bodies

	// For the requests that are made without the SDK; see direct.go.
	http       *watched
	signer     *signer
	signBodies bool                    // their hashes are part of the signature
	where      func() (location, bool) // false: not known yet; nil: the SDK does everything
	wire       *Transport              // rt, if it is one; else nil

	sums sums // of parts: what the server can do

	hostStyle bool // the bucket is in the host name of a custom endpoint: worth a hint when that name is unknown

	// The folders of the last key that was written, and of the last that was refused: where Probe tries.
	written, refused atomic.Pointer[protocol.Key]
}

// Open checks the configuration and prepares a bucket. It sends nothing; ctx is for reading the shared files of AWS.
// Errors are of KindUsage.
func Open(ctx context.Context, cfg Config) (*Bucket, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	base, err := cfg.endpointURL()
	if err != nil {
		return nil, err
	}
	keys, region, err := openKeyring(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	if region == "" {
		if base == nil {
			return nil, usage("[s3]", "no region is named", `set region = "…" in [s3] to where the bucket is, such as "eu-central-1", or AWS_REGION`)
		}
		region = fallbackRegion
	}

	b := &Bucket{name: cfg.Bucket, cfg: cfg, keys: keys, rt: cfg.Transport}
	if b.rt == nil {
		t, err := NewTransport(TransportConfig{Connections: cfg.Connections})
		if err != nil {
			return nil, err
		}
		b.rt, b.own = t, true
	}
	b.wire, _ = b.rt.(*Transport)
	b.hostStyle = base != nil && !cfg.pathStyle(base)
	b.http, b.signer = &watched{rt: b.rt, stall: cfg.Stall}, &signer{}
	opts := s3.Options{
		Region:                     region,
		Credentials:                keys.cache,
		HTTPClient:                 b.http,
		HTTPSignerV4:               b.signer,
		Retryer:                    retryer{attempts: cfg.Attempts},
		UsePathStyle:               cfg.PathStyle,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		APIOptions:                 userAgent(cfg.UserAgent),
		// Their absence is what we asked for.
		DisableLogOutputChecksumValidationSkipped: true,
	}
	b.where = place(&opts, &b.cfg, base)
	b.signBodies = base != nil && base.Scheme == "http" && !loopback(base)
	b.api = s3.New(opts)
	if base != nil && loopback(base) {
		// As over TLS: nobody can change a body on its way, and its sum is signed. Hashing it twice costs more than
		// sending it.
		b.sending = append(b.sending, s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware))
	}
	return b, nil
}

// userAgent returns the option that adds "name/version" to the SDK's own words.
func userAgent(s string) []func(*middleware.Stack) error {
	name, version, _ := strings.Cut(s, "/")
	if name == "" {
		return nil
	}
	return []func(*middleware.Stack) error{awsmiddleware.AddUserAgentKeyValue(name, version)}
}

// Name returns the bucket's name.
func (b *Bucket) Name() string { return b.name }

// Refresh forgets the credentials, so that the next request reads them again from where they come from. Keys that are
// written into Config itself stay. A refused request does the same by itself.
func (b *Bucket) Refresh() { b.keys.forget() }

// Close ends the idle connections of a transport of its own. Requests under way go on.
func (b *Bucket) Close() {
	if b.own {
		b.wire.CloseIdleConnections()
	}
}

// Create makes the bucket, for tests, demonstrations and first steps; that it is there already and can be
// worked with is success.
func (b *Bucket) Create(ctx context.Context) error {
	in := &s3.CreateBucketInput{Bucket: &b.name}
	if r := b.api.Options().Region; b.cfg.Endpoint == "" && r != fallbackRegion {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(r)}
	}
	_, err := b.api.CreateBucket(ctx, in)
	var ours *types.BucketAlreadyOwnedByYou
	var exists *types.BucketAlreadyExists
	if err == nil || errors.As(err, &ours) || errors.As(err, &exists) && b.Probe(ctx) == nil {
		return nil
	}
	return b.fail(ctx, "create", "", err)
}

// object names key for errors: "/bucket/key", or "/bucket" for the bucket itself.
func (b *Bucket) object(key protocol.Key) string {
	if key == "" {
		return "/" + b.name
	}
	return protocol.ObjectID{Bucket: b.name, Key: key}.String()
}

// fail turns an error of the SDK into one of ours.
func (b *Bucket) fail(ctx context.Context, op string, key protocol.Key, err error) *protocol.Error {
	v := classify(ctx, err)
	e := &protocol.Error{Op: op, Object: b.object(key), Kind: v.kind, Status: v.status, Code: v.code, Hint: v.hint,
		Unsure: repeated(ctx), Err: &cause{text: b.keys.redact(v.text), err: err}}
	if v.unknownHost && b.hostStyle {
		e.Hint = "if this server does not know buckets by host name, set path_style = true in [s3]; " + e.Hint
	}
	if v.kind == protocol.KindTarget {
		b.keys.refused()
	}
	return e
}

// cause is what went wrong in words fit for people, with the SDK's error kept for errors.Is and errors.As.
type cause struct {
	text string
	err  error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.err }

// note remembers in which folder a write went or was refused.
func (b *Bucket) note(key protocol.Key, err error) {
	at := &b.written
	switch {
	case err == nil:
	case protocol.KindOf(err) == protocol.KindTarget:
		at = &b.refused
	default:
		return
	}
	folder := key[:strings.LastIndexByte(string(key), '/')+1]
	if old := at.Load(); old == nil || *old != folder {
		folder = protocol.Key(strings.Clone(string(folder)))
		at.Store(&folder)
	}
}

// trimETag takes off the quotes of an ETag, and the mark of a weak one.
func trimETag(s *string) string {
	if s == nil {
		return ""
	}
	return strings.Trim(strings.TrimPrefix(*s, "W/"), `"`)
}

// escapeKey encodes key for the x-amz-copy-source header: every byte outside the unreserved set of RFC 3986, but not the
// slash.
func escapeKey(key protocol.Key) string {
	const hex = "0123456789ABCDEF"
	if made(key, "-_.~/") {
		return string(key)
	}
	b := make([]byte, 0, 3*len(key))
	for i := range len(key) {
		if c := key[i]; made(key[i:i+1], "-_.~/") {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

// emptyTo returns a pointer to s, or nil if it is empty.
func emptyTo(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// unescape decodes a name of a listing, if the server said that it encoded it; in this form a plus is a space.
func unescape(s *string, enc types.EncodingType) (string, error) {
	if s == nil {
		return "", nil
	}
	if enc != types.EncodingTypeUrl {
		return *s, nil
	}
	return url.QueryUnescape(*s)
}
