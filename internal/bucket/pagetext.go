package bucket

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"s3apu/protocol"
)

// appendPlain appends a text of XML, its entities resolved. It reports whether there is nothing in it that XML would change
// or refuse.
func appendPlain(to, text []byte) ([]byte, bool) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '&':
			end := bytes.IndexByte(text[i:], ';')
			if end < 0 {
				return to, false
			}
			r, ok := entity(string(text[i+1 : i+end]))
			if !ok {
				return to, false
			}
			to = utf8.AppendRune(to, r)
			i += end
		case c < ' ' && c != '\t' && c != '\n', c == ']' && bytes.HasPrefix(text[i:], []byte("]]>")):
			return to, false
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRune(text[i:])
			if r == 0xfffe || r == 0xffff {
				return to, false
			}
			to = append(to, text[i:i+n]...)
			i += n - 1
		default:
			to = append(to, c)
		}
	}
	return to, true
}

// entity returns what stands between an ampersand and a semicolon.
func entity(name string) (rune, bool) {
	switch name {
	case "amp":
		return '&', true
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
	}
	number, ok := strings.CutPrefix(name, "#")
	if !ok {
		return 0, false
	}
	base := 10
	if hex, ok := strings.CutPrefix(number, "x"); ok {
		number, base = hex, 16
	}
	n, err := strconv.ParseUint(number, base, 16)
	return rune(n), err == nil && n >= ' ' && utf8.ValidRune(rune(n)) && n < 0xfffe
}

// stamp reads a time in the one form that S3 sends, "2006-01-02T15:04:05.000Z", with any number of decimals.
func stamp(b []byte) (time.Time, bool) {
	const form = "2006-01-02T15:04:05"
	if len(b) <= len(form) || b[len(b)-1] != 'Z' {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(b))
	return t, err == nil
}

// result makes the page of what parse has read. All texts of a page are one string.
func (p *pageReader) result() *listed {
	from := len(p.text)
	ok := true
	name := func(v span) span {
		at := len(p.text)
		if ok = ok && v.to <= from; ok {
			p.text, ok = p.appendName(p.text, v)
		}
		return span{at, len(p.text)}
	}
	for i := range p.rows {
		r := &p.rows[i]
		r.key = name(r.key)
		etag := p.text[r.etag.from:r.etag.to]
		bare := bytes.Trim(bytes.TrimPrefix(etag, []byte("W/")), `"`)
		r.etag.from = len(p.text)
		p.text = append(p.text, bare...)
		r.etag.to = len(p.text)
	}
	for i := range p.folders {
		p.folders[i] = name(p.folders[i])
	}
	if !ok {
		return nil
	}
	all := string(p.text[from:])
	cut := func(v span) string { return all[v.from-from : v.to-from] }
	page := &listed{more: p.more, token: string(p.text[p.token.from:p.token.to])}
	page.objects = make([]protocol.Object, len(p.rows))
	for i := range p.rows {
		r, o := &p.rows[i], &page.objects[i]
		o.Key, o.Size, o.ETag, o.Modified = protocol.Key(cut(r.key)), r.size, cut(r.etag), r.modified
	}
	page.folders = make([]string, len(p.folders))
	for i, v := range p.folders {
		page.folders[i] = cut(v)
	}
	return page
}

// appendName appends a name of the page, decoded if the server has encoded it; in this form a plus is a space.
func (p *pageReader) appendName(to []byte, v span) ([]byte, bool) {
	for i := v.from; i < v.to; i++ {
		c := p.text[i]
		switch {
		case p.coded && c == '+':
			c = ' '
		case p.coded && c == '%':
			if i+2 >= v.to {
				return to, false
			}
			n, err := strconv.ParseUint(string(p.text[i+1:i+3]), 16, 8)
			if err != nil {
				return to, false
			}
			c, i = byte(n), i+2
		}
		to = append(to, c)
	}
	return to, true
}
