package bucket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"s3apu/protocol"
)

// Config says which bucket, where, and as whom.
type Config struct {
	Bucket   string
	Region   string // empty: AWS_REGION or the profile; with an Endpoint, us-east-1 in the end
	Endpoint string // empty: AWS; else "https://host:port", with a base path if need be

	// PathStyle puts the bucket into the path and not into the host name. It is so in any case where a host name cannot
	// work: an IP address or localhost as endpoint, or a bucket with dots over TLS.
	PathStyle bool

	// The keys; an empty AccessKeyID means the usual chain of AWS: environment, shared files (with Profile), web
	// identity, ECS, EC2. Files are read again when keys expire and after [Bucket.Refresh].
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Profile         string

	// Keys, if set, is asked instead of all of the above, at the first need and again after [Bucket.Refresh]. With it a
	// rotated key in a configuration file heals a refused one without a restart.
	Keys func(ctx context.Context) (Keys, error)

	ACL          string // a canned ACL for every object, or empty to send none
	StorageClass string // for every object, or empty for the bucket's default

	// Transport carries the requests of any number of buckets; see [NewTransport]. Nil: one of its own, closed by
	// [Bucket.Close], with Connections idle connections.
	Transport   http.RoundTripper
	Connections int

	UserAgent string // "name/version", added to that of the SDK
	Log       *slog.Logger

	// Stall is how long a connection may stand still, in either direction, before the attempt is given up as
	// transient. Default 60 s (a guess: four times the longest pause that TCP retransmissions make on lines that
	// recover). Requests that make the server copy or join data answer late: they get ten times that.
	Stall time.Duration
	// Attempts is how often a call sends one request if the failure is transient. Default 3.
	Attempts int
	// CopyLimit is the size above which a copy goes part by part. Default 5 GiB (Amazon S3 API, CopyObject).
	CopyLimit int64
	// ListPage is how many keys a page of a listing asks for; 0: what the server gives, 1,000 at most.
	ListPage int32
	// CopyPart is the least size of such a part. Default 512 MiB (a guess), made larger where 10,000 would not do.
	CopyPart int64
}

// Keys are the credentials of one principal. They print as nothing but the key's id.
type Keys struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
}

// String names the keys without giving them away.
func (k Keys) String() string { return "keys of " + k.AccessKeyID }

// GoString is String.
func (k Keys) GoString() string { return k.String() }

// String describes the configuration without its secrets.
func (c Config) String() string {
	return fmt.Sprintf("bucket %q at %q, region %q, access key %q, profile %q", c.Bucket, c.Endpoint, c.Region, c.AccessKeyID, c.Profile)
}

// GoString is String.
func (c Config) GoString() string { return c.String() }

// LogValue is String, for slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Limits and sizes of Amazon S3 (User Guide, "Amazon S3 multipart upload limits"; API Reference, CopyObject).
const (
	maxParts    = 10_000
	maxCopySize = 5 << 30
)

const (
	defaultStall       = 60 * time.Second
	defaultAttempts    = 3
	defaultConnections = 16 // a guess: more than the workers and parts of a usual configuration
	defaultCopyPart    = 512 << 20
	fallbackRegion     = "us-east-1" // what servers that know no regions sign for
)

func (c *Config) setDefaults() {
	if c.Stall <= 0 {
		c.Stall = defaultStall
	}
	if c.Attempts <= 0 {
		c.Attempts = defaultAttempts
	}
	if c.Connections <= 0 {
		c.Connections = defaultConnections
	}
	if c.CopyLimit <= 0 {
		c.CopyLimit = maxCopySize
	}
	if c.CopyPart <= 0 {
		c.CopyPart = defaultCopyPart
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// usage is a mistake in the configuration: what, and what to do about it.
func usage(object, what, hint string) *protocol.Error {
	return &protocol.Error{Op: "read the configuration of", Object: object, Kind: protocol.KindUsage, Err: errors.New(what), Hint: hint}
}

// check reports the first mistake that can be seen without asking anybody.
func (c *Config) check() error {
	switch {
	case c.Bucket == "":
		return usage("[s3]", "no bucket is named", `set bucket = "…" in [s3]`)
	case !bucketName(c.Bucket):
		return usage("bucket "+c.Bucket, "this cannot be the name of a bucket",
			"bucket names have 3 to 63 lower-case letters, digits, dots and hyphens, without a slash or s3://")
	case c.AccessKeyID == "" && c.SecretAccessKey != "":
		return usage("[s3]", "secret_access_key is set and access_key_id is not", "set both, or none for the usual AWS chain")
	case c.AccessKeyID != "" && c.SecretAccessKey == "":
		return usage("[s3]", "access_key_id is set and secret_access_key is not", "set both, or none for the usual AWS chain")
	case c.AccessKeyID != "" && c.Profile != "":
		return usage("[s3]", "both access_key_id and profile are set", "set one of them")
	}
	_, err := c.endpointURL()
	return err
}

// bucketName reports whether s may name a bucket. Beside today's rules it lets through what old buckets and other
// servers have: upper case, underscores and up to 255 bytes (Amazon S3 User Guide, "Bucket naming rules").
func bucketName(s string) bool {
	if len(s) < 3 || len(s) > 255 || strings.Contains(s, "..") || s[0] == '.' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	}) < 0
}

// endpointURL returns the endpoint, or nil for AWS. The text of its errors leaves out what may be a password.
func (c *Config) endpointURL() (*url.URL, error) {
	if c.Endpoint == "" {
		return nil, nil
	}
	const hint = `write it as "https://host" or "http://host:port"`
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil:
		return nil, usage("[s3] endpoint", "it is not a URL", hint)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, usage("[s3] endpoint", "it begins neither with http:// nor with https://", hint)
	case u.Hostname() == "":
		return nil, usage("[s3] endpoint", "it names no host", hint)
	case u.User != nil:
		return nil, usage("[s3] endpoint", "it holds a user name", "keys belong into access_key_id and secret_access_key")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, usage("[s3] endpoint", `it holds a "?" or a "#"`, hint)
	}
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), ""
	return u, nil
}

// pathStyle reports whether the bucket has to be named in the path under the endpoint u.
func (c *Config) pathStyle(u *url.URL) bool {
	host := u.Hostname()
	_, err := netip.ParseAddr(host)
	return c.PathStyle || err == nil || !strings.Contains(host, ".") || u.Scheme == "https" && strings.Contains(c.Bucket, ".") ||
		strings.ToLower(c.Bucket) != c.Bucket || strings.Contains(c.Bucket, "_")
}

// loopback reports whether requests to u stay on this machine.
func loopback(u *url.URL) bool {
	host := u.Hostname()
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
