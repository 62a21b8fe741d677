package protocol

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxKeyBytes is the longest object key in bytes of UTF-8 (Amazon S3 User Guide, "Naming Amazon S3 objects").
const MaxKeyBytes = 1024

// Key is the name of an object within a bucket: UTF-8, 1 to [MaxKeyBytes] bytes, without a leading slash.
// A key that ends in a slash names a folder object.
type Key string

// Errors that [Key.Check] wraps.
var (
	ErrKeyEmpty = errors.New("the key is empty")
	ErrKeyLong  = fmt.Errorf("the key is longer than %d bytes, the limit of S3", MaxKeyBytes)
	ErrKeySlash = errors.New("the key begins with a slash")
	ErrKeyUTF8  = errors.New("the name is not valid UTF-8, which S3 keys must be")
	ErrKeyNUL   = errors.New("the key holds a NUL byte")
	ErrKeyDots  = errors.New(`the key holds a "." or ".." segment, which stores that keep objects as files refuse`)
)

// Check reports why k cannot be the key of an object of ours, or nil.
func (k Key) Check() error {
	switch {
	case k == "":
		return ErrKeyEmpty
	case len(k) > MaxKeyBytes:
		return ErrKeyLong
	case k[0] == '/':
		return ErrKeySlash
	case !utf8.ValidString(string(k)):
		return ErrKeyUTF8
	case strings.IndexByte(string(k), 0) >= 0:
		return ErrKeyNUL
	}
	for seg := range strings.SplitSeq(string(k), "/") {
		if seg == "." || seg == ".." {
			return ErrKeyDots
		}
	}
	return nil
}

// IsFolder reports whether k names a folder object, which is to say that it ends in a slash.
func (k Key) IsFolder() bool { return strings.HasSuffix(string(k), "/") }

// Parents yields every key that names a folder above k as a plain name, nearest first: for "a/b/c" and for "a/b/c/"
// that is "a/b", "a". An object under one of these names makes k impossible on stores that keep objects as files.
func (k Key) Parents(yield func(Key) bool) {
	s := strings.TrimSuffix(string(k), "/")
	for i := strings.LastIndexByte(s, '/'); i > 0; i = strings.LastIndexByte(s[:i], '/') {
		if !yield(Key(s[:i])) {
			return
		}
	}
}

// ObjectID names one object: a bucket and a key in it.
type ObjectID struct {
	Bucket string
	Key    Key
}

// String returns bucket and key as cpo writes them: "/bucket/key".
func (o ObjectID) String() string { return "/" + o.Bucket + "/" + string(o.Key) }

// ParseObjectID reads the "/bucket/key" form in which cpo names its source.
func ParseObjectID(s string) (ObjectID, error) {
	rest, ok := strings.CutPrefix(s, "/")
	if !ok {
		return ObjectID{}, errors.New(`the source of a copy is written "/bucket/key"`)
	}
	bucket, key, ok := strings.Cut(rest, "/")
	if !ok || bucket == "" {
		return ObjectID{}, errors.New(`the source of a copy is written "/bucket/key"`)
	}
	if err := Key(key).Check(); err != nil {
		return ObjectID{}, err
	}
	return ObjectID{Bucket: bucket, Key: Key(key)}, nil
}
