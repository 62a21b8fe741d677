package nulls3

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// upload is a multipart upload under way.
type upload struct {
	bucket, key, head string
	began             time.Time
	parts             map[int]part
}

type part struct {
	size int64
	sum  [md5.Size]byte
}

func (s *Server) createUpload(r *request) {
	if !s.known(r) {
		return
	}
	s.mu.Lock()
	s.lastID++
	id := "upload-" + strconv.Itoa(s.lastID)
	s.uploads[id] = &upload{bucket: r.bucket, key: r.key, head: head(r.Header), began: time.Now(), parts: map[int]part{}}
	s.mu.Unlock()
	if r.Header.Get("X-Amz-Checksum-Algorithm") == "CRC64NVME" {
		r.w.Header().Set("X-Amz-Checksum-Algorithm", "CRC64NVME")
		r.w.Header().Set("X-Amz-Checksum-Type", "FULL_OBJECT")
	}
	s.xml(r, http.StatusOK, fmt.Appendf(nil, `%s<InitiateMultipartUploadResult xmlns="%s"><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s</UploadId></InitiateMultipartUploadResult>`,
		xml.Header, namespace, r.bucket, escaped(r.key), id))
}

func escaped(s string) string {
	var text strings.Builder
	_ = xml.EscapeText(&text, []byte(s)) // a Builder takes everything
	return text.String()
}

// under runs f with the upload that the request names, under the lock.
func (s *Server) under(r *request, f func(*upload)) bool {
	s.mu.Lock()
	up := s.uploads[r.query.Get("uploadId")]
	if up != nil && up.bucket == r.bucket && up.key == r.key {
		f(up)
		s.mu.Unlock()
		return true
	}
	s.mu.Unlock()
	s.fail(r, http.StatusNotFound, "NoSuchUpload", "there is no such upload")
	return false
}

func (s *Server) uploadPart(r *request) {
	number, err := strconv.Atoi(r.query.Get("partNumber"))
	if err != nil || number < 1 || number > 10_000 { // Amazon S3 User Guide, "multipart upload limits"
		s.fail(r, http.StatusBadRequest, "InvalidArgument", "the part's number is not from 1 to 10000")
		return
	}
	var p part
	copied := r.Header.Get(copySource) != ""
	if copied {
		o, ok := s.source(r)
		if !ok {
			return
		}
		p.size = o.size
		var first, last int64
		if _, err := fmt.Sscanf(r.Header.Get("X-Amz-Copy-Source-Range"), "bytes=%d-%d", &first, &last); err == nil {
			p.size = last - first + 1
		}
		p.sum = md5.Sum(fmt.Appendf(nil, "%x %d %d", o.sum, first, last)) // its bytes are not there
	} else {
		var ok bool
		if p.size, p.sum, ok = s.received(r); !ok {
			return
		}
	}
	if !s.under(r, func(up *upload) { up.parts[number] = p }) {
		return
	}
	etag := hex.EncodeToString(p.sum[:])
	if copied {
		s.copied(r, "CopyPartResult", etag)
		return
	}
	r.w.Header()["Etag"] = []string{`"` + etag + `"`}
	if crc := r.Header.Get(checksum); crc != "" {
		r.w.Header().Set(checksum, crc)
	}
	s.answer(r, http.StatusOK)
}

func (s *Server) completeUpload(r *request) {
	var in struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.NewDecoder(r.Body).Decode(&in); err != nil {
		s.fail(r, http.StatusBadRequest, "MalformedXML", err.Error())
		return
	}
	var o object
	sums, wrong := md5.New(), len(in.Part) == 0
	if !s.under(r, func(up *upload) {
		o.head, o.parts = up.head, int32(len(in.Part))
		for _, p := range in.Part {
			have, there := up.parts[p.PartNumber]
			wrong = wrong || !there || strings.Trim(p.ETag, `"`) != hex.EncodeToString(have.sum[:])
			sums.Write(have.sum[:])
			o.size += have.size
		}
		if !wrong {
			delete(s.uploads, r.query.Get("uploadId"))
		}
	}) {
		return
	}
	if wrong {
		s.fail(r, http.StatusBadRequest, "InvalidPart", "a part is not there, or not with this ETag")
		return
	}
	sums.Sum(o.sum[:0])
	if !s.commit(r, o) {
		return
	}
	s.xml(r, http.StatusOK, fmt.Appendf(nil, `%s<CompleteMultipartUploadResult xmlns="%s"><Bucket>%s</Bucket><Key>%s</Key><ETag>&quot;%s&quot;</ETag></CompleteMultipartUploadResult>`,
		xml.Header, namespace, r.bucket, escaped(r.key), o.etag()))
}

func (s *Server) abortUpload(r *request) {
	if s.under(r, func(*upload) { delete(s.uploads, r.query.Get("uploadId")) }) {
		s.answer(r, http.StatusNoContent)
	}
}

// listUploads answers with all of them at once.
func (s *Server) listUploads(r *request) {
	prefix := r.query.Get("prefix")
	s.mu.Lock()
	out := []byte(xml.Header + `<ListMultipartUploadsResult xmlns="` + namespace + `"><Bucket>` + r.bucket + `</Bucket><IsTruncated>false</IsTruncated>`)
	for id, up := range s.uploads {
		if up.bucket == r.bucket && strings.HasPrefix(up.key, prefix) {
			out = fmt.Appendf(out, "<Upload><Key>%s</Key><UploadId>%s</UploadId><Initiated>%s</Initiated></Upload>",
				escaped(up.key), id, up.began.UTC().Format(timeFormat))
		}
	}
	s.mu.Unlock()
	s.xml(r, http.StatusOK, append(out, "</ListMultipartUploadsResult>"...))
}

func (s *Server) listParts(r *request) {
	var out []byte
	if s.under(r, func(up *upload) {
		out = fmt.Appendf(out, `%s<ListPartsResult xmlns="%s"><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s</UploadId><IsTruncated>false</IsTruncated>`,
			xml.Header, namespace, r.bucket, escaped(r.key), r.query.Get("uploadId"))
		var numbers []int
		for n := range up.parts {
			numbers = append(numbers, n)
		}
		slices.Sort(numbers)
		for _, n := range numbers {
			out = fmt.Appendf(out, "<Part><PartNumber>%d</PartNumber><ETag>&quot;%x&quot;</ETag><Size>%d</Size></Part>", n, up.parts[n].sum, up.parts[n].size)
		}
	}) {
		s.xml(r, http.StatusOK, append(out, "</ListPartsResult>"...))
	}
}
