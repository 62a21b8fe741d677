package nulls3

import "sync/atomic"

// Kind is what a request asks for.
type Kind int

// The kinds of requests that are counted apart.
const (
	Other Kind = iota
	PutObject
	GetObject
	HeadObject
	CopyObject
	DeleteObject
	DeleteObjects
	ListObjects
	HeadBucket
	ListUploads
	CreateUpload
	UploadPart
	CompleteUpload
	AbortUpload
	kinds // how many there are
)

var kindNames = [kinds]string{"Other", "PutObject", "GetObject", "HeadObject", "CopyObject", "DeleteObject", "DeleteObjects",
	"ListObjects", "HeadBucket", "ListMultipartUploads", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload",
	"AbortMultipartUpload"}

// String names the kind as S3's API does.
func (k Kind) String() string { return kindNames[k] }

type counts [kinds]atomic.Int64

func (c *counts) add(k Kind) { c[k].Add(1) }

// read returns the kinds of which there was a request.
func (c *counts) read() map[string]int64 {
	all := map[string]int64{}
	for k := range kinds {
		if n := c[k].Load(); n > 0 {
			all[k.String()] = n
		}
	}
	return all
}
