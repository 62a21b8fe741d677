package agent

import (
	"context"
	"log/slog"
	"net/http"

	"s3apu/internal/bucket"
)

// OpenBucket returns the named bucket of the configured target, for a command that runs for a moment. It asks nothing.
func OpenBucket(ctx context.Context, cfg *Config, name string) (*bucket.Bucket, error) {
	return openBucket(ctx, cfg, name, nil, nil)
}

// openBucket opens a bucket over a shared transport; nil: one of its own.
func openBucket(ctx context.Context, cfg *Config, name string, transport http.RoundTripper, log *slog.Logger) (*bucket.Bucket, error) {
	s := cfg.S3
	b := bucket.Config{
		Bucket: name, Region: s.Region, Endpoint: s.Endpoint, PathStyle: s.PathStyle,
		AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, SessionToken: s.SessionToken, Profile: s.Profile,
		ACL: s.ACL, StorageClass: s.StorageClass, UserAgent: "s3apu", Connections: connections(cfg), Log: log,
	}
	if s.AccessKeyID != "" && cfg.File != "" {
		b.Keys = cfg.keysFromFile
	}
	if transport != nil {
		b.Transport = transport
	} else {
		own, err := bucket.NewTransport(bucket.TransportConfig{Connections: connections(cfg), CAFile: s.CAFile})
		if err != nil {
			return nil, err
		}
		b.Transport = own
	}
	return bucket.Open(ctx, b)
}

// keysFromFile reads the keys again from the file and the environment of the process, so that a rotated key heals a
// refused one without a restart.
func (c *Config) keysFromFile(context.Context) (bucket.Keys, error) {
	fresh, err := Load(c.File, c.environ())
	if err != nil {
		return bucket.Keys{}, err
	}
	return bucket.Keys{AccessKeyID: fresh.S3.AccessKeyID, SecretAccessKey: fresh.S3.SecretAccessKey, SessionToken: fresh.S3.SessionToken}, nil
}

// connections is how many requests may run at the same time to one host: workers of every bucket, parts, and a few for
// listings and probes.
func connections(cfg *Config) int {
	return len(cfg.Buckets())*(max(cfg.Worker.MaxWorkers, 1)+partBudget) + 4
}
