package buckettest

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"slices"
	"strings"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

func (s *suite) wrongSecret() {
	cfg := s.cfg
	cfg.SecretAccessKey = "not-the-secret-at-all"
	b := open(s.T, cfg)
	_, err := b.Put(s.Context(), "k", headers, strings.NewReader("x"), 1, md5.Sum([]byte("x")))
	if e := s.failed(err, protocol.KindTarget); e.Hint == "" || e.Status != 403 {
		s.Errorf("%v", e)
	}
	if err := b.Probe(s.Context()); err == nil {
		s.Error("Probe: no error")
	} else {
		s.kind(err, protocol.KindTarget)
	}
	found := b.Check(s.Context(), "")
	if len(found) == 0 || found[len(found)-1].What != bucket.FindCredentials || found[len(found)-1].OK || found[len(found)-1].Hint == "" {
		s.Errorf("Check: %+v", found)
	}
	// The same with a key that heals.
	good := bucket.Keys{AccessKeyID: s.cfg.AccessKeyID, SecretAccessKey: s.cfg.SecretAccessKey}
	now := bucket.Keys{AccessKeyID: s.cfg.AccessKeyID, SecretAccessKey: "old"}
	cfg.AccessKeyID, cfg.SecretAccessKey = "", ""
	cfg.Keys = func(context.Context) (bucket.Keys, error) { return now, nil }
	b = open(s.T, cfg)
	s.kind(b.Probe(s.Context()), protocol.KindTarget)
	now = good
	b.Refresh()
	if err := b.Probe(s.Context()); err != nil {
		s.Errorf("Probe with the new key: %v", err)
	}
}

func (s *suite) noBucket() {
	cfg := s.cfg
	cfg.Bucket = "there-is-no-such-bucket"
	b := open(s.T, cfg)
	_, err := b.Put(s.Context(), "k", headers, strings.NewReader("x"), 1, md5.Sum([]byte("x")))
	if e := s.failed(err, protocol.KindTarget); e.Hint == "" {
		s.Errorf("no hint: %v", e)
	}
	s.kind(b.Probe(s.Context()), protocol.KindTarget)
	for _, err := range b.List(s.Context(), "", "", "") {
		s.kind(err, protocol.KindTarget)
	}
	s.kind(b.Delete(s.Context(), "k"), protocol.KindTarget)
	s.kind(b.StartUpload(s.Context(), &protocol.Upload{Key: "k"}, headers), protocol.KindTarget)
	found := b.Check(s.Context(), "")
	if n := len(found); n == 0 || found[n-1].What != bucket.FindBucket || found[n-1].OK || found[n-1].Hint == "" {
		s.Errorf("Check: %+v", found)
	}
}

func (s *suite) check() {
	if err := s.b.Probe(s.Context()); err != nil {
		s.Errorf("Probe: %v", err)
	}
	var what []string
	for _, f := range s.b.Check(s.Context(), "in/here/") {
		what = append(what, f.What)
		if !f.OK {
			s.Errorf("%+v", f)
		}
	}
	all := []string{bucket.FindEndpoint, bucket.FindClock, bucket.FindCredentials, bucket.FindBucket, bucket.FindList, bucket.FindWrite, bucket.FindRead, bucket.FindDelete}
	if !slices.Equal(what, all) {
		s.Errorf("looked at %q", what)
	}
	if got := s.keys(s.b, "", "", ""); len(got) != 0 {
		s.Errorf("left over: %q", got)
	}
}

func (s *suite) cancelled() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	_, err := s.b.Put(ctx, "k", headers, strings.NewReader("x"), 1, md5.Sum([]byte("x")))
	s.kind(err, protocol.KindTransient)
	if !errors.Is(err, context.Canceled) {
		s.Errorf("%v", err)
	}
	for _, err := range s.b.List(ctx, "", "", "") {
		s.kind(err, protocol.KindTransient)
	}
}

// together runs all kinds of requests at the same time, for the race detector.
func (s *suite) together() {
	const workers, each = 8, 6
	errs := make(chan error, workers)
	for w := range workers {
		go func() {
			errs <- func() error {
				for i := range each {
					key := protocol.Key(fmt.Sprintf("w%d/%d", w, i))
					content := string(key)
					if _, err := s.b.Put(s.Context(), key, headers, strings.NewReader(content), int64(len(content)), md5.Sum([]byte(content))); err != nil {
						return err
					}
					if o, err := s.b.Head(s.Context(), key); err != nil || o.ETag != hexMD5(content) {
						return errors.Join(err, fmt.Errorf("%s: %+v", key, o))
					}
					if _, err := s.b.Copy(s.Context(), protocol.ObjectID{Bucket: s.b.Name(), Key: key}, key+"-copy", nil, ""); err != nil {
						return err
					}
					for _, err := range s.b.List(s.Context(), key, "", "") {
						if err != nil {
							return err
						}
					}
					if err := s.b.Delete(s.Context(), key); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for range workers {
		if err := <-errs; err != nil {
			s.Error(err)
		}
	}
	if got := s.keys(s.b, "", "", ""); len(got) != workers*each {
		s.Errorf("%d keys, not %d", len(got), workers*each)
	}
}
