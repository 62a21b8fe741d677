package bucket

import (
	"cmp"
	"crypto/md5"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"

	"s3apu/protocol"
)

// field is one header of a request.
type field struct {
	name  string // in canonical form; of metadata what follows metaPrefix, in any
	value string
	meta  bool
}

// metaPrefix begins the names of an object's metadata (Amazon S3 API, "PutObject").
const metaPrefix = "X-Amz-Meta-"

// mostFields is how many fields a request has as a rule: nine of ours, six of metadata, and some to spare. More are taken from the heap.
const mostFields = 20

// request is a PUT without its body. A small one is sent without the maps and copies of an [http.Request] (docs/design/0012).
type request struct {
	at    location
	key   protocol.Key
	path  string // escaped
	size  int64
	agent string  // User-Agent, which is not signed, for proxies may change it
	head  []field // what is signed, in the order of the names in lower case
	auth  string  // Authorization; empty: it is not signed
}

// request makes a PUT. room is for its headers. token is that of a session, payloadHash that of the body, or [unsigned], and stamp the
// time in stampFormat.
func (b *Bucket) request(room []field, at location, key protocol.Key, h protocol.Headers, size int64, sum [md5.Size]byte,
	token, payloadHash, stamp string,
) request {
	r := request{at: at, key: key, path: at.base.EscapedPath() + "/" + escapeKey(key), size: size, agent: b.cfg.UserAgent}
	add := func(name, value string) {
		if value != "" {
			room = append(room, field{name: name, value: value})
		}
	}
	if size > 0 {
		add("Content-Length", strconv.FormatInt(size, 10))
	}
	add("Content-Md5", *contentMD5(sum))
	add("Content-Type", cmp.Or(h.ContentType, "application/octet-stream")) // what the SDK says where nothing is said
	add("Host", at.base.Host)
	add("X-Amz-Acl", b.cfg.ACL)
	add("X-Amz-Content-Sha256", payloadHash)
	add("X-Amz-Date", stamp)
	meta := len(room)
	for name, value := range h.Meta {
		room = append(room, field{name: name, value: value, meta: true})
	}
	slices.SortFunc(room[meta:], func(a, b field) int { return compareFold(a.name, b.name) })
	add("X-Amz-Security-Token", token)
	add("X-Amz-Storage-Class", b.cfg.StorageClass)
	r.head = room
	return r
}

// http returns the request as net/http wants it, without a body.
func (r *request) http() *http.Request {
	u := r.at.base
	u.Path, u.RawPath = u.Path+"/"+string(r.key), r.path
	head := make(http.Header, len(r.head)+2)
	for _, h := range r.head {
		switch {
		case h.meta:
			head[textproto.CanonicalMIMEHeaderKey(metaPrefix+h.name)] = []string{h.value}
		case h.name == "Host", h.name == "Content-Length":
		default:
			head[h.name] = []string{h.value}
		}
	}
	if r.agent != "" {
		head["User-Agent"] = []string{r.agent}
	}
	if r.auth != "" {
		head["Authorization"] = []string{r.auth}
	}
	return &http.Request{Method: http.MethodPut, URL: &u, Host: u.Host, Header: head, ContentLength: r.size,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody}
}

// text appends the request as it is sent (RFC 9112, "Message"), with the next size bytes of body. It fails if body does.
func (r *request) text(b []byte, body io.Reader) ([]byte, error) {
	b = append(append(append(b, http.MethodPut...), ' '), r.path...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), r.at.base.Host...)
	b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), r.size, 10)
	for _, h := range r.head {
		switch {
		case h.meta:
			b = appendCanonical(append(b, "\r\n"+metaPrefix...), h.name)
		case h.name == "Host", h.name == "Content-Length":
			continue
		default:
			b = append(append(b, "\r\n"...), h.name...)
		}
		b = append(append(b, ": "...), h.value...)
	}
	if r.agent != "" {
		b = append(append(b, "\r\nUser-Agent: "...), r.agent...)
	}
	b = append(append(append(b, "\r\nAuthorization: "...), r.auth...), "\r\n\r\n"...)
	head, all := len(b), len(b)+int(r.size)
	if cap(b) < all {
		b = append(make([]byte, 0, all), b...)
	}
	b = b[:all]
	_, err := io.ReadFull(body, b[head:])
	return b, err
}

// appendCanonical appends a part of the name of a header, in ASCII, as [textproto.CanonicalMIMEHeaderKey] writes it.
func appendCanonical(to []byte, name string) []byte {
	upper := true
	for i := range len(name) {
		c := lowerByte(name[i])
		if upper && 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		to = append(to, c)
		upper = c == '-'
	}
	return to
}
