package bucket_test

import (
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

// alone takes the AWS of whoever runs the test out of its way.
func alone(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": filepath.Join(home, "config"),
		"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(home, "credentials"), "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "",
		"AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "HOME": home} {
		t.Setenv(name, value)
	}
}

func TestOpenRefuses(t *testing.T) {
	alone(t)
	good := bucket.Config{Bucket: "b-1", Endpoint: "http://127.0.0.1:1", AccessKeyID: "id", SecretAccessKey: secret}
	for name, change := range map[string]func(*bucket.Config){
		"NoBucket":        func(c *bucket.Config) { c.Bucket = "" },
		"BucketWithSlash": func(c *bucket.Config) { c.Bucket = "b/c" },
		"BucketWithURL":   func(c *bucket.Config) { c.Bucket = "s3://b" },
		"NotAURL":         func(c *bucket.Config) { c.Endpoint = "http://[::1" },
		"NoScheme":        func(c *bucket.Config) { c.Endpoint = "127.0.0.1:9000" },
		"OtherScheme":     func(c *bucket.Config) { c.Endpoint = "ftp://h" },
		"NoHost":          func(c *bucket.Config) { c.Endpoint = "http://:9000" },
		"KeyInEndpoint":   func(c *bucket.Config) { c.Endpoint = "http://id:" + secret + "@h" },
		"Query":           func(c *bucket.Config) { c.Endpoint = "http://h/?x=1" },
		"NoSecret":        func(c *bucket.Config) { c.SecretAccessKey = "" },
		"NoID":            func(c *bucket.Config) { c.AccessKeyID = "" },
		"KeyAndProfile":   func(c *bucket.Config) { c.Profile = "p" },
		"NoSuchProfile":   func(c *bucket.Config) { c.AccessKeyID, c.SecretAccessKey, c.Profile = "", "", "nobody" },
		"NoRegion":        func(c *bucket.Config) { c.Endpoint = "" },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			change(&cfg)
			_, err := bucket.Open(t.Context(), cfg)
			if e := failed(t, err, protocol.KindUsage); e.Hint == "" {
				t.Errorf("no hint: %v", e)
			}
			if s := fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg); name != "KeyInEndpoint" && strings.Contains(s, secret) {
				t.Errorf("the configuration prints its secret: %s", s)
			}
		})
	}
	b, err := bucket.Open(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	_, err = bucket.NewTransport(bucket.TransportConfig{CAFile: os.DevNull})
	check(t, err, protocol.KindUsage)
	_, err = bucket.NewTransport(bucket.TransportConfig{CAFile: "/no/such/file"})
	check(t, err, protocol.KindUsage)
}

// seen is a transport that answers everything itself and keeps the last request.
type seen struct{ last *http.Request }

func (s *seen) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	s.last = r
	return &http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Request: r, Body: http.NoBody,
		Header: http.Header{"Etag": {fmt.Sprintf(`"%x"`, md5.Sum(body))}}}, nil
}

// TestWhereRequestsGo looks at the requests themselves, those to AWS too.
func TestWhereRequestsGo(t *testing.T) {
	alone(t)
	for _, c := range []struct{ name, endpoint, region, bucket, want string }{
		{"AWS", "", "eu-central-1", "my-bucket", "https://my-bucket.s3.eu-central-1.amazonaws.com/a%20b/%C3%A9"},
		{"AWSDots", "", "eu-central-1", "my.bucket", "https://s3.eu-central-1.amazonaws.com/my.bucket/a%20b/%C3%A9"},
		{"China", "", "cn-north-1", "my-bucket", "https://my-bucket.s3.cn-north-1.amazonaws.com.cn/a%20b/%C3%A9"},
		{"IP", "http://192.0.2.7:9000", "", "my-bucket", "http://192.0.2.7:9000/my-bucket/a%20b/%C3%A9"},
		{"IPv6", "http://[2001:db8::1]:9000/", "", "my-bucket", "http://[2001:db8::1]:9000/my-bucket/a%20b/%C3%A9"},
		{"Localhost", "http://localhost:9000", "", "my-bucket", "http://localhost:9000/my-bucket/a%20b/%C3%A9"},
		{"Host", "https://s3.example.com", "", "my-bucket", "https://my-bucket.s3.example.com/a%20b/%C3%A9"},
		{"HostDots", "https://s3.example.com", "", "my.bucket", "https://s3.example.com/my.bucket/a%20b/%C3%A9"},
		{"Base", "https://192.0.2.7/s3/", "", "my-bucket", "https://192.0.2.7/s3/my-bucket/a%20b/%C3%A9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := &seen{}
			b := reach(t, c.endpoint, func(cfg *bucket.Config) {
				cfg.Bucket, cfg.Region, cfg.Transport, cfg.ACL, cfg.StorageClass, cfg.UserAgent = c.bucket, c.region, tr, "public-read", "STANDARD_IA", "s3apu-agent/1.2"
			})
			for range 2 { // the second from memory
				_, err := b.Put(context.Background(), "a b/é", protocol.Headers{ContentType: "text/css", Meta: map[string]string{"mode": "040755"}}, strings.NewReader("x"), 1, md5.Sum([]byte("x")))
				if err != nil {
					t.Fatal(err)
				}
				if got, _, _ := strings.Cut(tr.last.URL.String(), "?"); got != c.want {
					t.Errorf("went to %s, not %s", got, c.want)
				}
			}
			region := c.region
			if region == "" {
				region = "us-east-1"
			}
			h := tr.last.Header
			for name, want := range map[string]string{"Authorization": "/" + region + "/s3/aws4_request", "X-Amz-Acl": "public-read", "X-Amz-Storage-Class": "STANDARD_IA",
				"Content-Md5": "==", "X-Amz-Meta-Mode": "040755", "Content-Type": "text/css", "User-Agent": "s3apu-agent/1.2"} {
				if got := h.Get(name); got == "" || !strings.Contains(got, want) {
					t.Errorf("%s is %q", name, got)
				}
			}
			for _, signed := range []string{"content-md5", "host", "x-amz-acl", "x-amz-meta-mode"} {
				if !strings.Contains(h.Get("Authorization"), signed) {
					t.Errorf("%s is not signed", signed)
				}
			}
			for name := range h {
				if low := strings.ToLower(name); strings.Contains(low, "checksum") || strings.Contains(low, "trailer") || low == "content-encoding" {
					t.Errorf("header %s, which some servers refuse", name)
				}
			}
			wantHash := strings.HasPrefix(c.want, "https") || c.name == "Localhost"
			if got := h.Get("X-Amz-Content-Sha256") == "UNSIGNED-PAYLOAD"; got != wantHash {
				t.Errorf("payload hash is %q", h.Get("X-Amz-Content-Sha256"))
			}
		})
	}
}

