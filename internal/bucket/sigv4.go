package bucket

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"net/http"
	"strings"
	"sync"
)

// The SDK's signer costs 20 µs and 60 allocations for a small PUT, a tenth of all that such a PUT costs (docs/design/0012). What is
// here signs a plain request of ours with AWS Signature Version 4 (Amazon S3 API Reference, "Signature Calculations for the
// Authorization Header: Transferring Payload in a Single Chunk"), and makes the same signature, byte for byte. Plain is a request
// that the SDK signs without changing anything in it; every other one is left to the SDK.

// Names and formats of that reference.
const (
	sigAlgorithm = "AWS4-HMAC-SHA256"
	metaLower    = "x-amz-meta-"      // metaPrefix as it is signed
	stampFormat  = "20060102T150405Z" // of X-Amz-Date, as [time.Time.Format] takes it
	dayLength    = len("20060102")    // of the day at the beginning of a stamp
)

// dayKey is a signing key, derived from a secret: it is good for one day (UTC), one region, and the service s3. Safe for concurrent
// use.
type dayKey struct {
	day, region string
	scope       string    // day/region/s3/aws4_request
	scratches   sync.Pool // of *scratch
}

// scratch is what one signature needs besides the request: the HMAC and room for text. It is used again for the next.
type scratch struct {
	mac         hash.Hash // HMAC-SHA256 with the dayKey
	text, names []byte
}

// newDayKey derives the key: an HMAC of the day with the secret, of the region with that, and so on through the scope.
func newDayKey(secret, day, region string) *dayKey {
	k := &dayKey{day: day, region: region, scope: day + "/" + region + "/s3/aws4_request"}
	key := []byte("AWS4" + secret)
	for part := range strings.SplitSeq(k.scope, "/") {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part)) // a hash returns no error
		key = h.Sum(nil)
	}
	k.scratches.New = func() any { return &scratch{mac: hmac.New(sha256.New, key)} }
	return k
}

// dayKey returns the key of a day and a region. Only the last one is kept: it is the same for all requests until midnight (UTC).
func (s *signing) dayKey(day, region string) *dayKey {
	k := s.day.Load()
	if k == nil || k.day != day || k.region != region {
		k = newDayKey(s.secret, day, region)
		s.day.Store(k)
	}
	return k
}

// signPlain returns the Authorization of a PUT without a query, whose body has the hash payloadHash (hex, or [unsigned]), at the time that
// its X-Amz-Date says, which is stamp. It reports false if something about the request is not plain; then the SDK has to sign it. Safe
// for concurrent use.
func (s *signing) signPlain(id string, r *request, payloadHash, stamp string) (authorization string, ok bool) {
	if !r.at.plain() || !tight(id) || !tight(r.at.region) || !tight(r.agent) {
		return "", false
	}
	k := s.dayKey(stamp[:dayLength], r.at.region)
	d := k.scratches.Get().(*scratch)
	defer k.scratches.Put(d)

	// The canonical request: method, path, query (none), headers, their names, hash of the body.
	t := append(append(d.text[:0], http.MethodPut+"\n"...), r.path...)
	t = append(t, "\n\n"...)
	list, last := d.names[:0], []byte(nil) // the names so far, and the one before
	for i, h := range r.head {
		if i > 0 {
			list = append(list, ';')
		}
		from := len(list)
		if h.meta {
			list = append(list, metaLower...)
		}
		list = appendLower(list, h.name)
		name := list[from:]
		if !made(h.name, "-_") || !tight(h.value) || bytes.Compare(last, name) >= 0 {
			return "", false
		}
		t = append(append(t, name...), ':')
		t = append(append(t, h.value...), '\n')
		last = name
	}
	t = append(append(append(t, '\n'), list...), '\n')
	sum := sha256.Sum256(append(t, payloadHash...))

	// The string to sign: algorithm, time, scope, hash of the canonical request.
	t = append(append(t[:0], sigAlgorithm+"\n"...), stamp...)
	t = append(append(append(t, '\n'), k.scope...), '\n')
	t = hex.AppendEncode(t, sum[:])
	d.mac.Reset()
	d.mac.Write(t)
	signature := d.mac.Sum(sum[:0])

	t = append(append(t[:0], sigAlgorithm+" Credential="...), id...)
	t = append(append(append(t, '/'), k.scope...), ", SignedHeaders="...)
	t = append(append(t, list...), ", Signature="...)
	t = hex.AppendEncode(t, signature)
	d.text, d.names = t, list
	return string(t), true
}

// defaultPort reports whether a host ends in the default port of its scheme, or in a colon without a port: the SDK signs it without that.
func defaultPort(scheme, host string) bool {
	_, port, found := strings.Cut(host[strings.LastIndexByte(host, ']')+1:], ":")
	return found && (port == "" || port == "80" && scheme == "http" || port == "443" && scheme == "https")
}

// tight reports whether the value of a header is signed as it is: printable ASCII, without spaces at its ends or two in a row, which
// the rules of the signature take out.
func tight(value string) bool {
	return value == "" || value[0] != ' ' && value[len(value)-1] != ' ' && !strings.Contains(value, "  ") && printable(value)
}

// compareFold orders the names of headers as if they were in lower case.
func compareFold(a, b string) int {
	for i := range min(len(a), len(b)) {
		if d := int(lowerByte(a[i])) - int(lowerByte(b[i])); d != 0 {
			return d
		}
	}
	return len(a) - len(b)
}

// appendLower appends name in lower case. Names of headers are ASCII.
func appendLower(to []byte, name string) []byte {
	for i := range len(name) {
		to = append(to, lowerByte(name[i]))
	}
	return to
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
