package protocol

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what an error means for what comes next. It is set where the error is born, from typed errors and status
// codes, never from text.
type Kind uint8

const (
	KindUnknown     Kind = iota // not classified: treated as KindTransient, and worth a report
	KindTransient               // may pass by itself (5xx, 429, 408, a connection that broke): back off, for ever
	KindSlow                    // 503: the target asks for fewer requests
	KindUnreachable             // no connection: name, dial, TLS. The whole target waits and probes
	KindTarget                  // 401, 403, no such bucket, expired token, clock skew: the whole target waits and probes
	KindItem                    // this instruction cannot succeed as it is (400, name too long, unreadable file)
	KindNotFound                // no object under that key
	KindChanged                 // the source changed while it was read, or the object is not the expected one (412)
	KindBusy                    // the source is being written
	KindVanished                // the source is gone
	KindUsage                   // bad configuration or arguments
	KindLocal                   // our own disk: full, read-only, damaged
	KindLocked                  // another process holds it
	KindDamaged                 // what was read cannot be what was written
)

var kindNames = [...]string{"unknown", "transient", "slow", "unreachable", "target", "item", "not found", "changed",
	"busy", "vanished", "usage", "local", "locked", "damaged"}

// String returns the kind as a word or two.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error is an error a person can act on: what was done, to what, what went wrong, what to do.
type Error struct {
	Op     string // what was being done: "upload", "open the queue"
	Object string // to what: a path, a key, a bucket
	Kind   Kind
	Status int    // of the HTTP answer, or 0
	Code   string // S3's error code, or ""
	Hint   string // what to do about it, or ""
	Err    error

	// Unsure says of a request that failed for certain in its last attempt that an earlier attempt had no answer, so that
	// it may have taken effect.
	Unsure bool
}

// Error returns one line: "upload /a/b: permission denied (403 AccessDenied); check the key's policy".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Object != "" {
		b.WriteString(" " + e.Object)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	} else {
		b.WriteString(": " + e.Kind.String())
	}
	switch {
	case e.Status != 0 && e.Code != "":
		fmt.Fprintf(&b, " (%d %s)", e.Status, e.Code)
	case e.Status != 0:
		fmt.Fprintf(&b, " (%d)", e.Status)
	case e.Code != "":
		fmt.Fprintf(&b, " (%s)", e.Code)
	}
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return strings.ReplaceAll(b.String(), "\n", " ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first [Error] in err's chain, or KindUnknown.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindUnknown
}

// MayHaveArrived reports whether the first [Error] in err's chain is Unsure.
func MayHaveArrived(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Unsure
}

// AsError returns err as an [Error]: itself if it is one, else wrapped under op and object with KindUnknown. A nil err
// gives nil.
func AsError(err error, op, object string) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Op: op, Object: object, Err: err}
}
