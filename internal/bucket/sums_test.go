package bucket_test

import (
	"crypto/md5"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/minio/crc64nvme"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

// TestSumsOfParts: by which sum parts are sent is what the server has agreed to, and what it does not keep to is not asked
// for again.
func TestSumsOfParts(t *testing.T) {
	const create = `<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>`
	crc := "agrees"
	begun := []string{} // by which algorithm uploads were begun
	b := against(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodPost {
			asked := r.Header.Get("X-Amz-Checksum-Algorithm")
			begun = append(begun, asked)
			switch {
			case asked == "" || crc == "knows nothing":
			case crc == "refuses":
				answer(http.StatusNotImplemented, "NotImplemented", "x-amz-checksum-algorithm")(w, r)
				return
			case crc == "refuses with 400":
				answer(http.StatusBadRequest, "InvalidArgument", "x-amz-checksum-algorithm")(w, r)
				return
			case crc == "takes another":
				w.Header().Set("X-Amz-Checksum-Algorithm", "CRC32")
			default:
				w.Header().Set("X-Amz-Checksum-Algorithm", asked)
			}
			_, _ = io.WriteString(w, create)
			return
		}
		if (r.Header.Get("Content-Md5") == "") == (r.Header.Get("X-Amz-Checksum-Crc64nvme") == "") {
			t.Errorf("a part with %v", r.Header)
		}
		w.Header().Set("ETag", `"9dd4e461268c8034f5c8564e155c67a6"`) // the MD5 of x
		switch crc {
		case "agrees":
			w.Header().Set("X-Amz-Checksum-Crc64nvme", r.Header.Get("X-Amz-Checksum-Crc64nvme"))
		case "stores another":
			w.Header().Set("X-Amz-Checksum-Crc64nvme", "AAAAAAAAAAA=")
		}
	}, func(cfg *bucket.Config) { cfg.Attempts = 1 })
	for _, tc := range []struct {
		crc   string
		begun string // by which algorithms
		crc64 bool
		part  protocol.Kind // 0: it is taken
	}{
		{"agrees", "CRC64NVME", true, 0},
		{"knows nothing", "CRC64NVME", false, 0},
		{"takes another", "CRC64NVME", false, 0},
		{"stores another", "CRC64NVME", true, protocol.KindTransient},
		{"refuses with 400", "CRC64NVME,", false, 0},
		{"refuses", "", false, 0}, // has learned
	} {
		crc, begun = tc.crc, nil
		up := &protocol.Upload{Key: "k"}
		if err := b.StartUpload(t.Context(), up, protocol.Headers{}); err != nil || up.UploadID != "id" || up.CRC64 != tc.crc64 {
			t.Errorf("a server that %s: %+v, %v", crc, up, err)
		}
		if got := strings.Join(begun, ","); got != tc.begun {
			t.Errorf("a server that %s: begun by %q", crc, got)
		}
		if err := sendX(t, b, up); protocol.KindOf(err) != tc.part {
			t.Errorf("a server that %s: a part: %v", crc, err)
		}
	}
}

// TestSumThatIsNotKept: a server that agreed and says nothing of it afterwards. The upload is not gone on with, and the next
// one is by MD5.
func TestSumThatIsNotKept(t *testing.T) {
	b := against(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Amz-Checksum-Algorithm", r.Header.Get("X-Amz-Checksum-Algorithm"))
		w.Header().Set("ETag", `"9dd4e461268c8034f5c8564e155c67a6"`)
		if r.Method == http.MethodPost {
			_, _ = io.WriteString(w, `<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>`)
		}
	})
	for _, want := range []protocol.Kind{protocol.KindItem, 0} {
		up := &protocol.Upload{Key: "k"}
		if err := b.StartUpload(t.Context(), up, protocol.Headers{}); err != nil || up.CRC64 != (want != 0) {
			t.Fatal(up, err)
		}
		if err := sendX(t, b, up); protocol.KindOf(err) != want {
			t.Error(err)
		}
	}
}

func sendX(t *testing.T, b *bucket.Bucket, up *protocol.Upload) error {
	p := protocol.Part{Number: 1, Size: 1}
	if up.CRC64 {
		p.CRC64 = crc64nvme.Checksum([]byte("x"))
	}
	_, err := b.UploadPart(t.Context(), up, p, md5.Sum([]byte("x")), strings.NewReader("x"))
	return err
}
