package bucket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"s3apu/protocol"
)

// pageReader reads the pages of a listing without encoding/xml, which took 70 % of the CPU of a scan that compares a
// listing (docs/design/0013). It knows the plain form that servers send; everything else, an answer that is not
// 2xx or breaks off too, it leaves to the SDK byte for byte, so that there is one way to fail. Not for concurrent use.
type pageReader struct {
	body []byte // of the last answer
	at   int    // how far it is read

	text    []byte // the values at hand, one behind the other
	rows    []pageRow
	folders []span
	token   span
	more    bool
	coded   bool // names are encoded as in URLs

	page *listed // what was read; nil: the SDK reads it
}

// span is a part of a text.
type span struct{ from, to int }

// pageRow is one object of a page.
type pageRow struct {
	key, etag span
	size      int64
	modified  time.Time
}

// listed is a page of a listing, objects and common prefixes each in the order in which the server has sent them.
type listed struct {
	objects []protocol.Object
	folders []string
	more    bool
	token   string // of the next page
}

// mostPage bounds the page that is read at once, in bytes: 1,000 keys of 1,024 bytes, each byte encoded as three, and as
// much again for the rest. What is larger the SDK reads.
const mostPage = 8 << 20

// option has the answer read here before the SDK decodes it.
func (p *pageReader) option(stack *middleware.Stack) error {
	return stack.Deserialize.Insert(p, "OperationDeserializer", middleware.After)
}

// ID is of [middleware.DeserializeMiddleware].
func (p *pageReader) ID() string { return "ReadPage" }

