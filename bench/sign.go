//go:build linux

package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// signer signs requests with AWS Signature Version 4 (AWS General Reference, "Create a signed AWS API request") and
// nothing more than that: bodies are left unsigned, paths are as they were given. Safe for concurrent use.
type signer struct {
	access string
	scope  string // date/region/s3/aws4_request
	key    []byte
	date   string
}

// unsigned stands for the hash of a body that is not part of the signature (Amazon S3 API, "Signature Version 4").
const unsigned = "UNSIGNED-PAYLOAD"

func newSigner(access, secret, region string, day time.Time) *signer {
	s := &signer{access: access, date: day.UTC().Format("20060102")}
	s.scope = s.date + "/" + region + "/s3/aws4_request"
	s.key = []byte("AWS4" + secret)
	for part := range strings.SplitSeq(s.scope, "/") {
		s.key = mac(s.key, part)
	}
	return s
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// sign adds the headers of a signature to a request without a query, or with one whose parameters are in order.
func (s *signer) sign(r *http.Request, now time.Time) {
	stamp := now.UTC().Format("20060102T150405Z")
	r.Header["X-Amz-Date"] = []string{stamp}
	r.Header["X-Amz-Content-Sha256"] = []string{unsigned}
	names := []string{"host"}
	for name := range r.Header {
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	signed := strings.Join(names, ";")
	var text strings.Builder
	text.WriteString(r.Method + "\n" + r.URL.EscapedPath() + "\n" + r.URL.RawQuery + "\n")
	for _, name := range names {
		value := r.URL.Host
		if name != "host" {
			value = r.Header[http.CanonicalHeaderKey(name)][0]
		}
		text.WriteString(name + ":" + value + "\n")
	}
	text.WriteString("\n" + signed + "\n" + unsigned)
	sum := sha256.Sum256([]byte(text.String()))
	sig := mac(s.key, "AWS4-HMAC-SHA256\n"+stamp+"\n"+s.scope+"\n"+hex.EncodeToString(sum[:]))
	r.Header["Authorization"] = []string{"AWS4-HMAC-SHA256 Credential=" + s.access + "/" + s.scope +
		", SignedHeaders=" + signed + ", Signature=" + hex.EncodeToString(sig)}
}
