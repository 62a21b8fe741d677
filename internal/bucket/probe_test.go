package bucket_test

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

// TestPutOnly: credentials that may write and nothing else are enough for Probe, and Check says what they lack.
func TestPutOnly(t *testing.T) {
	var allowed atomic.Bool
	var made atomic.Int64
	b := against(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sum := md5.Sum(body)
		switch {
		case r.Method != http.MethodPut || !allowed.Load() || !strings.HasPrefix(r.URL.Path, "/faulty/a/"):
			answer(403, "AccessDenied", "Access Denied")(w, r)
		case r.Header.Get("Content-Md5") == "AAAAAAAAAAAAAAAAAAAAAA==":
			answer(400, "BadDigest", "")(w, r)
		default:
			made.Add(1)
			w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sum))
		}
	})
	check(t, b.Probe(t.Context()), protocol.KindTarget)
	allowed.Store(true)
	if _, err := put(b, "x"); err != nil {
		t.Fatal(err)
	}
	if err := b.Probe(t.Context()); err != nil {
		t.Errorf("Probe: %v", err)
	}
	if made.Load() != 1 {
		t.Errorf("%d objects made", made.Load())
	}
	allowed.Store(false)
	check(t, b.Probe(t.Context()), protocol.KindTarget)
	allowed.Store(true)
	bad := map[string]bool{}
	for _, f := range b.Check(t.Context(), "a/") {
		if !f.OK {
			bad[f.What] = true
			if f.Hint == "" {
				t.Errorf("no hint: %+v", f)
			}
		}
	}
	if len(bad) != 3 || !bad[bucket.FindList] || !bad[bucket.FindRead] || !bad[bucket.FindDelete] {
		t.Errorf("found missing: %v", bad)
	}
}

// TestClock: a wrong clock is a finding, parks the target once, and is made up for after that.
func TestClock(t *testing.T) {
	const ahead = time.Hour
	b := against(t, func(w http.ResponseWriter, r *http.Request) {
		now := time.Now().Add(ahead)
		w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		at, _ := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if now.Sub(at).Abs() > 15*time.Minute {
			answer(403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum(body)))
	})
	_, err := put(b, "x")
	if e := failed(t, err, protocol.KindTarget); !strings.Contains(e.Hint, "clock") {
		t.Errorf("%+v", e)
	}
	if err := b.Probe(t.Context()); err != nil {
		t.Errorf("Probe after the first answer told the time: %v", err)
	}
	if _, err := put(b, "x"); err != nil {
		t.Errorf("Put after the first answer told the time: %v", err)
	}
}

// TestKeysAreReadAgainWhereTheBucketHides: a server may say of a bucket to keys that it does not know that there is none.
func TestKeysAreReadAgainWhereTheBucketHides(t *testing.T) {
	asked := 0
	b := against(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=new/") {
			answer(404, "NoSuchBucket", "")(w, r)
		}
	}, func(c *bucket.Config) {
		c.AccessKeyID, c.SecretAccessKey, c.SessionToken = "", "", ""
		c.Keys = func(context.Context) (bucket.Keys, error) {
			if asked++; asked == 1 {
				return bucket.Keys{AccessKeyID: "old", SecretAccessKey: secret}, nil
			}
			return bucket.Keys{AccessKeyID: "new", SecretAccessKey: secret}, nil
		}
	})
	failed(t, b.Probe(t.Context()), protocol.KindTarget)
	if err := b.Probe(t.Context()); err != nil {
		t.Errorf("with the new key: %v", err)
	}
}

func TestKeysAreReadAgain(t *testing.T) {
	var asked atomic.Int64
	b := against(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=new/") {
			answer(403, "InvalidAccessKeyId", "")(w, r)
		}
	}, func(c *bucket.Config) {
		c.AccessKeyID, c.SecretAccessKey, c.SessionToken = "", "", ""
		c.Keys = func(context.Context) (bucket.Keys, error) {
			switch asked.Add(1) {
			case 1:
				return bucket.Keys{AccessKeyID: "old", SecretAccessKey: secret}, nil
			case 2:
				return bucket.Keys{}, errors.New("the file is being written")
			}
			return bucket.Keys{AccessKeyID: "new", SecretAccessKey: secret}, nil
		}
	})
	// The first probe is refused with the old key, and its second request finds none.
	if e := failed(t, b.Probe(t.Context()), protocol.KindTarget); e.Hint == "" {
		t.Errorf("no hint: %v", e)
	}
	if err := b.Probe(t.Context()); err != nil {
		t.Errorf("with the new key: %v", err)
	}
	if asked.Load() != 3 {
		t.Errorf("asked %d times", asked.Load())
	}
}
