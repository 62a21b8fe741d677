package bucket

import (
	"bytes"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// What nearly every PUT is answered is a 200 without a body, of a few headers. It is read here, from the buffer of its connection, where
// it is that and nothing else; whatever is odd about an answer is left to net/http.

// plainAnswer reads the answer to a PUT from what has come so far. n is its length in bytes; 0: it is not plain, or not all there.
func plainAnswer(text []byte) (out stored, n int) {
	end := bytes.Index(text, []byte("\r\n\r\n"))
	if end < 0 {
		return stored{}, 0
	}
	line, rest, _ := bytes.Cut(text[:end], []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) || !printable(line) {
		return stored{}, 0
	}
	empty := false
	var sse *string
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, found := bytes.Cut(line, []byte(":"))
		value = bytes.Trim(value, " ")
		if !found || !made(name, "-_") || !printable(value) {
			return stored{}, 0
		}
		first := true // of its name
		switch {
		case equalFold(name, "content-length"):
			first, empty = !empty, true
			if string(value) != "0" {
				return stored{}, 0
			}
		case equalFold(name, "connection"):
			if !equalFold(value, "keep-alive") {
				return stored{}, 0
			}
		case equalFold(name, "transfer-encoding"), equalFold(name, "trailer"), equalFold(name, "upgrade"):
			return stored{}, 0
		case equalFold(name, "etag"):
			first = setOnce(&out.etag, value)
		case equalFold(name, "x-amz-version-id"):
			first = setOnce(&out.version, value)
		case equalFold(name, "x-amz-server-side-encryption"):
			first = setOnce(&sse, value)
		case equalFold(name, "x-amz-server-side-encryption-customer-algorithm"):
			first = setOnce(&out.customer, value)
		}
		if !first {
			return stored{}, 0
		}
	}
	if !empty {
		return stored{}, 0
	}
	out.sse = types.ServerSideEncryption(deref(sse))
	return out, end + len("\r\n\r\n")
}

// equalFold reports whether s, in ASCII, is lower when it is put in lower case.
func equalFold(s []byte, lower string) bool {
	for i := range min(len(s), len(lower)) {
		if lowerByte(s[i]) != lower[i] {
			return false
		}
	}
	return len(s) == len(lower)
}

// setOnce gives a header its value, and reports whether it had none.
func setOnce(header **string, value []byte) bool {
	if *header != nil {
		return false
	}
	s := string(value)
	*header = &s
	return true
}

// printable reports whether s is printable ASCII.
func printable[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// storedBy reads the headers of an answer.
func storedBy(h http.Header) stored {
	return stored{
		etag: headerValue(h, "Etag"), version: headerValue(h, "X-Amz-Version-Id"),
		sse:      types.ServerSideEncryption(h.Get("X-Amz-Server-Side-Encryption")),
		customer: headerValue(h, "X-Amz-Server-Side-Encryption-Customer-Algorithm"),
	}
}