// HandleDeserialize is of [middleware.DeserializeMiddleware].
func (p *pageReader) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
) (middleware.DeserializeOutput, middleware.Metadata, error) {
	p.page = nil
	out, meta, err := next.HandleDeserialize(ctx, in)
	resp, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok || resp.StatusCode < 200 || resp.StatusCode >= 300 {
		return out, meta, err
	}
	rest := resp.Body
	whole, err := p.read(rest)
	if whole && p.parse() {
		p.page = p.result()
	}
	again := io.MultiReader(bytes.NewReader(p.body), failing{err}, rest)
	if p.page != nil {
		again = bytes.NewReader(nil) // the SDK takes it for an empty answer
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{again, rest}
	return out, meta, nil
}

// failing ends with an error; nil: it is empty.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

// read reads a body, and reports whether that is all of it.
func (p *pageReader) read(r io.Reader) (whole bool, err error) {
	p.body = p.body[:0]
	for len(p.body) < mostPage {
		if len(p.body) == cap(p.body) {
			p.body = append(make([]byte, 0, max(64<<10, 2*cap(p.body))), p.body...)
		}
		n, err := r.Read(p.body[len(p.body):cap(p.body)])
		p.body = p.body[:len(p.body)+n]
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// parse reads the page, and reports whether it is of the form that it knows.
func (p *pageReader) parse() bool {
	p.at, p.text, p.rows, p.folders = 0, p.text[:0], p.rows[:0], p.folders[:0]
	p.token, p.more, p.coded = span{}, false, false
	if !utf8.Valid(p.body) || !p.prolog() {
		return false
	}
	if name, kind := p.tag(); kind != opens || string(name) != "ListBucketResult" {
		return false
	}
	for {
		name, kind := p.tag()
		switch kind {
		case closes:
			return string(name) == "ListBucketResult" && len(bytes.TrimSpace(p.body[p.at:])) == 0
		case unknown:
			return false
		case opens:
			if !p.element(name) {
				return false
			}
		case empty:
			if !otherThere(name) {
				return false
			}
		}
	}
}

// prolog passes over the declaration of XML; it reports whether the text is in UTF-8 by it.
func (p *pageReader) prolog() bool {
	if bytes.HasPrefix(p.body, []byte("<?xml ")) {
		end := bytes.Index(p.body, []byte("?>"))
		if end < 0 {
			return false
		}
		head := bytes.ToLower(p.body[:end])
		if bytes.Contains(head, []byte("encoding")) && !bytes.Contains(head, []byte("utf-8")) {
			return false
		}
		p.at = end + 2
	}
	return true
}

// tagKind says what a tag does.
type tagKind uint8

const (
	unknown tagKind = iota // a comment, CDATA, a name with a prefix, the end
	opens
	closes
	empty
)

// tag reads the next tag, whatever text is before it.
func (p *pageReader) tag() ([]byte, tagKind) {
	i := bytes.IndexByte(p.body[p.at:], '<')
	if i < 0 {
		return nil, unknown
	}
	b := p.body[p.at+i+1:]
	kind := opens
	if len(b) > 0 && b[0] == '/' {
		kind, b = closes, b[1:]
	}
	n := 0
	for n < len(b) && (b[n] >= 'a' && b[n] <= 'z' || b[n] >= 'A' && b[n] <= 'Z' || b[n] >= '0' && b[n] <= '9') {
		n++
	}
	name, end := b[:n], n
	quote := byte(0)
	for ; end < len(b) && (quote != 0 || b[end] != '>'); end++ { // attributes: they say nothing here
		switch c := b[end]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '<':
			return nil, unknown
		}
	}
	if n == 0 || end == len(b) || end > n && !strings.ContainsRune(" \t\r\n/", rune(b[n])) {
		return nil, unknown
	}
	if kind == opens && b[end-1] == '/' {
		kind = empty
	}
	p.at = len(p.body) - len(b) + end + 1
	return name, kind
}

// skip passes over an element whose tag was read.
func (p *pageReader) skip(name []byte, deep int) bool {
	for deep < 16 { // S3's go three deep
		child, kind := p.tag()
		switch {
		case kind == closes:
			return bytes.Equal(child, name)
		case kind == unknown, kind == opens && !p.skip(child, deep+1):
			return false
		}
	}
	return false
}

// other reports whether name is none of those that mean something. The SDK does not tell capitals apart, so a name
// that differs in nothing else is left to it.
func other(name []byte, known ...string) bool {
	for _, m := range known {
		if len(m) == len(name) && strings.EqualFold(m, string(name)) {
			return false
		}
	}
	return true
}

// otherThere and otherInObject are other for the children of the root and of Contents.
func otherThere(name []byte) bool {
	return other(name, "Contents", "CommonPrefixes", "NextContinuationToken", "IsTruncated", "EncodingType")
}

func otherInObject(name []byte) bool { return other(name, "Key", "ETag", "Size", "LastModified") }

// element reads a child of the root.
func (p *pageReader) element(name []byte) bool {
	switch string(name) {
	case "Contents":
		return p.object()
	case "CommonPrefixes":
		child, kind := p.tag()
		if kind != opens || string(child) != "Prefix" {
			return false
		}
		v, ok := p.value("Prefix")
		p.folders = append(p.folders, v)
		child, kind = p.tag()
		return ok && v.to > v.from && kind == closes && string(child) == "CommonPrefixes"
	case "NextContinuationToken":
		v, ok := p.value("NextContinuationToken")
		p.token = v
		return ok
	case "IsTruncated":
		v, ok := p.value("IsTruncated")
		p.more = string(p.text[v.from:v.to]) == "true"
		return ok && (p.more || string(p.text[v.from:v.to]) == "false")
	case "EncodingType":
		v, ok := p.value("EncodingType")
		p.coded = string(p.text[v.from:v.to]) == "url"
		return ok
	}
	return otherThere(name) && p.skip(name, 0)
}

// object reads one element Contents.
func (p *pageReader) object() bool {
	var row pageRow
	for {
		name, kind := p.tag()
		var v span
		var ok bool
		switch {
		case kind == closes:
			p.rows = append(p.rows, row)
			return string(name) == "Contents" && row.key.to > row.key.from
		case kind != opens:
			ok = kind == empty && otherInObject(name)
		case string(name) == "Key":
			row.key, ok = p.value("Key")
		case string(name) == "ETag":
			row.etag, ok = p.value("ETag")
		case string(name) == "Size":
			if v, ok = p.value("Size"); ok {
				var err error
				row.size, err = strconv.ParseInt(string(p.text[v.from:v.to]), 10, 64)
				ok = err == nil
			}
			p.text = p.text[:v.from]
		case string(name) == "LastModified":
			if v, ok = p.value("LastModified"); ok {
				row.modified, ok = stamp(p.text[v.from:v.to])
			}
			p.text = p.text[:v.from]
		default:
			ok = otherInObject(name) && p.skip(name, 0)
		}
		if !ok {
			return false
		}
	}
}

// value reads the text of an element whose tag was read, and its end.
func (p *pageReader) value(name string) (span, bool) {
	b := p.body[p.at:]
	end := bytes.IndexByte(b, '<')
	if end < 0 || len(b) < end+len(name)+3 || b[end+1] != '/' || string(b[end+2:end+2+len(name)]) != name || b[end+2+len(name)] != '>' {
		return span{}, false
	}
	p.at += end + len(name) + 3
	v := span{from: len(p.text)}
	var ok bool
	p.text, ok = appendPlain(p.text, b[:end])
	v.to = len(p.text)
	return v, ok
}
