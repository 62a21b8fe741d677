package bucket

import (
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"s3apu/protocol"
)

// Parts of an upload go with a CRC-64/NVME or, as ever, with an MD5. What a server does with the CRC is found out by trying: it
// may refuse to be asked, say nothing, agree and then tell no sum of a part, or compute it in some other way. In each case the
// upload is given up and the next one is by MD5, for as long as the bucket is open. Once it has kept to its word it is
// believed: what it refuses then is the file's fault.

// sums is what is known of a server. Safe for concurrent use.
type sums struct {
	onlyMD5 atomic.Bool
	proven  atomic.Int32
}

// Values of sums.proven.
const (
	byPart  = 1 // it has confirmed the CRC-64 of a part
	byWhole = 2 // and that of a whole object
)

// prove notes that the server has confirmed a CRC-64.
func (s *sums) prove(what int32) {
	if s.proven.Load() < what { // goes up only, and no harm is done where one step is lost
		s.proven.Store(what)
	}
}

var errSilent = errors.New("its answer does not say that it checks parts by CRC-64")

// agrees reports whether a server says that it checks the parts of an upload by CRC-64, and the whole.
func agrees(out *s3.CreateMultipartUploadOutput) bool {
	return out.ChecksumAlgorithm == types.ChecksumAlgorithmCrc64nvme && (out.ChecksumType == types.ChecksumTypeFullObject || out.ChecksumType == "")
}

// declined reports whether err is an answer that may be about a checksum, or the wish for one. The SDK says 500 for an error in
// an answer that had begun as 200.
func declined(err error) bool {
	var e *protocol.Error
	if !errors.As(err, &e) {
		return false
	}
	_, listed := codes[e.Code]
	switch e.Status {
	case http.StatusBadRequest, http.StatusNotImplemented:
		return e.Kind == protocol.KindItem || e.Kind == protocol.KindChanged || e.Kind == protocol.KindTarget && !listed
	case http.StatusInternalServerError:
		return e.Kind == protocol.KindItem || e.Kind == protocol.KindChanged
	}
	return false
}

// byMD5 has all uploads from now on sent by MD5, and says why.
func (b *Bucket) byMD5(why error) {
	if b.sums.onlyMD5.CompareAndSwap(false, true) {
		b.cfg.Log.Info("parts of large files go with MD5, for the server does not check them by CRC-64", "bucket", b.name, "err", why)
	}
}

// doubt is told of a refusal in an upload by CRC-64. As long as the server has not shown that it can do what is asked here, the
// refusal may be about that, whatever it says: then the next upload is by MD5, and this one no fault of the file or the target.
func (b *Bucket) doubt(e *protocol.Error, unless int32) {
	switch {
	case !declined(e):
	case b.sums.proven.Load() < unless:
		b.byMD5(e)
		e.Kind, e.Hint = protocol.KindChanged, "" // aborted, and begun again without being counted
	case e.Kind == protocol.KindChanged && unless == byWhole: // not by the file: all its parts are confirmed
		e.Kind, e.Hint = protocol.KindItem, ""
	}
}

// verifyCRC compares the checksum in an answer with that of what was sent.
func (b *Bucket) verifyCRC(op string, key protocol.Key, etag string, sent uint64, stored string) error {
	e := &protocol.Error{Op: op, Object: b.object(key), Kind: protocol.KindTransient, Status: http.StatusOK, Hint: hintEndpoint}
	switch {
	case etag == "":
		e.Err = errNoETag
		return e
	case stored == crcText(sent):
		b.sums.prove(byPart)
		return nil
	case stored == "":
		e.Err = errors.New("the answer holds no checksum, though the server said that it checks by CRC-64")
	default:
		e.Err = errors.New("the server says that it stored CRC-64 " + stored + ", and " + crcText(sent) + " was sent")
	}
	if stored == "" || b.sums.proven.Load() < byPart {
		b.byMD5(e)
		e.Kind = protocol.KindChanged // as in doubt
	}
	return e
}
