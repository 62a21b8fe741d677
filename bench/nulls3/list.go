package nulls3

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxKeys    = 1000 // of a page (Amazon S3 API Reference, ListObjectsV2)
	timeFormat = "2006-01-02T15:04:05.000Z"
	entryBytes = 256 // of an object in a page, with some room for its key; a guess
)

// listing is one page of a listing on its way into XML.
type listing struct {
	prefix, delimiter, after string
	most                     int
	encoded                  bool // encoding-type=url

	keys, groups bytes.Buffer
	n            int
	last         string // the key or common prefix that came last
	truncated    bool
}

// listObjects answers ListObjects and ListObjectsV2.
func (s *Server) listObjects(r *request) {
	q := r.query
	two := q.Get("list-type") == "2"
	l := &listing{prefix: q.Get("prefix"), delimiter: q.Get("delimiter"), most: maxKeys, encoded: q.Get("encoding-type") == "url"}
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil && n >= 0 {
		l.most = min(n, maxKeys)
	}
	if two {
		l.after = q.Get("start-after")
		if token := q.Get("continuation-token"); token != "" {
			after, err := base64.RawURLEncoding.DecodeString(token)
			if err != nil {
				s.fail(r, http.StatusBadRequest, "InvalidArgument", "the continuation token is none of ours")
				return
			}
			l.after = string(after)
		}
	} else {
		l.after = q.Get("marker")
	}
	s.mu.Lock()
	b := s.buckets[r.bucket]
	if b == nil {
		s.mu.Unlock()
		s.fail(r, http.StatusNotFound, "NoSuchBucket", "there is no bucket "+r.bucket)
		return
	}
	l.fill(b)
	s.mu.Unlock()
	s.xml(r, http.StatusOK, l.document(r.bucket, two))
}

// fill collects the page. A common prefix counts as one key and stands where it belongs in their order.
func (l *listing) fill(b *bucket) {
	keys := b.keys()
	l.keys.Grow(min(l.most, len(keys)) * entryBytes)
	i, _ := slices.BinarySearch(keys, max(l.prefix, l.after))
	for i < len(keys) && strings.HasPrefix(keys[i], l.prefix) {
		key := keys[i]
		name, group := key, false
		if l.delimiter != "" {
			if cut := strings.Index(key[len(l.prefix):], l.delimiter); cut >= 0 {
				name, group = key[:len(l.prefix)+cut+len(l.delimiter)], true
			}
		}
		if name > l.after {
			if l.n == l.most {
				l.truncated = l.most > 0
				return
			}
			l.n++
			l.last = name
			if group {
				l.group(name)
			} else {
				l.object(key, b.objects[key])
			}
		}
		i++
		if group {
			i += behind(keys[i:], name)
		}
	}
}

// behind returns how many of the keys begin with group.
func behind(keys []string, group string) int {
	n, _ := slices.BinarySearchFunc(keys, group, func(key, g string) int {
		if strings.HasPrefix(key, g) {
			return -1
		}
		return strings.Compare(key, g)
	})
	return n
}

func (l *listing) object(key string, o object) {
	w := &l.keys
	w.WriteString("<Contents><Key>")
	l.text(w, key)
	w.WriteString("</Key><LastModified>")
	w.Write(time.Unix(0, o.at).UTC().AppendFormat(w.AvailableBuffer(), timeFormat))
	w.WriteString("</LastModified><ETag>&quot;")
	if o.parts == 0 {
		w.Write(hex.AppendEncode(w.AvailableBuffer(), o.sum[:]))
	} else {
		w.WriteString(o.etag())
	}
	w.WriteString("&quot;</ETag><Size>")
	w.Write(strconv.AppendInt(w.AvailableBuffer(), o.size, 10))
	w.WriteString("</Size><StorageClass>STANDARD</StorageClass></Contents>")
}

func (l *listing) group(name string) {
	l.groups.WriteString("<CommonPrefixes><Prefix>")
	l.text(&l.groups, name)
	l.groups.WriteString("</Prefix></CommonPrefixes>")
}

// text writes a name: percent-encoded where that was asked for, else as XML can hold it.
func (l *listing) text(w *bytes.Buffer, s string) {
	if !l.encoded {
		_ = xml.EscapeText(w, []byte(s)) // a Buffer takes everything
		return
	}
	const hexDigits = "0123456789ABCDEF"
	from := 0 // of what need not be encoded
	for i := range len(s) {
		if c := s[i]; !plain(c) {
			w.WriteString(s[from:i])
			w.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
			from = i + 1
		}
	}
	w.WriteString(s[from:])
}

// plain reports whether a byte stands for itself in a percent-encoded name (RFC 3986, section 2.3, and the slash).
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c == '-' || c == '_' || c == '.' || c == '~' || c == '/'
}

func (l *listing) document(bucket string, two bool) []byte {
	w := bytes.NewBuffer(make([]byte, 0, l.keys.Len()+l.groups.Len()+1024))
	w.WriteString(xml.Header + `<ListBucketResult xmlns="` + namespace + `">`)
	field := func(name, value string) {
		w.WriteString("<" + name + ">")
		l.text(w, value)
		w.WriteString("</" + name + ">")
	}
	field("Name", bucket)
	field("Prefix", l.prefix)
	if l.delimiter != "" {
		field("Delimiter", l.delimiter)
	}
	field("MaxKeys", strconv.Itoa(l.most))
	field("IsTruncated", strconv.FormatBool(l.truncated))
	if l.encoded {
		field("EncodingType", "url")
	}
	switch {
	case two:
		field("KeyCount", strconv.Itoa(l.n))
		if l.truncated {
			w.WriteString("<NextContinuationToken>" + base64.RawURLEncoding.EncodeToString([]byte(l.last)) + "</NextContinuationToken>")
		}
	default:
		field("Marker", l.after)
		if l.truncated {
			field("NextMarker", l.last)
		}
	}
	w.Write(l.keys.Bytes())
	w.Write(l.groups.Bytes())
	w.WriteString("</ListBucketResult>")
	return w.Bytes()
}
