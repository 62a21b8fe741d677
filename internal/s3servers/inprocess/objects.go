package inprocess

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/minio/crc64nvme"
	"github.com/rclone/gofakes3"
)

var (
	_ gofakes3.Backend          = (*store)(nil)
	_ gofakes3.MultipartBackend = (*store)(nil)
)

func (s *store) tmpName() string { return path.Join(tmpDir, rand.Text()) }

// ListBuckets is of [gofakes3.Backend], as are the methods behind it.
func (s *store) ListBuckets(context.Context) ([]gofakes3.BucketInfo, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]gofakes3.BucketInfo, 0, len(s.buckets))
	for name, sh := range s.buckets {
		all = append(all, gofakes3.BucketInfo{Name: name, CreationDate: gofakes3.NewContentTime(sh.made)})
	}
	return all, nil
}

func (s *store) CreateBucket(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[name] != nil {
		return gofakes3.ResourceError(gofakes3.ErrBucketAlreadyExists, name)
	}
	for _, d := range []string{name, path.Join(rowsDir, name)} {
		if err := s.root.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	s.buckets[name] = newShelf(time.Now())
	return nil
}

func (s *store) BucketExists(_ context.Context, name string) (bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.buckets[name] != nil, nil
}

func (s *store) DeleteBucket(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh, err := s.shelf(name)
	if err != nil {
		return err
	}
	if len(sh.keys) > 0 {
		return gofakes3.ResourceError(gofakes3.ErrBucketNotEmpty, name)
	}
	if err := s.root.RemoveAll(path.Join(rowsDir, name)); err != nil {
		return err
	}
	delete(s.buckets, name)
	_ = s.root.Remove(name) // files that a person put there stay
	return nil
}

// ListBucket lists in key order. A common prefix counts as one key and stands where it belongs in that order.
func (s *store) ListBucket(_ context.Context, name string, p *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sh, err := s.shelf(name)
	if err != nil {
		return nil, err
	}
	if p == nil {
		p = &gofakes3.Prefix{}
	}
	list := gofakes3.NewObjectList()
	i, _ := slices.BinarySearch(sh.keys, max(p.Prefix, page.Marker))
	last, n := "", int64(0)
	for i < len(sh.keys) {
		key := sh.keys[i]
		if !strings.HasPrefix(key, p.Prefix) {
			break
		}
		group := ""
		if p.Delimiter != "" {
			if cut := strings.Index(key[len(p.Prefix):], p.Delimiter); cut >= 0 {
				group = key[:len(p.Prefix)+cut+len(p.Delimiter)]
			}
		}
		name := key
		if group != "" {
			name = group
		}
		if name > page.Marker {
			if page.MaxKeys > 0 && n == page.MaxKeys {
				list.IsTruncated, list.NextMarker = true, last
				return list, nil
			}
			n++
			last = name
			if group != "" {
				list.AddPrefix(group)
			} else {
				r := sh.rows[key]
				list.Add(&gofakes3.Content{Key: key, Size: r.Size, ETag: `"` + r.ETag + `"`, LastModified: gofakes3.NewContentTime(r.Modified), StorageClass: gofakes3.StorageStandard})
			}
		}
		i++
		if group != "" { // to the first key behind the group
			step, _ := slices.BinarySearchFunc(sh.keys[i:], group, func(k, g string) int {
				if strings.HasPrefix(k, g) {
					return -1
				}
				return strings.Compare(k, g)
			})
			i += step
		}
	}
	return list, nil
}

// get returns the row of an object.
func (s *store) get(bucket, key string) (*row, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.getLocked(bucket, key)
}

func (s *store) getLocked(bucket, key string) (*row, error) {
	sh, err := s.shelf(bucket)
	if err != nil {
		return nil, err
	}
	r := sh.rows[key]
	if r == nil {
		return nil, gofakes3.KeyNotFound(key)
	}
	return r, nil
}

func (r *row) object() *gofakes3.Object {
	return &gofakes3.Object{Name: r.Key, Metadata: r.Meta, Size: r.Size, Hash: hashOf(r.ETag), Contents: http.NoBody}
}

func (s *store) HeadObject(_ context.Context, bucket, key string) (*gofakes3.Object, error) {
	r, err := s.get(bucket, key)
	if err != nil {
		return nil, err
	}
	return r.object(), nil
}

func (s *store) GetObject(_ context.Context, bucket, key string, want *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	// The lock covers the opening, so that the row and the bytes belong together; an open file stays what it was.
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, err := s.getLocked(bucket, key)
	if err != nil {
		return nil, err
	}
	o := r.object()
	if o.Range, err = want.Range(r.Size); err != nil {
		return nil, err
	}
	if r.File == "" {
		return o, nil
	}
	f, err := s.root.Open(r.File)
	if err != nil {
		return nil, gofakes3.KeyNotFound(key)
	}
	from, n := int64(0), r.Size
	if o.Range != nil {
		from, n = o.Range.Start, o.Range.Length
	}
	o.Contents = contents{io.NewSectionReader(f, from, n), f}
	return o, nil
}

// contents is a piece of an open file.
type contents struct {
	io.Reader
	io.Closer
}

// receive writes what r holds into a new file, and returns its name, size and MD5. size is -1 if it is not known. It fails
// if the request, whose context it is given, announced another checksum.
func (s *store) receive(ctx context.Context, r io.Reader, size int64) (name string, n int64, sum []byte, err error) {
	name = s.tmpName()
	f, err := s.root.Create(name)
	if err != nil {
		return "", 0, nil, err
	}
	h, crc := md5.New(), crc64nvme.New()
	n, err = io.Copy(io.MultiWriter(f, h, crc), r)
	if errors.Is(err, io.ErrUnexpectedEOF) || err == nil && size >= 0 && n != size {
		err = gofakes3.ErrIncompleteBody
	}
	if err == nil {
		err = announced(ctx, crc.Sum(nil))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = s.root.Remove(name) // the first error counts
		return "", 0, nil, err
	}
	return name, n, h.Sum(nil), nil
}

// keep makes an object of the finished file tmp, unless the conditions of the request do not hold any more.
func (s *store) keep(ctx context.Context, bucket, key, tmp string, r *row) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh, err := s.shelf(bucket)
	if err == nil {
		etag := ""
		old := sh.rows[key]
		if old != nil {
			etag = hex.EncodeToString(hashOf(old.ETag))
		}
		err = gofakes3.CheckWriteConditions(ctx, old != nil, etag)
	}
	if err == nil {
		err = s.commit(sh, bucket, tmp, r)
	}
	if err != nil {
		_ = s.root.Remove(tmp) // the first error counts
	}
	return err
}

