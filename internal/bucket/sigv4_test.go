package bucket

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"pgregory.net/rapid"
)

// fieldsOf returns the headers of a request that are signed, and those that a signature needs, in their order.
func fieldsOf(c aws.Credentials, r *http.Request, stamp string) (fields []field) {
	r.Header["X-Amz-Date"] = []string{stamp}
	if c.SessionToken != "" {
		r.Header["X-Amz-Security-Token"] = []string{c.SessionToken}
	}
	fields = append(fields, field{name: "Host", value: r.Host})
	if r.ContentLength > 0 {
		fields = append(fields, field{name: "Content-Length", value: strconv.FormatInt(r.ContentLength, 10)})
	}
	for name, values := range r.Header {
		if meta, ok := strings.CutPrefix(name, metaPrefix); ok {
			fields = append(fields, field{name: meta, value: values[0], meta: true})
		} else if name != "User-Agent" {
			fields = append(fields, field{name: name, value: values[0]})
		}
	}
	whole := func(f field) string {
		if f.meta {
			return metaPrefix + f.name
		}
		return f.name
	}
	slices.SortFunc(fields, func(a, b field) int { return compareFold(whole(a), whole(b)) })
	return fields
}

// ours returns a request as we would make it.
func ours(c aws.Credentials, r *http.Request, path, region, stamp string) *request {
	base := *r.URL
	base.Host = r.Host
	return &request{at: location{base: base, region: region}, path: path, size: r.ContentLength, head: fieldsOf(c, r, stamp)}
}

// signed signs a request with ours, if it is plain.
func signed(s *signing, c aws.Credentials, r *http.Request, path, hash, region string, at time.Time) bool {
	stamp := at.UTC().Format(stampFormat)
	auth, ok := s.signPlain(c.AccessKeyID, ours(c, r, path, region, stamp), hash, stamp)
	r.Header["Authorization"] = []string{auth}
	return ok
}

// TestOrderOfFields: what is not in order, or there twice, is not signed.
func TestOrderOfFields(t *testing.T) {
	s := new(signer).signingWith("secret")
	for _, c := range []struct {
		names string
		ok    bool
	}{
		{"Host", true}, {"Content-Type Host X-Amz-Acl", true}, {"Host Content-Type", false}, {"Host Host", false}, {"Host host", false},
		{"X-Amz-Date *a *b X-Amz-Storage-Class", true}, {"*b *a", false}, {"*a *A", false}, {"*a X-Amz-Date", false}, {"X-Amz-Meta-A *a", false},
	} {
		r := request{path: "/k"}
		for name := range strings.FieldsSeq(c.names) {
			name, meta := strings.CutPrefix(name, "*")
			r.head = append(r.head, field{name: name, value: "x", meta: meta})
		}
		if _, ok := s.signPlain("id", &r, unsigned, "20261129T080000Z"); ok != c.ok {
			t.Errorf("%s: signed %v", c.names, ok)
		}
	}
}

