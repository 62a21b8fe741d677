package protocol

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// EncodeInfo returns the answer to inf: "qsize:0|th_count:1|…|uptime:0.0", names in S3 APU's order. The uptime is in
// seconds, to the millisecond.
func EncodeInfo(i Info) string {
	seconds := strconv.FormatFloat(i.Uptime.Round(time.Millisecond).Seconds(), 'f', -1, 64)
	if !strings.Contains(seconds, ".") {
		seconds += ".0" // as Python prints a float
	}
	var b strings.Builder
	for _, f := range i.fields() {
		fmt.Fprintf(&b, "%s:%d|", f.name, *f.value)
	}
	return b.String() + "uptime:" + seconds
}

// DecodeInfo reads the answer to inf. Names that are missing stay zero and unknown names are passed over, so that
// versions may differ. The error is an [*Error] of KindDamaged.
func DecodeInfo(line string) (Info, error) {
	i, err := decodeInfo(line)
	if err != nil {
		return Info{}, &Error{Op: "read the queue's status", Object: printable(line), Kind: KindDamaged, Err: err}
	}
	return i, nil
}

func decodeInfo(line string) (i Info, err error) {
	counts := make(map[string]*int64, 8)
	for _, f := range i.fields() {
		counts[f.name] = f.value
	}
	for part := range strings.SplitSeq(line, string(fieldSep)) {
		name, value, ok := strings.Cut(part, ":")
		if !ok {
			return i, errors.New("a part is not written name:value")
		}
		if name == "uptime" {
			s, err := strconv.ParseFloat(value, 64)
			if err != nil || !(s >= 0 && s < math.MaxInt64/float64(time.Second)) {
				return i, errors.New("the uptime is not a number of seconds")
			}
			i.Uptime = time.Duration(math.Round(s*1e3)) * time.Millisecond
		} else if count := counts[name]; count != nil {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return i, fmt.Errorf("%s is not a number", name)
			}
			*count = n
		}
	}
	return i, nil
}

type infoField struct {
	name  string
	value *int64
}

// fields lists the counters of i in S3 APU's order.
func (i *Info) fields() []infoField {
	return []infoField{
		{"qsize", &i.QSize}, {"th_count", &i.ThCount}, {"total_cmd", &i.TotalCmd}, {"mkd_cmd", &i.MkdCmd},
		{"upl_cmd", &i.UplCmd}, {"cpo_cmd", &i.CpoCmd}, {"del_cmd", &i.DelCmd}, {"get_cmd", &i.GetCmd},
	}
}

// The ID of a lease carries all that [Handler.Settle] needs, so the server remembers nothing: token, gen and attempt
// in base 36, the verb, and the key in base64url, with dots between. All of it is in S3 APU's alphabet and free of
// '~'. It is not a secret and proves nothing: who may speak to the socket may take work from it anyway.

func appendLeaseID(dst []byte, d *Delivery) []byte {
	dst = strconv.AppendUint(dst, d.Token, 36)
	dst = append(dst, '.')
	dst = strconv.AppendUint(dst, d.Gen, 36)
	dst = append(dst, '.')
	dst = strconv.AppendUint(dst, uint64(max(d.Attempt, 0)), 36)
	dst = append(dst, '.')
	dst = append(dst, d.Verb.String()...)
	dst = append(dst, '.')
	return base64.RawURLEncoding.AppendEncode(dst, []byte(d.Key))
}

var errLeaseID = errors.New("not the ID of a lease")

// decodeLeaseID is the inverse of appendLeaseID. It takes the canonical form only.
func decodeLeaseID(id string) (Delivery, error) {
	part := strings.Split(id, ".")
	if len(part) != 5 {
		return Delivery{}, errLeaseID
	}
	token, err1 := strconv.ParseUint(part[0], 36, 64)
	gen, err2 := strconv.ParseUint(part[1], 36, 64)
	attempt, err3 := strconv.ParseUint(part[2], 36, 31)
	verb, ok := ParseVerb(part[3])
	key, err4 := base64.RawURLEncoding.Strict().DecodeString(part[4])
	if !ok || errors.Join(err1, err2, err3, err4) != nil || Key(key).Check() != nil {
		return Delivery{}, errLeaseID
	}
	d := Delivery{Instruction: Instruction{Verb: verb, Key: Key(key)}, Token: token, Gen: gen, Attempt: int(attempt)}
	if string(appendLeaseID(nil, &d)) != id {
		return Delivery{}, errLeaseID
	}
	return d, nil
}