func (s *store) PutObject(ctx context.Context, bucket, key string, meta map[string]string, input io.Reader, size int64) (gofakes3.PutObjectResult, error) {
	tmp, n, sum, err := s.receive(ctx, input, size)
	if err != nil {
		return gofakes3.PutObjectResult{}, err
	}
	r := &row{Key: key, Size: n, ETag: etagOf(sum), Modified: time.Now(), Meta: meta}
	return gofakes3.PutObjectResult{}, s.keep(ctx, bucket, key, tmp, r)
}

func (s *store) CopyObject(ctx context.Context, srcBucket, srcKey, bucket, key string, meta map[string]string) (gofakes3.CopyObjectResult, error) {
	src, err := s.GetObject(ctx, srcBucket, srcKey, nil)
	if err != nil {
		return gofakes3.CopyObjectResult{}, err
	}
	defer src.Contents.Close()
	tmp, n, sum, err := s.receive(ctx, src.Contents, src.Size)
	if err != nil {
		return gofakes3.CopyObjectResult{}, err
	}
	r := &row{Key: key, Size: n, ETag: etagOf(sum), Modified: time.Now(), Meta: meta}
	if err := s.keep(ctx, bucket, key, tmp, r); err != nil {
		return gofakes3.CopyObjectResult{}, err
	}
	return gofakes3.CopyObjectResult{ETag: `"` + r.ETag + `"`, LastModified: gofakes3.NewContentTime(r.Modified)}, nil
}

func (s *store) DeleteObject(_ context.Context, bucket, key string) (gofakes3.ObjectDeleteResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh, err := s.shelf(bucket)
	if err != nil {
		return gofakes3.ObjectDeleteResult{}, err
	}
	return gofakes3.ObjectDeleteResult{}, s.remove(sh, bucket, key)
}

func (s *store) DeleteMulti(ctx context.Context, bucket string, keys ...string) (gofakes3.MultiDeleteResult, error) {
	var out gofakes3.MultiDeleteResult
	for _, key := range keys {
		if _, err := s.DeleteObject(ctx, bucket, key); err != nil {
			e := gofakes3.ErrorResultFromError(err)
			e.Key = key
			out.Error = append(out.Error, e)
			continue
		}
		out.Deleted = append(out.Deleted, gofakes3.ObjectID{Key: key})
	}
	return out, nil
}
