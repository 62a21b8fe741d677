package queue

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	"s3apu/protocol"
)

// The encodings are our own: a version byte, then fields in a fixed order. Every value has exactly one encoding, so
// that decoding and encoding again gives the same bytes; a decoder takes nothing else and never panics.

func appendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }
func appendInt(b []byte, v int64) []byte   { return binary.AppendVarint(b, v) }

func appendString(b []byte, s string) []byte {
	b = appendUint(b, uint64(len(s)))
	return append(b, s...)
}

var errEncoding = errors.New("a row of the store cannot be what was written")

// decoder reads fields until the first error, and zeros after it.
type decoder struct {
	b    []byte
	err  error
	text string // ends as b does; the texts of the fields are parts of it. Empty: each is a copy
}

// check notes an error about what unless ok.
func (d *decoder) check(ok bool, what string) {
	if !ok && d.err == nil {
		d.err = fmt.Errorf("%w: bad %s", errEncoding, what)
		d.b = nil
	}
}

func (d *decoder) version(want byte) { d.check(d.byte() == want, "version") }
func (d *decoder) end()              { d.check(len(d.b) == 0, "end") }

func (d *decoder) byte() byte {
	d.check(len(d.b) > 0, "length")
	if d.err != nil {
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.check(n > 0 && (n == 1 || d.b[n-1] != 0), "number") // a last byte of 0 is a longer way to write the same
	if d.err != nil {
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) uintUpTo(limit uint64) uint64 {
	v := d.uint()
	d.check(v <= limit, "range")
	if d.err != nil {
		return 0
	}
	return v
}

func (d *decoder) int() int64 {
	u := d.uint()
	return int64(u>>1) ^ -int64(u&1)
}

func (d *decoder) time() int64 { return int64(d.uintUpTo(math.MaxInt64)) }

func (d *decoder) string() string {
	n := d.uint()
	d.check(n <= uint64(len(d.b)), "length")
	if d.err != nil {
		return ""
	}
	at := len(d.text) - len(d.b)
	b := d.b[:n]
	d.b = d.b[n:]
	if d.text != "" {
		return d.text[at : at+int(n)]
	}
	return string(b)
}

const (
	entryVersion  = 1
	uploadVersion = 1
)

// The forms of an MD5 in an entry.
const (
	md5None = iota // empty
	md5Hex         // sixteen bytes, the lower-case hex form of which is the MD5
	md5Same        // the ETag
	md5Text        // any other text
)

// appendEntry appends the encoding of e, all but bucket and key, which are the key of its row.
func appendEntry(b []byte, e *protocol.Entry) []byte {
	b = append(b, entryVersion, byte(e.Verb))
	b = appendString(b, e.Source)
	b = appendStat(b, &e.Stat)
	b = appendHex(b, e.ETag)
	if e.MD5 != "" && e.MD5 == e.ETag {
		b = append(b, md5Same)
	} else {
		b = appendHex(b, e.MD5)
	}
	b = appendInt(b, e.PartSize)
	b = appendString(b, e.VersionID)
	return appendInt(b, e.Put)
}

func appendStat(b []byte, s *protocol.Stat) []byte {
	b = appendInt(b, s.Size)
	b = appendInt(b, s.MTime)
	b = appendInt(b, s.CTime)
	b = appendUint(b, s.Dev)
	b = appendUint(b, s.Ino)
	b = appendUint(b, uint64(s.Mode))
	b = appendUint(b, uint64(s.UID))
	return appendUint(b, uint64(s.GID))
}

// appendHex appends a text that mostly is an MD5 in hex, half as long where it is.
func appendHex(b []byte, s string) []byte {
	if s == "" {
		return append(b, md5None)
	}
	if raw, ok := shortHex(s); ok {
		return append(append(b, md5Hex), raw...)
	}
	return appendString(append(b, md5Text), s)
}

func shortHex(s string) ([]byte, bool) {
	if len(s) != 32 {
		return nil, false
	}
	raw, err := hex.DecodeString(s)
	return raw, err == nil && hex.EncodeToString(raw) == s
}

// decodeEntry is the inverse of [appendEntry].
func decodeEntry(id protocol.ObjectID, b []byte) (*protocol.Entry, error) {
	e := new(protocol.Entry)
	if err := (&decoder{b: b}).entry(id, e); err != nil {
		return nil, err
	}
	return e, nil
}

// entry reads the entry of an object.
func (d *decoder) entry(id protocol.ObjectID, e *protocol.Entry) error {
	d.version(entryVersion)
	*e = protocol.Entry{Bucket: id.Bucket, Key: id.Key, Verb: protocol.Verb(d.byte())}
	e.Source = d.string()
	e.Stat = d.stat()
	e.ETag = d.hex("")
	e.MD5 = d.hex(e.ETag)
	e.PartSize = d.int()
	e.VersionID = d.string()
	e.Put = d.int()
	d.end()
	return d.err
}

func (d *decoder) stat() protocol.Stat {
	return protocol.Stat{
		Size: d.int(), MTime: d.int(), CTime: d.int(), Dev: d.uint(), Ino: d.uint(),
		Mode: uint32(d.uintUpTo(math.MaxUint32)),
		UID:  uint32(d.uintUpTo(math.MaxUint32)),
		GID:  uint32(d.uintUpTo(math.MaxUint32)),
	}
}

// hex is the inverse of [appendHex]; same is what md5Same stands for.
func (d *decoder) hex(same string) string {
	switch form := d.byte(); form {
	case md5None:
		return ""
	case md5Hex:
		d.check(len(d.b) >= 16, "length")
		if d.err != nil {
			return ""
		}
		s := hex.EncodeToString(d.b[:16])
		d.b = d.b[16:]
		d.check(s != same, "form of a hash")
		return s
	case md5Same:
		d.check(same != "", "form of a hash")
		return same
	case md5Text:
		s := d.string()
		_, short := shortHex(s)
		d.check(s != "" && s != same && !short, "form of a hash")
		return s
	default:
		d.check(false, "form of a hash")
		return ""
	}
}

// appendUpload appends the encoding of u, all but bucket and key.
//
// An upload by CRC-64 has the negative of its part size, and behind each part another one of that number, whose size is the
// sum. A program that knows nothing of it finds no sensible part size, and begins the upload anew.
func appendUpload(b []byte, u *protocol.Upload) []byte {
	crc, size, n := u.CRC64 && u.PartSize > 0, u.PartSize, uint64(len(u.Parts))
	if crc {
		size, n = -size, 2*n
	}
	b = append(b, uploadVersion)
	b = appendString(b, u.UploadID)
	b = appendInt(b, size)
	b = appendStat(b, &u.Stat)
	b = appendInt(b, u.Began)
	b = appendUint(b, n)
	for i := range u.Parts {
		p := &u.Parts[i]
		b = appendPart(b, p.Number, p.Size, p.ETag)
		if crc {
			b = appendPart(b, p.Number, int64(p.CRC64), "")
		}
	}
	return b
}

func appendPart(b []byte, number int32, size int64, etag string) []byte {
	b = appendInt(b, int64(number))
	b = appendInt(b, size)
	return appendHex(b, etag)
}

// decodeUpload is the inverse of [appendUpload].
func decodeUpload(id protocol.ObjectID, b []byte) (*protocol.Upload, error) {
	d := decoder{b: b}
	d.version(uploadVersion)
	u := &protocol.Upload{Bucket: id.Bucket, Key: id.Key, UploadID: d.string(), PartSize: d.int()}
	if u.CRC64 = u.PartSize < 0; u.CRC64 {
		u.PartSize = -u.PartSize
		d.check(u.PartSize > 0, "part size")
	}
	u.Stat = d.stat()
	u.Began = d.int()
	n := d.uintUpTo(uint64(len(d.b))) // a part takes three bytes at least
	d.check(!u.CRC64 || n%2 == 0, "number of parts")
	for i := range n {
		p := d.part()
		if u.CRC64 && i%2 == 1 {
			last := &u.Parts[len(u.Parts)-1]
			last.CRC64 = uint64(p.Size)
			d.check(p.Number == last.Number && p.ETag == "", "sum of a part")
		} else {
			u.Parts = append(u.Parts, p)
		}
		if d.err != nil {
			break
		}
	}
	d.end()
	if d.err != nil {
		return nil, d.err
	}
	return u, nil
}

func (d *decoder) part() protocol.Part {
	number := d.int()
	d.check(number == int64(int32(number)), "part number")
	return protocol.Part{Number: int32(number), Size: d.int(), ETag: d.hex("")}
}
