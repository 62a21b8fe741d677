package bucket_test

import (
	"crypto/md5"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/minio/crc64nvme"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

const (
	crcHeader    = "X-Amz-Checksum-Crc64nvme"
	crcAlgorithm = "X-Amz-Checksum-Algorithm"
)

// partServer takes uploads of the part "x" in one way or another.
type partServer struct {
	how     string
	begun   []string // the algorithms by which uploads were asked for
	aborted int
}

func (s *partServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	query := r.URL.Query()
	switch {
	case query.Has("uploads"):
		s.begin(w, r)
	case r.Method == http.MethodDelete:
		s.aborted++
		if s.how == "knows nothing, and ends nothing" {
			answer(http.StatusInternalServerError, "InternalError", "")(w, r)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPost && s.how == "joins otherwise, late":
		_, _ = io.WriteString(w, "   <Error><Code>BadDigest</Code><Message>The crc64nvme you specified did not match</Message></Error>")
	case r.Method == http.MethodPost && s.how == "joins otherwise":
		answer(http.StatusBadRequest, "BadDigest", "The crc64nvme you specified did not match")(w, r)
	case r.Method == http.MethodPost:
		_, _ = io.WriteString(w, `<CompleteMultipartUploadResult><ETag>"e-1"</ETag></CompleteMultipartUploadResult>`)
	default:
		s.part(w, r)
	}
}

func (s *partServer) begin(w http.ResponseWriter, r *http.Request) {
	asked := r.Header.Get(crcAlgorithm)
	s.begun = append(s.begun, asked)
	switch {
	case s.how == "is busy":
		answer(http.StatusServiceUnavailable, "SlowDown", "")(w, r)
		return
	case s.how == "has seen the keys expire":
		answer(http.StatusBadRequest, "ExpiredToken", "")(w, r)
		return
	case s.how == "refuses the key", s.how == "refuses with 400" && asked != "":
		answer(http.StatusBadRequest, "InvalidArgument", "no")(w, r)
		return
	case s.how == "refuses with 501" && asked != "":
		answer(http.StatusNotImplemented, "NotImplemented", crcAlgorithm)(w, r)
		return
	case asked == "" || strings.HasPrefix(s.how, "knows nothing"):
	case s.how == "takes another":
		w.Header().Set(crcAlgorithm, "CRC32")
	case s.how == "joins nothing":
		w.Header().Set(crcAlgorithm, asked)
		w.Header().Set("X-Amz-Checksum-Type", "COMPOSITE")
	default:
		w.Header().Set(crcAlgorithm, asked)
	}
	_, _ = io.WriteString(w, `<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>`)
}

func (s *partServer) part(w http.ResponseWriter, r *http.Request) {
	sum := r.Header.Get(crcHeader)
	if s.how != "tells no ETag" {
		w.Header().Set("ETag", `"9dd4e461268c8034f5c8564e155c67a6"`) // the MD5 of x
	}
	switch {
	case sum == "":
	case s.how == "computes otherwise":
		answer(http.StatusBadRequest, "BadDigest", "")(w, r)
	case s.how == "does not know the header":
		answer(http.StatusBadRequest, "WhatIsThis", crcHeader)(w, r)
	case s.how == "stores another":
		w.Header().Set(crcHeader, "AAAAAAAAAAA=")
	case s.how != "tells no sum":
		w.Header().Set(crcHeader, sum)
	}
}

// TestSumsOfParts: parts go by CRC-64 where a server does with it what it should, and else by MD5: no server is left with an
// upload that it cannot finish, and none is asked again.
func TestSumsOfParts(t *testing.T) {
	crc, md5Only, both := []string{"CRC64NVME"}, []string{""}, []string{"CRC64NVME", ""}
	type call struct {
		how    string
		begun  []string      // by which algorithms
		begin  protocol.Kind // what becomes of the beginning; 0: it is taken
		part   protocol.Kind // of the part
		finish protocol.Kind // of the end
	}
	after := func(c call) []call { return []call{c, {how: "agrees", begun: md5Only}} }
	for _, calls := range [][]call{
		{
			{how: "has seen the keys expire", begun: crc, begin: protocol.KindTarget},
			{how: "is busy", begun: crc, begin: protocol.KindSlow},
			{how: "refuses the key", begun: both, begin: protocol.KindItem},
			{how: "agrees", begun: crc},
			// Believed from now on.
			{how: "stores another", begun: crc, part: protocol.KindTransient},
			{how: "tells no ETag", begun: crc, part: protocol.KindTransient},
			{how: "computes otherwise", begun: crc, part: protocol.KindChanged},
			{how: "joins otherwise", begun: crc, finish: protocol.KindItem}, // counted: the parts were right
			{how: "joins otherwise, late", begun: crc, finish: protocol.KindItem},
			{how: "agrees", begun: crc},
		},
		after(call{how: "knows nothing", begun: both}),
		after(call{how: "knows nothing, and ends nothing", begun: crc, begin: protocol.KindTransient}),
		after(call{how: "takes another", begun: both}),
		after(call{how: "joins nothing", begun: both}),
		after(call{how: "refuses with 400", begun: both}),
		after(call{how: "refuses with 501", begun: both}),
		after(call{how: "tells no sum", begun: crc, part: protocol.KindChanged}),
		after(call{how: "stores another", begun: crc, part: protocol.KindChanged}),
		after(call{how: "computes otherwise", begun: crc, part: protocol.KindChanged}),
		after(call{how: "does not know the header", begun: crc, part: protocol.KindChanged}),
		after(call{how: "joins otherwise", begun: crc, finish: protocol.KindChanged}),
		after(call{how: "joins otherwise, late", begun: crc, finish: protocol.KindChanged}),
	} {
		s := &partServer{}
		b := against(t, s.ServeHTTP, func(cfg *bucket.Config) { cfg.Attempts = 1 })
		for _, c := range calls {
			*s = partServer{how: c.how}
			up := &protocol.Upload{Key: "k"}
			err := b.StartUpload(t.Context(), up, protocol.Headers{})
			if protocol.KindOf(err) != c.begin || !slices.Equal(s.begun, c.begun) {
				t.Errorf("a server that %s: begun by %q: %v", c.how, s.begun, err)
			}
			silent := strings.HasPrefix(c.how, "knows nothing") || c.how == "takes another" || c.how == "joins nothing"
			if up.CRC64 != (err == nil && slices.Equal(c.begun, crc)) || (s.aborted > 0) != silent {
				t.Errorf("a server that %s: %+v, %d aborted", c.how, up, s.aborted)
			}
			if (up.UploadID != "") != (err == nil || silent) { // what was begun is to be ended
				t.Errorf("a server that %s: the id is %q", c.how, up.UploadID)
			}
			if err != nil {
				continue
			}
			p := protocol.Part{Number: 1, Size: 1}
			if up.CRC64 {
				p.CRC64 = crc64nvme.Checksum([]byte("x"))
			}
			if p.ETag, err = b.UploadPart(t.Context(), up, p, md5.Sum([]byte("x")), strings.NewReader("x")); protocol.KindOf(err) != c.part {
				t.Errorf("a server that %s: a part: %v", c.how, err)
			}
			if err != nil {
				continue
			}
			up.Parts = []protocol.Part{p}
			if _, err = b.FinishUpload(t.Context(), up); protocol.KindOf(err) != c.finish {
				t.Errorf("a server that %s: the end: %v", c.how, err)
			}
		}
	}
}
