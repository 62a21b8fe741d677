package bucket_test

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

const secret = "the-secret-that-nobody-sees"

// against opens a bucket at a server that h plays.
func against(t *testing.T, h http.HandlerFunc, change ...func(*bucket.Config)) *bucket.Bucket {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return reach(t, srv.URL, change...)
}

func reach(t *testing.T, endpoint string, change ...func(*bucket.Config)) *bucket.Bucket {
	t.Helper()
	cfg := bucket.Config{Bucket: "faulty", Endpoint: endpoint, Region: "us-east-1", AccessKeyID: "id", SecretAccessKey: secret, SessionToken: "the-token"}
	for _, c := range change {
		c(&cfg)
	}
	b, err := bucket.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func put(b *bucket.Bucket, content string) (protocol.Receipt, error) {
	return b.Put(context.Background(), "a/key", protocol.Headers{}, strings.NewReader(content), int64(len(content)), md5.Sum([]byte(content)))
}

// operations is every method that sends a request, as one that returns an error.
var operations = map[string]func(*bucket.Bucket) error{
	"Put": func(b *bucket.Bucket) error { _, err := put(b, "x"); return err },
	"StartUpload": func(b *bucket.Bucket) error {
		return b.StartUpload(context.Background(), &protocol.Upload{Key: "k"}, protocol.Headers{})
	},
	"UploadPart": func(b *bucket.Bucket) error {
		_, err := b.UploadPart(context.Background(), &protocol.Upload{Key: "k", UploadID: "id"}, protocol.Part{Number: 1, Size: 1}, md5.Sum([]byte("x")), strings.NewReader("x"))
		return err
	},
	"FinishUpload": func(b *bucket.Bucket) error {
		_, err := b.FinishUpload(context.Background(), &protocol.Upload{Key: "k", UploadID: "id", Parts: []protocol.Part{{Number: 1, Size: 1, ETag: "x"}}})
		return err
	},
	"Copy": func(b *bucket.Bucket) error {
		_, err := b.Copy(context.Background(), protocol.ObjectID{Bucket: "faulty", Key: "s"}, "k", nil, "")
		return err
	},
	"Delete": func(b *bucket.Bucket) error { return b.Delete(context.Background(), "k") },
	"Head":   func(b *bucket.Bucket) error { _, err := b.Head(context.Background(), "k"); return err },
	"Get":    func(b *bucket.Bucket) error { _, _, err := b.Get(context.Background(), "k"); return err },
	"Probe":  func(b *bucket.Bucket) error { return b.Probe(context.Background()) },
	"List": func(b *bucket.Bucket) error {
		for _, err := range b.List(context.Background(), "", "", "") {
			return err
		}
		return nil
	},
	"Uploads": func(b *bucket.Bucket) error {
		for _, err := range b.Uploads(context.Background(), "") {
			return err
		}
		return nil
	},
}

// answer plays a server that gives the same answer to everything.
func answer(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		if code != "" && r.Method != http.MethodHead {
			fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message><RequestId>1</RequestId></Error>`, code, message)
		}
	}
}

func check(t *testing.T, err error, want protocol.Kind) {
	t.Helper()
	_ = failed(t, err, want)
}

// failed is check that returns the error.
func failed(t *testing.T, err error, want protocol.Kind) *protocol.Error {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) {
		t.Fatalf("%T (%v) is not a *protocol.Error", err, err)
	}
	if e.Kind != want {
		t.Errorf("kind is %q, not %q: %v", e.Kind, want, err)
	}
	if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "the-token") {
		t.Errorf("a secret in: %v", err)
	}
	return e
}

// TestAnswers is the table of error classes, over the wire.
func TestAnswers(t *testing.T) {
	const (
		transient = protocol.KindTransient
		slow      = protocol.KindSlow
		target    = protocol.KindTarget
		item      = protocol.KindItem
		notFound  = protocol.KindNotFound
		changed   = protocol.KindChanged
	)
	for _, c := range []struct {
		status int
		code   string
		want   protocol.Kind
		hint   string // part of it
	}{
		{503, "SlowDown", slow, ""},
		{503, "ServiceUnavailable", slow, ""},
		{503, "", slow, ""},
		{429, "TooManyRequests", slow, ""},
		{429, "", slow, ""},
		{500, "InternalError", transient, ""},
		{500, "", transient, ""},
		{502, "", transient, ""},
		{504, "", transient, ""},
		{408, "", transient, ""},
		{400, "RequestTimeout", transient, ""},
		{400, "IncompleteBody", transient, ""},
		{409, "OperationAborted", transient, ""},
		{401, "", target, "access_key_id"},
		{403, "AccessDenied", target, "policies"},
		{403, "", target, "policies"},
		{403, "InvalidAccessKeyId", target, "access_key_id"},
		{403, "SignatureDoesNotMatch", target, "access_key_id"},
		{400, "ExpiredToken", target, "renew"},
		{400, "InvalidToken", target, "renew"},
		{403, "RequestTimeTooSkewed", target, "clock"},
		{403, "AccountProblem", target, "account"},
		{403, "SomethingNew", target, "policies"},
		{301, "PermanentRedirect", target, "region"},
		{307, "SomethingElse", target, "region"},
		{400, "AuthorizationHeaderMalformed", target, "region"},
		{404, "NoSuchBucket", target, "bucket"},
		{400, "AccessControlListNotSupported", target, `acl = ""`},
		{400, "KMS.DisabledException", target, "key that encrypts"},
		{400, "InvalidStorageClass", target, "storage_class"},
		{507, "XMinioStorageFull", target, "room"},
		{507, "", target, "room"},
		{400, "", target, "endpoint"},
		{404, "", target, "endpoint"},
		{405, "", target, "endpoint"},
		{404, "NoSuchKey", notFound, ""},
		{404, "NoSuchUpload", notFound, ""},
		{412, "PreconditionFailed", changed, ""},
		{400, "BadDigest", changed, ""},
		{400, "XAmzContentSHA256Mismatch", changed, ""},
		{400, "InvalidArgument", item, ""},
		{400, "KeyTooLongError", item, "1,024"},
		{400, "EntityTooLarge", item, ""},
		{405, "MethodNotAllowed", item, ""},
		{411, "MissingContentLength", item, ""},
		{501, "NotImplemented", item, ""},
		{404, "XAdminUserNotFound", target, "access_key_id"},
		{404, "NobodyKnowsThis", target, "does not know"},
		{400, "NobodyKnowsThis", target, "does not know"},
		{400, "XMinioParentIsObject", item, "file and a folder"},
		{409, "ExistingObjectIsDirectory", item, "file and a folder"},
		{409, "ObjectParentIsFile", item, "file and a folder"},
		{403, "InvalidObjectState", item, "archived"},
	} {
		t.Run(fmt.Sprintf("%d%s", c.status, c.code), func(t *testing.T) {
			b := against(t, answer(c.status, c.code, "in words, with the-token"), func(cfg *bucket.Config) { cfg.Attempts = 1 })
			_, err := put(b, "x")
			e := failed(t, err, c.want)
			if e.Op != "upload" || e.Object != "/faulty/a/key" || e.Status != c.status || e.Code != c.code {
				t.Errorf("%+v", e)
			}
			if !strings.Contains(e.Hint, c.hint) || c.want == target && e.Hint == "" {
				t.Errorf("hint is %q", e.Hint)
			}
		})
	}
}

// TestEveryOperation: no method has a classification of its own, but for what a missing thing means to it.
func TestEveryOperation(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   protocol.Kind
	}{
		{503, "SlowDown", protocol.KindSlow}, {500, "InternalError", protocol.KindTransient}, {403, "AccessDenied", protocol.KindTarget},
	} {
		b := against(t, answer(c.status, c.code, ""), func(cfg *bucket.Config) { cfg.Attempts = 1 })
		for name, op := range operations {
			t.Run(fmt.Sprintf("%d/%s", c.status, name), func(t *testing.T) {
				if e := failed(t, op(b), c.want); e.Op == "" || !strings.HasPrefix(e.Object, "/faulty") {
					t.Errorf("%+v", e)
				}
			})
		}
	}
}

func TestRegionIsNamed(t *testing.T) {
	b := against(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amz-Bucket-Region", "eu-west-9")
		w.Header().Set("Location", "http://192.0.2.1/")
		answer(301, "PermanentRedirect", "elsewhere")(w, r)
	})
	for name, op := range operations {
		if e := failed(t, op(b), protocol.KindTarget); !strings.Contains(e.Hint, `region = "eu-west-9"`) {
			t.Errorf("%s: hint is %q", name, e.Hint)
		}
	}
}

// TestSuccessThatIsNone: what looks like success and is none must never be taken for one.
func TestSuccessThatIsNone(t *testing.T) {
	const xml = `<?xml version="1.0" encoding="UTF-8"?>`
	for _, c := range []struct {
		name, body string
		ops        []string
		want       protocol.Kind
	}{
		{"Error", xml + "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>", []string{"Copy", "FinishUpload"}, protocol.KindTransient},
		{"SlowDown", xml + "\n\n   <Error><Code>SlowDown</Code><Message>Please</Message></Error>", []string{"Copy", "FinishUpload"}, protocol.KindSlow},
		{"Denied", xml + "<Error><Code>AccessDenied</Code><Message>No</Message></Error>", []string{"Copy", "FinishUpload"}, protocol.KindTarget},
		{"Empty", "", []string{"Put", "UploadPart", "StartUpload", "Copy", "FinishUpload"}, protocol.KindTransient},
		{"Spaces", "      ", []string{"StartUpload", "Copy", "FinishUpload"}, protocol.KindTransient},
		{"CutOff", xml + "<CopyObjectResult><ETag>&quot;abc", []string{"Copy"}, protocol.KindTransient},
		{"CutOffFinish", xml + "<CompleteMultipartUploadResult><Bucket>b</Bu", []string{"FinishUpload"}, protocol.KindTransient},
		{"CutOffList", xml + "<ListBucketResult><Contents><Key>a</Key><Size>1</Size></Contents><Contents><Key>b</Ke", []string{"List"}, protocol.KindTransient},
		{"Portal", "<!doctype html><html><body>Please log in<br></body></html>", []string{"Put", "UploadPart", "StartUpload", "Copy", "FinishUpload", "List"}, protocol.KindTransient},
	} {
		b := against(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, c.body)
		}, func(cfg *bucket.Config) { cfg.Attempts = 1 })
		for _, op := range c.ops {
			t.Run(c.name+"/"+op, func(t *testing.T) { check(t, operations[op](b), c.want) })
		}
	}
}

func TestWrongETag(t *testing.T) {
	etag, sse := `"00000000000000000000000000000000"`, ""
	b := against(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", etag)
		if sse != "" {
			w.Header().Set("X-Amz-Server-Side-Encryption", sse)
		}
	})
	for _, op := range []string{"Put", "UploadPart"} {
		check(t, operations[op](b), protocol.KindTransient)
	}
	sse = "aws:kms"
	for _, op := range []string{"Put", "UploadPart"} {
		if err := operations[op](b); err != nil {
			t.Errorf("%s with SSE-KMS: %v", op, err)
		}
	}
	sse = ""
	etag = `"not-an-md5-1"`
	for _, op := range []string{"Put", "UploadPart"} {
		if err := operations[op](b); err != nil {
			t.Errorf("%s with another kind of ETag: %v", op, err)
		}
	}
}
