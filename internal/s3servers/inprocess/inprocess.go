package inprocess

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/signature"
)

// New returns an S3 endpoint that keeps its objects below dir, which is made if need be. With keys, which map an access
// key's id to its secret, only requests signed with one of them are let in; without, all are.
func New(dir string, keys map[string]string) (http.Handler, error) {
	s, err := openStore(dir)
	if err != nil {
		return nil, err
	}
	h := checksums(etags(gofakes3.New(s).Server()))
	if len(keys) > 0 {
		h = signed(h, keys)
	}
	return h, nil
}

// signed lets in what is signed with one of keys. It stands before etags, which changes headers that are signed.
func signed(next http.Handler, keys map[string]string) http.Handler {
	secret := func(id string) (string, bool) {
		s, ok := keys[id]
		return s, ok
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if res := signature.V4SignVerifyWithLookup(r, secret); res != signature.ErrNone {
			e := signature.GetAPIError(res)
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(e.HTTPStatusCode)
			_, _ = w.Write(signature.EncodeAPIErrorToResponseWithRequestID(e, "")) // the client is gone
			return
		}
		next.ServeHTTP(w, r)
	})
}

// etags translates ETags of multipart objects. gofakes3 makes every ETag of an object's hash in hexadecimal, and so
// cannot say "MD5-N"; the store appends N to such a hash in four bytes, and here it becomes what S3 says. In requests it
// goes the other way.
func etags(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"If-Match", "If-None-Match", "X-Amz-Copy-Source-If-Match", "X-Amz-Copy-Source-If-None-Match"} {
			if v := r.Header.Get(name); strings.Contains(v, "-") {
				r.Header.Set(name, inward(v))
			}
		}
		ew := &etagWriter{ResponseWriter: w}
		next.ServeHTTP(ew, r)
		ew.translate() // where neither a status nor a body was written
	})
}

// sizes of a hash in bytes: an MD5, and one with the number of parts behind it.
const (
	plainHash = 16
	partsHash = plainHash + 4
)

// etagOf returns the ETag, without quotes, that S3 gives an object with this hash.
func etagOf(hash []byte) string {
	if len(hash) != partsHash {
		return hex.EncodeToString(hash)
	}
	return fmt.Sprintf("%x-%d", hash[:plainHash], binary.BigEndian.Uint32(hash[plainHash:]))
}

// hashOf is the inverse of etagOf; nil if etag is none of ours.
func hashOf(etag string) []byte {
	sum, n, multi := strings.Cut(strings.Trim(etag, `"`), "-")
	hash, err := hex.DecodeString(sum)
	if err != nil || len(hash) != plainHash {
		return nil
	}
	if multi {
		parts, err := strconv.ParseUint(n, 10, 32)
		if err != nil {
			return nil
		}
		hash = binary.BigEndian.AppendUint32(hash, uint32(parts))
	}
	return hash
}

// inward rewrites a list of ETags into what gofakes3 compares with.
func inward(list string) string {
	all := strings.Split(list, ",")
	for i, tag := range all {
		if hash := hashOf(strings.TrimSpace(tag)); hash != nil {
			all[i] = fmt.Sprintf(`"%x"`, hash)
		}
	}
	return strings.Join(all, ", ")
}

// etagWriter rewrites the ETag of an answer just before it goes out.
type etagWriter struct {
	http.ResponseWriter
	sent bool
}

// translate rewrites the header, once.
func (w *etagWriter) translate() {
	if w.sent {
		return
	}
	w.sent = true
	h := w.Header()
	if hash, err := hex.DecodeString(strings.Trim(h.Get("ETag"), `"`)); err == nil && len(hash) == partsHash {
		h.Set("ETag", `"`+etagOf(hash)+`"`)
	}
}

func (w *etagWriter) WriteHeader(status int) {
	w.translate()
	w.ResponseWriter.WriteHeader(status)
}

func (w *etagWriter) Write(p []byte) (int, error) {
	w.translate()
	return w.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (w *etagWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