// A failure travels as STATE|ATTEMPTS|SINCE|NEXT|VERB|BUCKET|KEY|SOURCE|REASON, each field percent-encoded. STATE is
// "dead" or "wait", times are milliseconds since 1970 or 0 for none, and an empty BUCKET is the default one. The key
// is not checked: a name that can be no key is a reason to fail.

const failureFields = 9

// maxReason is how much of a reason travels, in bytes. A guess: a few lines of a screen.
const maxReason = 1024

func appendFailure(dst []byte, f *Failure) []byte {
	state := "wait"
	switch {
	case f.Dead:
		state = "dead"
	case f.Held:
		state = "held"
	}
	dst = append(dst, state...)
	for _, n := range []int64{int64(f.Attempts), unixMilli(f.Since), unixMilli(f.Next)} {
		dst = append(dst, fieldSep)
		dst = strconv.AppendInt(dst, n, 10)
	}
	for _, s := range []string{f.Verb.String(), f.Bucket, string(f.Key), f.Source, clipReason(f.Reason)} {
		dst = append(dst, fieldSep)
		dst = appendEscaped(dst, s)
	}
	return dst
}

func decodeFailure(text string) (Failure, error) {
	damaged := func() (Failure, error) {
		return Failure{}, &Error{Op: "read the list of failures", Object: printable(text), Kind: KindDamaged, Err: errors.New("an item is not a failure")}
	}
	part := strings.Split(text, string(fieldSep))
	if len(part) != failureFields || part[0] != "dead" && part[0] != "wait" && part[0] != "held" {
		return damaged()
	}
	var n [3]int64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(part[1+i], 10, 64); err != nil {
			return damaged()
		}
	}
	for i := 4; i < failureFields; i++ {
		var err error
		if part[i], err = unescape(part[i]); err != nil {
			return damaged()
		}
	}
	verb, _ := ParseVerb(part[4]) // a failure may have none, as the name of a file that never became an instruction
	return Failure{
		Instruction: Instruction{Verb: verb, Bucket: part[5], Key: Key(part[6]), Source: part[7]},
		Dead:        part[0] == "dead", Held: part[0] == "held", Attempts: int(n[0]), Since: fromUnixMilli(n[1]), Next: fromUnixMilli(n[2]), Reason: part[8],
	}, nil
}

func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromUnixMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// clipReason returns at most maxReason bytes of s and cuts no character.
func clipReason(s string) string {
	if len(s) <= maxReason {
		return s
	}
	n := maxReason
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// encodeID writes an object's name for fld and rty: the plain key in the default bucket, else "/bucket/key".
// A key that itself begins with a slash is written "//key".
func encodeID(id ObjectID) string {
	if id.Bucket == "" && !strings.HasPrefix(string(id.Key), "/") {
		return escape(string(id.Key))
	}
	return escape(id.String())
}

// decodeID is the inverse of encodeID. The key is checked for nothing but being there.
func decodeID(text string) (ObjectID, error) {
	s, err := unescape(text)
	if err != nil {
		return ObjectID{}, err
	}
	id := ObjectID{Key: Key(s)}
	if rest, ok := strings.CutPrefix(s, "/"); ok {
		bucket, key, ok := strings.Cut(rest, "/")
		if !ok {
			return ObjectID{}, errors.New(`an object in another bucket is written "/bucket/key"`)
		}
		id = ObjectID{Bucket: bucket, Key: Key(key)}
	}
	if id.Key == "" {
		return ObjectID{}, ErrKeyEmpty
	}
	return id, nil
}
