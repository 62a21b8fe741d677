package protocol

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The text of an instruction is "verb|key" or "verb|source|key". Every byte of a field that is outside the alphabet of
// S3 APU, [a-zA-Z0-9-_.~/], is written as "%XX". The original never took a percent sign, so the two forms cannot be
// confused. A reader also takes such bytes unencoded, as long as the field is UTF-8 without '|', ';', control bytes
// and percent signs that begin no "%XX".

// MaxSourceBytes is the longest source path that the wire carries, in bytes: PATH_MAX of Linux (limits.h), the longest
// of the systems that we run on by default.
const MaxSourceBytes = 4096

// maxBucketBytes is the longest name of a bucket, in bytes: 63 today, 255 for buckets made in us-east-1 before March
// 2018 (Amazon S3 User Guide, "Bucket naming rules").
const maxBucketBytes = 255

const (
	fieldSep = '|'
	itemSep  = ';'
	idSep    = '~' // between a lease's ID and its instruction
)

// Reasons why a text is not an instruction, beside those of [Instruction.Check].
var (
	errEmpty   = errors.New("the request is empty")
	errVerb    = errors.New("unknown request")
	errMissing = errors.New("a field is missing")
	errExtra   = errors.New("there are more fields than the request takes")
	errControl = errors.New("a control byte is not percent-encoded")
	errSep     = errors.New(`a ";" or "|" is not percent-encoded`)
	errPercent = errors.New(`a "%" begins no percent-encoded byte`)
	errUTF8    = errors.New("bytes that are not UTF-8 are not percent-encoded")
	errSlashes = errors.New("the key of a folder ends in two slashes")
	errSource  = fmt.Errorf("the source is longer than %d bytes", MaxSourceBytes)
	errBucket  = errors.New("the bucket of the source is not a bucket's name")
	errBuckets = errors.New("the wire cannot name a destination bucket")
)

// EncodeInstruction returns the text of in: "upl|/path|key", in the alphabet of S3 APU and the percent sign only. The
// key of a mkd loses its trailing slash, and its source, which the wire has no field for. The error is an [*Error] of KindItem: what it was given could not be read
// back by [DecodeInstruction].
func EncodeInstruction(in Instruction) (string, error) {
	b, err := AppendInstruction(nil, in)
	return string(b), err
}

// AppendInstruction is [EncodeInstruction] into the end of dst. On an error dst is returned as it was.
func AppendInstruction(dst []byte, in Instruction) ([]byte, error) {
	if in.Verb == Mkd {
		in.Key, in.Source = Key(strings.TrimSuffix(string(in.Key), "/")), ""
	}
	if err := checkWire(in); err != nil {
		return dst, &Error{Op: "write the instruction", Object: in.Verb.String() + " " + printable(string(in.Key)), Kind: KindItem, Err: err}
	}
	dst = append(dst, in.Verb.String()...)
	dst = append(dst, fieldSep)
	if in.Verb == Upl || in.Verb == Cpo {
		dst = appendEscaped(dst, in.Source)
		dst = append(dst, fieldSep)
	}
	return appendEscaped(dst, string(in.Key)), nil
}

// DecodeInstruction reads the text of an instruction. What it accepts passes [Instruction.Check], has no Bucket, and
// comes back equal from another trip over the wire. The key of a mkd may end in one slash, which is dropped. The
// error is an [*Error] of KindItem.
func DecodeInstruction(text string) (Instruction, error) {
	in, err := decodeInstruction(text)
	if err != nil {
		return Instruction{}, &Error{Op: "read the instruction", Object: printable(text), Kind: KindItem, Err: err}
	}
	return in, nil
}

