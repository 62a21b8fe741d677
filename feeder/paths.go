package feeder

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"s3apu/protocol"
)

// layout says under which key a folder's object is kept.
type layout uint8

const (
	slash layout = iota // "dir/"
	plain               // "dir", S3 APU's layout
	none                // no folder objects
)

func layoutOf(s string) (layout, bool) {
	switch s {
	case "", "slash":
		return slash, true
	case "plain":
		return plain, true
	case "none":
		return none, true
	}
	return slash, false
}

// key returns the object key of the file at rel, valid or not.
func (f *Feeder) key(rel string) protocol.Key { return protocol.Key(f.prefix + rel) }

// folderKey returns the key under which the folder at rel is known: of its object, and where there is none the name
// that it is listed by when something is wrong with it.
func (f *Feeder) folderKey(rel string) protocol.Key {
	if f.layout == plain {
		return f.key(rel)
	}
	return f.key(rel) + "/"
}

func (f *Feeder) id(key protocol.Key) protocol.ObjectID {
	return protocol.ObjectID{Bucket: f.folder.Bucket, Key: key}
}

// relOf returns the path that this folder maps to key. A folder's key and a file's give the same path.
func (f *Feeder) relOf(key protocol.Key) string {
	return strings.TrimSuffix(strings.TrimPrefix(string(key), f.prefix), "/")
}

// isPath reports whether source is the absolute path of rel, without building it.
func (f *Feeder) isPath(source, rel string) bool {
	if os.PathSeparator != '/' || f.folder.Root == "/" {
		return source == f.path(rel)
	}
	root := f.folder.Root
	return len(source) == len(root)+1+len(rel) && source[len(root)] == '/' &&
		source[:len(root)] == root && source[len(root)+1:] == rel
}

// owns reports whether a row stands for an object that this folder put there, and the path it was made from.
func (f *Feeder) owns(row *protocol.Entry) (string, bool) {
	if row.Verb != protocol.Upl && row.Verb != protocol.Mkd {
		return "", false
	}
	rel := f.relOf(row.Key)
	return rel, rel != "" && f.isPath(row.Source, rel)
}

// ownsWish reports whether a record is a hint about a path of this folder, and which path.
func (f *Feeder) ownsWish(rec Record) (string, bool) {
	if !rec.Hint || rec.Verb != protocol.Upl && rec.Verb != protocol.Mkd {
		return "", false
	}
	if rel := f.relOf(rec.Key); rel != "" && f.isPath(rec.Source, rel) {
		return rel, true
	}
	// A name that cannot be a key is listed under a display form: only the source tells the path.
	rel, ok := strings.CutPrefix(rec.Source, strings.TrimSuffix(joinPath(f.folder.Root, "x"), "x"))
	if !ok || rel == "" {
		return "", false
	}
	if os.PathSeparator != '/' {
		rel = strings.ReplaceAll(rel, string(os.PathSeparator), "/")
	}
	shown := string(rec.Key)
	return rel, checkKey(f.key(rel), rec.Verb == protocol.Mkd && f.layout != plain) != nil &&
		strings.TrimRight(shown, "/~") == strings.TrimRight(display(string(f.key(rel))), "/~")
}

// inScope reports whether a path belongs to the folder: not too deep, and neither it nor a folder above it excluded.
func (f *Feeder) inScope(rel string, folder bool) bool {
	if f.folder.Depth > 0 && strings.Count(rel, "/") >= f.folder.Depth {
		return false
	}
	for i := range len(rel) {
		if rel[i] == '/' && !f.folder.Match(rel[:i], true) {
			return false
		}
	}
	return f.folder.Match(rel, folder)
}

// checkKey reports why key cannot be used; folder says that a slash will be added to it.
func checkKey(key protocol.Key, folder bool) error {
	if folder {
		key += "/"
	}
	return key.Check()
}

// okName is the part of [protocol.Key.Check] that can fail for an entry of a folder whose own key is valid.
func okName(key, name string) bool {
	return len(key) <= protocol.MaxKeyBytes && utf8.ValidString(name)
}

// display returns a readable form of a name: bytes that are not UTF-8 are written \xNN.
func display(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[0])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}