// TestChain reads keys from where AWS keeps them, and again when they were refused.
func TestChain(t *testing.T) {
	alone(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=good/") {
			answer(403, "InvalidAccessKeyId", "")(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	write := func(id string) {
		t.Helper()
		text := "[default]\naws_access_key_id = other\naws_secret_access_key = x\n[mine]\naws_access_key_id = " + id + "\naws_secret_access_key = " + secret + "\n"
		if err := os.WriteFile(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	chain := func(profile string) func(*bucket.Config) {
		return func(c *bucket.Config) {
			c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Profile = "", "", "", profile
		}
	}
	none := reach(t, srv.URL, chain(""))
	if e := failed(t, none.Probe(t.Context()), protocol.KindTarget); !strings.Contains(e.Hint, "access_key_id") {
		t.Errorf("%+v", e)
	}
	if found := none.Check(t.Context(), ""); len(found) != 1 || found[0].What != bucket.FindCredentials || found[0].OK {
		t.Errorf("%+v", found)
	}
	write("bad")
	b := reach(t, srv.URL, chain("mine"))
	check(t, b.Probe(t.Context()), protocol.KindTarget)
	write("good")
	if err := b.Probe(t.Context()); err != nil {
		t.Errorf("after the file was mended: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "good")
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	if err := reach(t, srv.URL, chain("")).Probe(t.Context()); err != nil {
		t.Errorf("from the environment: %v", err)
	}
}

// BenchmarkPut sends small bodies to a server that keeps nothing. Its own work is in the figures.
func BenchmarkPut(b *testing.B) {
	const content = "0123456789abcdef"
	body := strings.Repeat(content, 256)
	sum := md5.Sum([]byte(body))
	etag := fmt.Sprintf(`"%x"`, sum)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["ETag"] = []string{etag}
	}))
	defer srv.Close()
	h := protocol.Headers{ContentType: "text/plain", Meta: map[string]string{"mode": "0100644", "uid": "1000", "gid": "1000", "mtime": "1700000000.123456789"}}
	for _, c := range []struct {
		name string
		cfg  bucket.Config
	}{
		{"loopback", bucket.Config{Endpoint: srv.URL}},
		{"signed-payload", bucket.Config{Endpoint: strings.Replace(srv.URL, "127.0.0.1", "s3.invalid", 1), PathStyle: true, Transport: redirected(srv.Listener.Addr().String())}},
	} {
		b.Run(c.name, func(b *testing.B) {
			cfg := c.cfg
			cfg.Bucket, cfg.AccessKeyID, cfg.SecretAccessKey = "null", "id", secret
			bk, err := bucket.Open(b.Context(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer bk.Close()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bk.Put(b.Context(), "a/key.txt", h, strings.NewReader(body), int64(len(body)), sum); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("bare", func(b *testing.B) { // no SDK and no signature: what HTTP alone costs
		b.ReportAllocs()
		for b.Loop() {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodPut, srv.URL+"/null/a/key.txt", strings.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// redirected is a transport whose every connection goes to addr.
func redirected(addr string) *bucket.Transport {
	t, err := bucket.NewTransport(bucket.TransportConfig{})
	if err != nil {
		panic(err)
	}
	dial := t.DialContext
	t.DialContext = dialTo(dial, addr)
	return t
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

func dialTo(dial dialer, to string) dialer {
	return func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, to) }
}