// TestSignatureOfTheDocument signs the example of the Amazon S3 API Reference, "Signature Calculations for the Authorization
// Header: Transferring Payload in a Single Chunk", "Example: PUT Object".
func TestSignatureOfTheDocument(t *testing.T) {
	keys := aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	const hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
	const want = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, " +
		"SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class, " +
		"Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
	r := &http.Request{Method: http.MethodPut, Host: "examplebucket.s3.amazonaws.com", Header: http.Header{
		"Date": {"Fri, 24 May 2013 00:00:00 GMT"}, "X-Amz-Storage-Class": {"REDUCED_REDUNDANCY"}, "X-Amz-Content-Sha256": {hash},
	}, URL: &url.URL{Scheme: "https", Path: "/test$file.text", RawPath: "/test%24file.text"}}
	s := new(signer).signingWith(keys.SecretAccessKey)
	if !signed(s, keys, r, r.URL.EscapedPath(), hash, "us-east-1", time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)) {
		t.Fatal("it is not plain")
	}
	if got := r.Header.Get("Authorization"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestSignatureIsTheSDKs signs requests of all kinds with the SDK's signer and ours.
func TestSignatureIsTheSDKs(t *testing.T) {
	var s signer
	plain := 0
	rapid.Check(t, func(t *rapid.T) {
		pick := func(what string, of ...string) string { return rapid.SampledFrom(of).Draw(t, what) }
		scheme := pick("scheme", "http", "https")
		host := pick("host", "s3.example.com", "s3.example.com:9000", "127.0.0.1:80", "my.bucket.example.com:443", "[2001:db8::1]:9000", "[2001:db8::1]")
		key := rapid.StringN(0, 20, 60).Draw(t, "key")
		u := &url.URL{Scheme: scheme, Host: host, Path: pick("base", "", "/", "/bucket/") + key}
		head := http.Header{"User-Agent": {"s3apu"}, "Content-Md5": {"1B2M2Y8AsgTpgAmY7PhCfg=="}, "X-Amz-Content-Sha256": {unsigned}}
		for range rapid.IntRange(0, 12).Draw(t, "headers") {
			name := pick("name", "X-Amz-Acl", "X-Amz-Storage-Class", "Content-Type", "X-Amz-Meta-Mode", "X-Amz-Meta-_a", "X-Amz-Meta-Ab",
				"X-Amz-Meta-A", "X-Amz-Meta-A-B", "X-Amz-Meta-A^b", "X-Amz-Meta-1", "X-Other")
			head[name] = []string{pick("value", "", "plain", " led", "trailed ", "two  spaces", "é", "a,b;c=\"d\"", rapid.String().Draw(t, "any"))}
		}
		keys := aws.Credentials{AccessKeyID: "ID", SecretAccessKey: pick("secret", "one", "another"), SessionToken: pick("token", "", "a/token+=")}
		region := pick("region", "us-east-1", "eu-north-1")
		at := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "time"), 0)
		length := rapid.Int64Range(0, 1<<20).Draw(t, "length")
		request := func() *http.Request {
			v := *u
			return &http.Request{Method: http.MethodPut, URL: &v, Host: host, Header: head.Clone(), ContentLength: length}
		}
		with := s.signingWith(keys.SecretAccessKey)
		got, want := request(), request()
		if !signed(with, keys, got, cmp.Or(got.URL.EscapedPath(), "/"), unsigned, region, at) {
			return
		}
		plain++
		if err := with.v4.SignHTTP(t.Context(), keys, want, unsigned, "s3", region, at); err != nil {
			t.Fatal(err)
		}
		if !maps.EqualFunc(got.Header, want.Header, slices.Equal) || got.Host != want.Host || got.URL.String() != want.URL.String() {
			t.Fatalf("ours\n%v %s\nthe SDK's\n%v %s", got.Header, got.URL, want.Header, want.URL)
		}
	})
	if plain == 0 {
		t.Error("no request was plain enough for us")
	}
}

// TestPlainIsUsual sees that what the agent sends is signed by us.
func TestPlainIsUsual(t *testing.T) {
	for _, host := range []string{"my-bucket.s3.eu-central-1.amazonaws.com", "127.0.0.1:9000", "[::1]:9000", "s3.example.com"} {
		r := &http.Request{Method: http.MethodPut, Host: host, ContentLength: 7, URL: &url.URL{Scheme: "https", Path: "/a b/é", RawPath: "/a%20b/%C3%A9"},
			Header: http.Header{"User-Agent": {"s3apu/1"}, "Content-Md5": {"x"}, "Content-Type": {"text/plain; charset=utf-8"}, "X-Amz-Content-Sha256": {unsigned},
				"X-Amz-Meta-Mtime": {"1.5"}, "X-Amz-Meta-Mode": {strings.Repeat("7", 9)}}}
		if !signed(new(signer).signingWith("secret"), aws.Credentials{AccessKeyID: "id"}, r, r.URL.EscapedPath(), unsigned, "us-east-1", time.Now()) {
			t.Errorf("%s: by the SDK", host)
		}
	}
}

func BenchmarkSignature(b *testing.B) {
	with := new(signer).signingWith("secret")
	keys := aws.Credentials{AccessKeyID: "ID", SecretAccessKey: "secret"}
	made := func() *http.Request {
		return &http.Request{Method: http.MethodPut, Host: "127.0.0.1:9000", URL: &url.URL{Scheme: "http", Host: "127.0.0.1:9000", Path: "/bucket/in/d/file.dat"},
			ContentLength: 8000, Header: http.Header{"User-Agent": {"s3apu"}, "Content-Md5": {"x"}, "X-Amz-Content-Sha256": {unsigned}, "X-Amz-Meta-Mtime": {"1.5"}}}
	}
	const stamp = "20261129T080000Z"
	r := ours(keys, made(), "/bucket/in/d/file.dat", "us-east-1", stamp)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := with.signPlain(keys.AccessKeyID, r, unsigned, stamp); !ok {
				b.Fatal("it is not plain")
			}
		}
	})
	b.Run("sdk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := with.v4.SignHTTP(b.Context(), keys, made(), unsigned, "s3", "us-east-1", time.Now()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
