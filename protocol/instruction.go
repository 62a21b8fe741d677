package protocol

import (
	"errors"
	"fmt"
	"strings"
)

// Verb says what is to be done with a key. The zero Verb is not valid.
type Verb uint8

// The four verbs of S3 APU.
const (
	Mkd Verb = iota + 1 // make a folder object
	Upl                 // upload a local file
	Cpo                 // copy an object within S3
	Del                 // delete an object
)

var verbNames = [...]string{Mkd: "mkd", Upl: "upl", Cpo: "cpo", Del: "del"}

// String returns the three letters of the wire, or "verb(N)" for a value that is none of the four.
func (v Verb) String() string {
	if v >= Mkd && v <= Del {
		return verbNames[v]
	}
	return fmt.Sprintf("verb(%d)", uint8(v))
}

// ParseVerb is the inverse of [Verb.String].
func ParseVerb(s string) (Verb, bool) {
	for v := Mkd; v <= Del; v++ {
		if verbNames[v] == s {
			return v, true
		}
	}
	return 0, false
}

// Instruction is what S3 should be made to do. It is idempotent: carried out twice it leaves what it leaves once.
type Instruction struct {
	Verb   Verb
	Bucket string // the destination bucket; the wire does not carry it, there it is always the default bucket
	Key    Key    // the destination; of mkd without a trailing slash on the wire, as the object's own key elsewhere
	Source string // upl: the file's absolute path; mkd: the folder's, or empty; cpo: "/bucket/key"; del: empty. Of mkd the wire has none

	// From, "/bucket/key", may stand in an upl: the object that held the file's content under the name that the file had
	// before. Where that is still so the upload is a copy within S3, else the file is sent. The wire has none.
	From string

	// Guest, in an upl, bounds what may be read by the rights of the client that asked for it. The wire has none: the server
	// sets it.
	Guest Guest
}

// ID names the object that the instruction writes.
func (i Instruction) ID() ObjectID { return ObjectID{Bucket: i.Bucket, Key: i.Key} }

// Check reports why the instruction can never be carried out, or nil. It looks at the text only, not at the disk.
func (i Instruction) Check() error {
	if err := i.Key.Check(); err != nil {
		return err
	}
	if i.From != "" {
		if _, err := ParseObjectID(i.From); err != nil {
			return err
		}
		if i.Verb != Upl {
			return errors.New("only an upl may have an object to begin with")
		}
	}
	if i.Guest != "" {
		if _, _, _, err := i.Guest.User(); err != nil {
			return err
		}
		if i.Verb != Upl {
			return errors.New("only an upl is bounded by the rights of a guest")
		}
	}
	switch i.Verb {
	case Mkd:
		if i.Source != "" {
			return checkPath(i.Source)
		}
	case Del:
		if i.Source != "" {
			return errors.New("del takes a key only")
		}
	case Upl:
		if i.Key.IsFolder() {
			return errors.New("the key of an upload ends in a slash")
		}
		return checkPath(i.Source)
	case Cpo:
		if _, err := ParseObjectID(i.Source); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s is not a verb", i.Verb)
	}
	return nil
}

// checkPath reports why a source cannot be the path of a local file or folder.
func checkPath(source string) error {
	windows := isWindowsPath(source)
	if !strings.HasPrefix(source, "/") && !windows {
		return errors.New("the source is not an absolute path")
	}
	if strings.IndexByte(source, 0) >= 0 {
		return errors.New("the source holds a NUL byte")
	}
	if windows { // elsewhere a backslash is a letter like others
		source = strings.ReplaceAll(source, `\`, "/")
	}
	for seg := range strings.SplitSeq(source, "/") {
		if seg == ".." {
			return errors.New(`the source holds a ".." segment`)
		}
	}
	return nil
}

// isWindowsPath reports whether s begins with a drive letter, as absolute paths on Windows do.
func isWindowsPath(s string) bool {
	return len(s) > 2 && s[1] == ':' && (s[2] == '\\' || s[2] == '/') && (s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z')
}

// Class says how an instruction shares the workers with others.
type Class uint8

const (
	Live     Class = iota // somebody waits for it: a change just seen, an instruction from the socket
	Backfill              // found by a scan, and found again by the next one
)

// String returns "live" or "backfill".
func (c Class) String() string {
	if c == Backfill {
		return "backfill"
	}
	return "live"
}
