package bucket

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"s3apu/protocol"
)

// keyring hands out credentials and reads them again when they expire or were refused.
type keyring struct {
	cache *aws.CredentialsCache

	// sent is what of the credentials in use crosses the wire, so that a server could send it back: the session token, and the
	// id of the access key, which is no secret but nobody's business.
	sent atomic.Pointer[[2]string]

	suspect atomic.Bool // a request was refused since the last probe

	mu   sync.Mutex
	last time.Time // when refused last made the cache forget
}

// rereadGap is the least time between two re-readings that refused requests cause: a guess that keeps a hundred
// refused requests at once from being a hundred calls of a token service.
const rereadGap = 5 * time.Second

// errNoKeys is what a request fails with when no credentials can be had. It is told apart by type.
type errNoKeys struct{ err error }

// lastAsked says in other words that the last source of AWS's chain had nothing: the role of an instance, which is asked when
// nothing else is set, and is hardly ever what somebody forgot.
func lastAsked(err error) error {
	var op *smithy.OperationError
	if errors.As(err, &op) && op.Service() == "ec2imds" {
		return errChain{err}
	}
	return err
}

type errChain struct{ error }

func (errChain) Error() string {
	return "there are none in the configuration, the environment, AWS's files or the instance's role"
}

func (e errChain) Unwrap() error { return e.error }

func (e *errNoKeys) Error() string { return "no credentials: " + e.err.Error() }
func (e *errNoKeys) Unwrap() error { return e.err }

// openKeyring finds out where the credentials come from, and the region if the configuration leaves it to AWS's
// environment and files. It reads these files but asks no service.
func openKeyring(ctx context.Context, cfg *Config) (*keyring, string, error) {
	k := &keyring{}
	region := cfg.Region
	fetch := func(context.Context) (aws.Credentials, error) {
		return awsKeys(Keys{cfg.AccessKeyID, cfg.SecretAccessKey, cfg.SessionToken})
	}
	switch {
	case cfg.Keys != nil:
		fetch = func(ctx context.Context) (aws.Credentials, error) {
			keys, err := cfg.Keys(ctx)
			if err != nil {
				return aws.Credentials{}, &errNoKeys{err}
			}
			return awsKeys(keys)
		}
	case cfg.AccessKeyID == "":
		fetch = func(ctx context.Context) (aws.Credentials, error) {
			loaded, err := loadAWS(ctx, cfg.Profile)
			if err != nil {
				return aws.Credentials{}, &errNoKeys{err}
			}
			keys, err := loaded.Credentials.Retrieve(ctx)
			if err != nil {
				return aws.Credentials{}, &errNoKeys{lastAsked(err)}
			}
			return keys, nil
		}
	}
	if cfg.Keys == nil && cfg.AccessKeyID == "" || region == "" && cfg.Endpoint == "" {
		loaded, err := loadAWS(ctx, cfg.Profile)
		if err != nil {
			return nil, "", &protocol.Error{Op: "read", Object: "the AWS configuration", Kind: protocol.KindUsage, Err: err,
				Hint: "check AWS_* in the environment, ~/.aws/config, ~/.aws/credentials and profile in [s3]"}
		}
		if region == "" {
			region = loaded.Region
		}
	}
	k.cache = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		keys, err := fetch(ctx)
		if err == nil {
			k.sent.Store(&[2]string{keys.SessionToken, keys.AccessKeyID})
		}
		return keys, err
	}))
	return k, region, nil
}

func awsKeys(k Keys) (aws.Credentials, error) {
	if k.AccessKeyID == "" || k.SecretAccessKey == "" {
		return aws.Credentials{}, &errNoKeys{errors.New("the access key is empty")}
	}
	return aws.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken,
		Source: "s3apu"}, nil
}

// loadAWS reads what AWS's own tools read: the environment and the shared files.
func loadAWS(ctx context.Context, profile string) (aws.Config, error) {
	opts := []func(*config.LoadOptions) error{config.WithLogger(logging.Nop{})} // it would write past the agent's log
	if profile != "" {
		opts = append(opts, config.WithSharedConfigProfile(profile))
	}
	loaded, err := config.LoadDefaultConfig(ctx, opts...)
	if err == nil && loaded.Region == "" {
		loaded.Region = os.Getenv("AWS_DEFAULT_REGION") // which the command line of AWS knows, and its Go SDK does not
	}
	return loaded, err
}

// forget makes the next request read the credentials again.
func (k *keyring) forget() { k.cache.Invalidate() }

// refused is told of every request that S3 turned down for reasons that new credentials may cure.
func (k *keyring) refused() {
	k.suspect.Store(true)
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); now.Sub(k.last) >= rereadGap {
		k.last = now
		k.forget()
	}
}

// again is told that somebody asks whether a refusal still stands. Such questions are few.
func (k *keyring) again() {
	if k.suspect.Swap(false) {
		k.forget()
	}
}

// signer signs requests. The SDK's keeps the keys that it derives from a secret under the id of the access key alone, and
// so goes on with the old secret when only that was corrected: with a new secret we take a new one.
type signer struct {
	now  atomic.Pointer[signing]
	skew atomic.Int64 // how far the SDK takes the server's clock to be ahead of ours, in nanoseconds
}

// signing is what signs with one secret. Safe for concurrent use.
type signing struct {
	secret string
	v4     *v4.Signer
	day    atomic.Pointer[dayKey] // of signPlain; nil: none was needed yet
}

// SignHTTP is what the SDK calls for each request, with the server's time as it believes it to be.
func (s *signer) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time, opts ...func(*v4.SignerOptions)) error {
	s.skew.Store(int64(time.Until(at)))
	return s.signingWith(c.SecretAccessKey).v4.SignHTTP(ctx, c, r, hash, service, region, at, opts...)
}

// serverTime returns the server's time as the SDK last believed it to be.
func (s *signer) serverTime() time.Time { return time.Now().Add(time.Duration(s.skew.Load())) }

// signingWith returns what signs with a secret: what is in use, or a new one if the secret is another.
func (s *signer) signingWith(secret string) *signing {
	now := s.now.Load()
	if now == nil || now.secret != secret {
		now = &signing{secret: secret, v4: v4.NewSigner(func(o *v4.SignerOptions) {
			o.DisableURIPathEscaping = true // S3 signs the path as it is sent (Amazon S3 API, "Signature Version 4")
		})}
		s.now.Store(now)
	}
	return now
}

// redact takes what we have sent of our credentials out of a text that came from a server.
func (k *keyring) redact(text string) string {
	sent := k.sent.Load()
	if sent == nil {
		return text
	}
	for _, s := range sent {
		if s != "" {
			text = strings.ReplaceAll(text, s, "•••")
		}
	}
	return text
}
