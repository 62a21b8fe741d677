//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"s3apu/internal/s3servers"
)

// refusal is an S3 that answers every request with the same error while it is on, and hands them on while it is off.
type refusal struct {
	status   int
	code     string
	on       atomic.Bool
	requests atomic.Int64 // refused ones
}

func (f *refusal) serve(t *testing.T, upstream string) string {
	t.Helper()
	proxy := proxyTo(t, upstream)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !f.on.Load() {
			proxy.ServeHTTP(w, r)
			return
		}
		f.requests.Add(1)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(f.status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>refused by the test</Message></Error>`, f.code)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestRefusalsParkTheTarget goes through the answers that no single file is to blame for. The first stops the work with
// one clear line, a few probes ask whether it still holds, changes are kept meanwhile, and it goes on by itself.
func TestRefusalsParkTheTarget(t *testing.T) {
	gate(t)
	srv := s3servers.Start(t, s3servers.VersityGW)
	for i, f := range []*refusal{
		{status: 401, code: "Unauthorized"},
		{status: 403, code: "AccessDenied"},
		{status: 403, code: "InvalidAccessKeyId"},
		{status: 403, code: "SignatureDoesNotMatch"},
		{status: 403, code: "RequestTimeTooSkewed"},
		{status: 400, code: "ExpiredToken"},
		{status: 404, code: "NoSuchBucket"},
	} {
		t.Run(f.code, func(t *testing.T) {
			t.Parallel()
			name := fmt.Sprintf("e2e-refusal-%d", i)
			s3 := srv.Bucket(t, name)
			b := boxFor(t, srv, name)
			b.endpoint = f.serve(t, srv.Endpoint)
			b.save(t)
			b.put(t, "before", []byte("x"))
			a := b.startReady(t)
			b.equal(t, s3, "the feed")

			f.on.Store(true)
			const files, pause = 300, 4 * time.Second
			for i := range files {
				b.put(t, fmt.Sprintf("d%d/file %d", i%7, i), noise(uint64(i), 200))
			}
			must(t, os.Remove(filepath.Join(b.tree, "before")))
			eventually(t, settledIn, func() error {
				if !a.log.has("the bucket cannot be worked with") {
					return fmt.Errorf("nothing says that the bucket cannot be worked with:\n%s", a.log.tail(10))
				}
				return nil
			})
			<-time.After(time.Second) // what was under way when it was parked
			asked := f.requests.Load()
			<-time.After(pause) // the time that is measured
			probes := f.requests.Load() - asked
			if most := int64(5 * pause / time.Second); probes == 0 || probes > most {
				t.Errorf("%d requests in %v of the refusal, want 1 to %d", probes, pause, most)
			}
			if n := a.log.count("level=WARN") + a.log.count("level=ERROR"); n != 1 {
				t.Errorf("%d warnings and errors, want one:\n%s", n, a.log.tail(30))
			}
			f.on.Store(false)
			began := time.Now()
			b.equal(t, s3, "the refusal")
			t.Logf("%s: parked after %d refusals, %d probes in %v, all there %v after its end", f.code, asked, probes, pause,
				time.Since(began).Round(10*time.Millisecond))
			if _, out, _ := b.run(t, "s3apu-agent", "queue", "failed"); strings.Contains(out, "file ") {
				t.Errorf("files were given up: %s", out)
			}
			a.stop(t)
		})
	}
}

// TestRotatedKeysHealWithoutARestart changes the server's keys under a running agent, and then those in the
// configuration, or in the credentials file that AWS's own tools read: it goes on by itself.
func TestRotatedKeysHealWithoutARestart(t *testing.T) {
	gate(t)
	for _, kind := range realServers {
		for _, from := range []string{"configuration", "credentials file"} {
			t.Run(string(kind)+"/"+from, func(t *testing.T) {
				srv := s3servers.Start(t, kind)
				s3 := srv.Bucket(t, "e2e-rotate")
				b := boxFor(t, srv, "e2e-rotate")
				save := b.save
				if from != "configuration" {
					save = func(t *testing.T) {
						t.Helper()
						must(t, os.MkdirAll(filepath.Join(b.dir, ".aws"), 0o700))
						text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", b.key, b.secret)
						must(t, os.WriteFile(filepath.Join(b.dir, ".aws", "credentials"), []byte(text), 0o600))
						keys := *b
						keys.key, keys.secret = "", ""
						keys.save(t)
					}
				}
				save(t)
				b.put(t, "before", []byte("x"))
				a := b.startReady(t)
				b.equal(t, s3, "the feed")

				srv.Rotate(t, "s3apu-other-key", "s3apu-other-secret")
				const files = 100
				for i := range files {
					b.put(t, fmt.Sprintf("file %d", i), noise(uint64(i), 200))
				}
				eventually(t, settledIn, func() error {
					if !a.log.has("the bucket cannot be worked with") {
						return fmt.Errorf("nothing says that the bucket cannot be worked with:\n%s", a.log.tail(10))
					}
					return nil
				})
				began := time.Now()
				b.key, b.secret = srv.AccessKey, srv.SecretKey
				save(t)
				b.equal(t, openBucket(t, srv, b.bucket), "the keys were corrected")
				t.Logf("everything was there %v after the keys were corrected", time.Since(began).Round(10*time.Millisecond))
				for _, secret := range []string{"s3apu-test-secret", "s3apu-other-secret"} {
					if a.log.has(secret) {
						t.Error("the log holds a secret")
					}
				}
				a.stop(t)
			})
		}
	}
}
