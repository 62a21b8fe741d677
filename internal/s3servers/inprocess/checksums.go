package inprocess

import (
	"context"
	"encoding/base64"
	"net/http"

	"github.com/rclone/gofakes3"
)

// gofakes3 knows nothing of the checksums of uploads in parts. Here a server says that it checks by CRC-64/NVME when it is
// asked to, and the store finds what a part, or the whole, is announced to have in the context of its request.

const crcHeader = "X-Amz-Checksum-Crc64nvme"

type crcKey struct{}

func checksums(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch query := r.URL.Query(); {
		case query.Has("uploads") && r.Method == http.MethodPost && r.Header.Get("X-Amz-Checksum-Algorithm") == "CRC64NVME":
			w.Header().Set("X-Amz-Checksum-Algorithm", "CRC64NVME")
			w.Header().Set("X-Amz-Checksum-Type", "FULL_OBJECT")
		case query.Has("uploadId") && r.Header.Get(crcHeader) != "":
			crc := r.Header.Get(crcHeader)
			w.Header().Set(crcHeader, crc) // an answer that is an error says so besides
			r = r.WithContext(context.WithValue(r.Context(), crcKey{}, crc))
		}
		next.ServeHTTP(w, r)
	})
}

// announced fails if sum is not what the request announced, if it did.
func announced(ctx context.Context, sum []byte) error {
	want, ok := ctx.Value(crcKey{}).(string)
	if ok && want != base64.StdEncoding.EncodeToString(sum) {
		return gofakes3.ErrorMessage(gofakes3.ErrBadDigest, "The CRC64NVME you specified did not match the calculated checksum.")
	}
	return nil
}
