package protocol

import "time"

// Entry is a row of the ledger: what the bucket holds under one key because of us, and the state of the file that it
// was made from. Times are nanoseconds since 1970; zero means unknown.
type Entry struct {
	Bucket string
	Key    Key
	Verb   Verb   // what put it there: Upl, Mkd or Cpo
	Source string // Upl, Mkd: the absolute local path; Cpo: "/bucket/key"

	Stat // the file's state when it was read; zero for Cpo

	ETag      string // as S3 returned it, without quotes
	MD5       string // hex, of the whole content; empty where it was never computed (multipart)
	PartSize  int64  // of a multipart upload, else 0: with it the ETag can be computed again
	VersionID string // empty on buckets without versioning
	Put       int64  // when S3 confirmed it
}

// ID names the object of the row.
func (e *Entry) ID() ObjectID { return ObjectID{Bucket: e.Bucket, Key: e.Key} }

// Stat is the state of a file or folder as lstat tells it. Two equal Stats mean: not changed in between, as far as the
// file system tells.
type Stat struct {
	Size  int64
	MTime int64  // nanoseconds since 1970
	CTime int64  // nanoseconds since 1970; 0 where the system has none
	Dev   uint64 // 0 where the system has none
	Ino   uint64
	Mode  uint32 // the st_mode of Linux, type bits included, on every system
	UID   uint32
	GID   uint32
}

// Type bits and their mask in [Stat.Mode] (inode(7)).
const (
	ModeType   = 0o170000
	ModeFile   = 0o100000
	ModeFolder = 0o040000
	ModeLink   = 0o120000
)

// IsFile reports whether the state is that of a regular file.
func (s Stat) IsFile() bool { return s.Mode&ModeType == ModeFile }

// IsFolder reports whether the state is that of a folder.
func (s Stat) IsFolder() bool { return s.Mode&ModeType == ModeFolder }

// IsLink reports whether the state is that of a symbolic link.
func (s Stat) IsLink() bool { return s.Mode&ModeType == ModeLink }

// StampStep is the coarsest step in which Linux stamps files (CONFIG_HZ=100; inode_set_ctime_current in fs/inode.c). A file
// that changed within the current step could change again without its times telling.
const StampStep = 10 * time.Millisecond

// Trustworthy returns how long to wait until the times of s tell of every further change: 0 or less once the step in which
// the file last changed is over. Times in the future are not waited for longer than a step.
func (s Stat) Trustworthy(now time.Time) time.Duration {
	return min(StampStep-now.Sub(time.Unix(0, max(s.MTime, s.CTime))), StampStep)
}

// SameContent reports whether a file with state s can be taken to hold the bytes that it held with state o: every
// field but mode, owner and change time is equal.
func (s Stat) SameContent(o Stat) bool {
	return s.Size == o.Size && s.MTime == o.MTime && s.Dev == o.Dev && s.Ino == o.Ino && s.Mode&ModeType == o.Mode&ModeType
}

// SameAttributes reports whether mode, owner and modification time are equal: what an object carries as metadata.
func (s Stat) SameAttributes(o Stat) bool {
	return s.Mode == o.Mode && s.UID == o.UID && s.GID == o.GID && s.MTime == o.MTime
}

// Object is what S3 says it holds under a key, from a listing or a HEAD.
type Object struct {
	Key      Key
	Size     int64
	ETag     string // without quotes
	Modified time.Time

	// From a HEAD only.
	ContentType string
	VersionID   string
	Meta        map[string]string // the x-amz-meta- headers, names in lower case without that prefix
	Header      map[string][]string

	// Folder marks a common prefix of a listing with a delimiter; Key then ends in that delimiter.
	Folder bool
}

// Headers is what an object carries beside its bytes.
type Headers struct {
	ContentType string
	Meta        map[string]string // x-amz-meta- headers, names in lower case without that prefix
}

// Receipt is S3's answer to a write.
type Receipt struct {
	ETag      string // without quotes
	VersionID string
}

// Upload is how far a multipart upload has come, kept so that it can be taken up again after a crash if the file is
// still in the same state.
type Upload struct {
	Bucket   string
	Key      Key
	UploadID string
	CRC64    bool // the server checks its parts by CRC-64/NVME; else by MD5
	PartSize int64
	Stat     Stat // of the file when the upload began
	Parts    []Part
	Began    int64 // nanoseconds since 1970
}

// Part is one finished part of a multipart upload.
type Part struct {
	Number int32 // from 1
	Size   int64
	ETag   string // without quotes
	CRC64  uint64 // of its bytes, if the upload is one with CRC64; else 0
}
