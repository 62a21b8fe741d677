package inprocess

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/rclone/gofakes3"
)

// An upload is a folder: its metadata in "meta", a finished part N in "N-MD5". The MD5 is in the name, so that a part that
// is sent again replaces itself at once, and which one was meant is seen from the ETag.

func uploadDir(id gofakes3.UploadID) (string, error) {
	if strings.ContainsAny(string(id), "/\\.") || id == "" {
		return "", gofakes3.ErrNoSuchUpload
	}
	return path.Join(uploadsDir, string(id)), nil
}

func partName(dir string, number int, sum string) string {
	return path.Join(dir, fmt.Sprintf("%05d-%s", number, sum))
}

// CreateMultipartUpload is of [gofakes3.MultipartBackend], as are the methods behind it.
func (s *store) CreateMultipartUpload(_ context.Context, _, _ string, meta map[string]string) (gofakes3.UploadID, error) {
	id := gofakes3.UploadID(rand.Text())
	dir, err := uploadDir(id)
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(meta)
	if err != nil {
		return "", err
	}
	if err := s.root.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	return id, s.root.WriteFile(path.Join(dir, "meta"), data, 0o644)
}

func (s *store) UploadPart(ctx context.Context, _, _ string, id gofakes3.UploadID, number int, size int64, body io.Reader) (string, error) {
	dir, err := uploadDir(id)
	if err != nil {
		return "", err
	}
	tmp, _, sum, err := s.receive(ctx, body, size)
	if err != nil {
		return "", err
	}
	etag := hex.EncodeToString(sum)
	if err := s.root.Rename(tmp, partName(dir, number, etag)); err != nil {
		_ = s.root.Remove(tmp) // the first error counts
		return "", gofakes3.ErrNoSuchUpload
	}
	return `"` + etag + `"`, nil
}

func (s *store) CompleteMultipartUpload(ctx context.Context, bucket, key string, id gofakes3.UploadID, in *gofakes3.CompleteMultipartUploadRequest) (gofakes3.VersionID, string, error) {
	dir, err := uploadDir(id)
	if err != nil {
		return "", "", err
	}
	data, err := s.root.ReadFile(path.Join(dir, "meta"))
	if err != nil {
		return "", "", gofakes3.ErrNoSuchUpload
	}
	var meta map[string]string
	if err := json.Unmarshal(data, &meta); err != nil {
		return "", "", err
	}
	names, hash, err := partNames(dir, in)
	if err != nil {
		return "", "", err
	}
	tmp, n, _, err := s.receive(ctx, &joined{store: s, names: names}, -1)
	if err != nil {
		return "", "", err
	}
	r := &row{Key: key, Size: n, ETag: etagOf(hash), Modified: time.Now(), Meta: meta}
	if err := s.keep(ctx, bucket, key, tmp, r); err != nil {
		return "", "", err
	}
	return "", `"` + r.ETag + `"`, s.root.RemoveAll(dir)
}

// partNames returns the files of the parts in order, and the hash of the whole as S3 makes it.
func partNames(dir string, in *gofakes3.CompleteMultipartUploadRequest) ([]string, []byte, error) {
	if len(in.Parts) == 0 {
		return nil, nil, gofakes3.ErrMalformedXML
	}
	h := md5.New()
	names := make([]string, len(in.Parts))
	for i, p := range in.Parts {
		if i > 0 && p.PartNumber <= in.Parts[i-1].PartNumber {
			return nil, nil, gofakes3.ErrInvalidPartOrder
		}
		sum, err := hex.DecodeString(strings.Trim(p.ETag, `"`))
		if err != nil || len(sum) != plainHash {
			return nil, nil, gofakes3.ErrInvalidPart
		}
		h.Write(sum)
		names[i] = partName(dir, p.PartNumber, hex.EncodeToString(sum))
	}
	return names, binary.BigEndian.AppendUint32(h.Sum(nil), uint32(len(names))), nil
}

// joined reads files one behind the other, one open at a time.
type joined struct {
	store *store
	names []string
	open  io.ReadCloser
}

func (j *joined) Read(p []byte) (int, error) {
	for {
		if j.open == nil {
			if len(j.names) == 0 {
				return 0, io.EOF
			}
			f, err := j.store.root.Open(j.names[0])
			if err != nil {
				return 0, gofakes3.ErrInvalidPart
			}
			j.open, j.names = f, j.names[1:]
		}
		n, err := j.open.Read(p)
		if errors.Is(err, io.EOF) {
			err = j.open.Close()
			j.open = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (s *store) AbortMultipartUpload(_ context.Context, _, _ string, id gofakes3.UploadID) error {
	dir, err := uploadDir(id)
	if err != nil {
		return err
	}
	return s.root.RemoveAll(dir)
}