func decodeInstruction(text string) (Instruction, error) {
	if text == "" {
		return Instruction{}, errEmpty
	}
	name, rest, more := strings.Cut(text, string(fieldSep))
	verb, ok := ParseVerb(name)
	if !ok {
		return Instruction{}, errVerb
	}
	if !more {
		return Instruction{}, errMissing
	}
	in := Instruction{Verb: verb}
	key := rest
	if verb == Upl || verb == Cpo {
		var source string
		source, key, ok = strings.Cut(rest, string(fieldSep))
		if !ok {
			return Instruction{}, errMissing
		}
		var err error
		if in.Source, err = unescape(source); err != nil {
			return Instruction{}, err
		}
	}
	if strings.IndexByte(key, fieldSep) >= 0 {
		return Instruction{}, errExtra
	}
	key, err := unescape(key)
	if err != nil {
		return Instruction{}, err
	}
	if verb == Mkd {
		key = strings.TrimSuffix(key, "/")
	}
	in.Key = Key(key)
	return in, checkWire(in)
}

// checkWire reports why in cannot travel: [Instruction.Check], and what only the wire forbids.
func checkWire(in Instruction) error {
	if in.Bucket != "" {
		return errBuckets
	}
	if err := in.Check(); err != nil {
		return err
	}
	switch in.Verb {
	case Mkd:
		if in.Key.IsFolder() {
			return errSlashes
		}
	case Upl:
		if len(in.Source) > MaxSourceBytes {
			return errSource
		}
	case Cpo:
		id, err := ParseObjectID(in.Source)
		if err != nil {
			return err
		}
		return checkBucket(id.Bucket)
	}
	return nil
}

// checkBucket takes every name that S3 ever let a bucket have, and nothing that could mean another place in a URL.
func checkBucket(name string) error {
	if name == "" || len(name) > maxBucketBytes || name == "." || name == ".." {
		return errBucket
	}
	for i := range len(name) {
		if c := name[i]; !isPlain(c) || c == '/' || c == '~' {
			return errBucket
		}
	}
	return nil
}

// isPlain reports whether c belongs to the alphabet of S3 APU.
func isPlain(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '-' && c <= '9', c == '_', c == '~':
		return true // '-' to '9' are - . / and the digits
	}
	return false
}

const hexDigits = "0123456789ABCDEF"

// appendEscaped appends s with every byte outside the alphabet as %XX.
func appendEscaped(dst []byte, s string) []byte {
	from := 0
	for i := range len(s) {
		if c := s[i]; !isPlain(c) {
			dst = append(dst, s[from:i]...)
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
			from = i + 1
		}
	}
	return append(dst, s[from:]...)
}

// escape is appendEscaped to a string.
func escape(s string) string { return string(appendEscaped(nil, s)) }

// unescape reads one field. It allocates only if there is something to decode.
func unescape(s string) (string, error) {
	percents, high := 0, false
	for i := range len(s) {
		switch c := s[i]; {
		case isPlain(c):
		case c == '%':
			percents++
		case c < 0x20 || c == 0x7f:
			return "", errControl
		case c == itemSep || c == fieldSep:
			return "", errSep
		case c >= utf8.RuneSelf:
			high = true
		}
	}
	if high && !utf8.ValidString(s) {
		return "", errUTF8
	}
	if percents == 0 {
		return s, nil
	}
	var b strings.Builder
	b.Grow(max(len(s)-2*percents, 0)) // negative only for what is refused below
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) {
				return "", errPercent
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi > 15 || lo > 15 {
				return "", errPercent
			}
			c = hi<<4 | lo
			i += 2
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// unhex returns the value of a hexadecimal digit in either case, or 255.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// maxPrinted is how many bytes of a request are shown in logs and errors. A guess: enough to recognise it.
const maxPrinted = 200

// printable returns the beginning of s in a form that is safe on a terminal and in a log: one line, no control
// characters, no broken UTF-8.
func printable(s string) string {
	cut := len(s) > maxPrinted
	if cut {
		s = s[:maxPrinted]
	}
	q := fmt.Sprintf("%q", s)
	q = strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
	if cut {
		q += "…"
	}
	return q
}
