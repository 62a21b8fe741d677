package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strconv"
	"strings"

	"s3apu/protocol"
)

// markName is the metadata (x-amz-meta-s3apu) by which a worker knows its own work again, should the answer to it be lost
// and its file be gone before anybody can look: see [hand.orphan] and docs/design/0011.
const markName = "s3apu"

// marked returns the headers of an object that is about to be sent under key, with the mark of this attempt: the token of
// the lease, and a hash of everything that makes it this attempt and no other. etag is that of the object to be, or
// "" where it cannot be told before. hd itself stays as it is: what an object carries is compared without the mark.
func marked(d *protocol.Delivery, key protocol.Key, hd protocol.Headers, size int64, etag string) protocol.Headers {
	if d.Queue == "" {
		return hd
	}
	hd.Meta = maps.Clone(hd.Meta)
	hd.Meta[markName] = strconv.FormatUint(d.Token, 36) + "-" + markOf(d, d.Token, key, hd, size, etag)
	return hd
}

// markOf is the second half of a mark. The name of the queue, which nobody else knows, makes that of others another one, so that a
// copy under another key, a mark with other content, or an object whose attributes somebody changed bears none.
func markOf(d *protocol.Delivery, token uint64, key protocol.Key, hd protocol.Headers, size int64, etag string) string {
	h := sha256.New()
	for _, part := range []string{d.Queue, strconv.FormatUint(token, 36), d.Bucket, string(key), strconv.FormatInt(size, 10),
		strings.ToLower(etag), hd.ContentType, hd.Meta["mode"], hd.Meta["uid"], hd.Meta["gid"], hd.Meta["mtime"]} {
		h.Write([]byte(part))
		h.Write([]byte{0}) // none of them holds one
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// sentBy reports whether o is what this hand or an earlier one of d, since the last that ended well, has sent. A person
// may have let an older object of ours stay for good, so an older token does not count.
func sentBy(d *protocol.Delivery, o *protocol.Object) bool {
	token, ok := sentByUs(d, o)
	return ok && d.First != 0 && d.First <= token && token <= d.Token
}

// sentByUs reports whether o is, as it is, what some hand of d's queue has sent under its key, and with which token.
func sentByUs(d *protocol.Delivery, o *protocol.Object) (token uint64, ok bool) {
	text, sum, _ := strings.Cut(o.Meta[markName], "-")
	token, err := strconv.ParseUint(text, 36, 64)
	if err != nil || d.Queue == "" {
		return 0, false
	}
	hd := protocol.Headers{ContentType: o.ContentType, Meta: o.Meta}
	return token, sum == markOf(d, token, o.Key, hd, o.Size, o.ETag) || sum == markOf(d, token, o.Key, hd, o.Size, "")
}
