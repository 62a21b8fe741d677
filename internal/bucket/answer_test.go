package bucket

import (
	"bufio"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestPlainAnswers: what is taken for plain is what net/http reads in it, and is all of it; what servers answer to nearly every PUT is
// plain.
func TestPlainAnswers(t *testing.T) {
	for name, text := range map[string]string{
		"AWS": "HTTP/1.1 200 OK\r\nx-amz-id-2: a/b=\r\nx-amz-request-id: A\r\nDate: Sun, 29 Nov 2026 08:00:00 GMT\r\nx-amz-version-id: v1\r\n" +
			"x-amz-server-side-encryption: AES256\r\nETag: \"9dd4e461268c8034f5c8564e155c67a6\"\r\nServer: AmazonS3\r\nContent-Length: 0\r\n\r\n",
		"versitygw": "HTTP/1.1 200 OK\r\nServer: VERSITYGW\r\nDate: Sun, 29 Nov 2026 08:00:00 GMT\r\nContent-Length: 0\r\nEtag: \"a\"\r\n\r\n",
		"Go":        "HTTP/1.1 200 OK\r\nEtag: \"a\"\r\nDate: Sun, 29 Nov 2026 08:00:00 GMT\r\nContent-Length: 0\r\n\r\n",
	} {
		out, n := plainAnswer([]byte(text))
		if n != len(text) || out.etag == nil || (name == "AWS") != (out.version != nil && out.sse == "AES256") {
			t.Errorf("%s: %d of %d bytes, %+v", name, n, len(text), out)
		}
		if _, n := plainAnswer([]byte(text + text)); n != len(text) {
			t.Errorf("%s, twice: %d bytes of the first", name, n)
		}
	}
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		pick := func(what string, usual, odd []string) string {
			if rapid.IntRange(0, 19).Draw(t, what) == 0 {
				usual = append(odd, rapid.String().Draw(t, "any"))
			}
			return rapid.SampledFrom(usual).Draw(t, what)
		}
		var b strings.Builder
		b.WriteString(pick("status", []string{"HTTP/1.1 200 OK", "HTTP/1.1 200 "}, []string{"HTTP/1.1 200", "HTTP/1.0 200 OK", "HTTP/1.1 204 No", "HTTP/1.1 200 O\nK"}))
		for range rapid.IntRange(0, 5).Draw(t, "headers") {
			b.WriteString(pick("end", []string{"\r\n"}, []string{"\n", "\r\n ", "\r"}))
			b.WriteString(pick("name", []string{"ETag", "etag", "X-Amz-Version-Id", "x-amz-server-side-encryption", "X-Amz-Server-Side-Encryption-Customer-Algorithm", "X", "X_y"},
				[]string{"Content-Length", "Content-Length ", "Transfer-Encoding", "Connection", "Trailer", " X", "é", ""}))
			b.WriteString(pick("colon", []string{":", ": ", ":  "}, []string{":\t", " :", ""}))
			b.WriteString(pick("value", []string{"0", "", "\"a\"", "AES256 "}, []string{"1", "+0", "00", "chunked", "close", "keep-alive", "Keep-Alive, close", "a\tb", "a\rb", "é"}))
		}
		b.WriteString(pick("length", []string{"\r\nContent-Length: 0"}, []string{"", "\r\nContent-Length: 5", "\r\nContent-Length: 0\r\nTransfer-Encoding: chunked"}))
		b.WriteString("\r\n\r\n")
		rest := rapid.SampledFrom([]string{"", "x", "HTTP/1.1 200 OK\r\n"}).Draw(t, "rest")
		out, n := plainAnswer([]byte(b.String() + rest))
		if n == 0 {
			return
		}
		taken++
		in := bufio.NewReader(strings.NewReader(b.String() + rest))
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%q: %v", b.String(), err)
		}
		body, err := io.ReadAll(resp.Body)
		left, _ := io.ReadAll(in)
		if err != nil || len(body) > 0 || resp.StatusCode != http.StatusOK || resp.Close || len(left) != b.Len()+len(rest)-n || !reflect.DeepEqual(out, storedBy(resp.Header)) {
			t.Fatalf("%q: %+v, and by net/http %+v; %d bytes are left", b.String(), out, resp, len(left))
		}
	})
	if taken == 0 {
		t.Error("no answer was plain")
	}
	for _, odd := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nx-amz-server-side-encryption:\r\nx-amz-server-side-encryption: aws:kms\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"} {
		if _, n := plainAnswer([]byte(odd)); n != 0 {
			t.Errorf("%q is plain", odd)
		}
	}
}
