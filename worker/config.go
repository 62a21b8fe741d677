package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"s3apu/protocol"
)

// Limits of S3 (Amazon S3 User Guide, "Amazon S3 multipart upload limits").
const (
	minPart  = 5 << 20 // bytes, of every part but the last
	maxPart  = 5 << 30 // bytes, also the largest body of a single PUT
	maxParts = 10_000
)

// What an unset value of [Config] means. Where S3 APU had the setting, it is its default.
const (
	defaultWorkers   = 1
	defaultFiles     = 5
	defaultRetries   = 3
	defaultSlowdown  = 15 * time.Second
	defaultAbove     = 16 << 20        // bytes; a guess: above it a resumed part saves more than two extra requests cost
	defaultPartSize  = 16 << 20        // bytes; a guess: 156 GiB in 10,000 parts, and a part is sent in seconds
	defaultParts     = 4               // a guess: fills a usual line, and one file's parts hash on four cores
	defaultBigFiles  = 4               // a guess: as many as there are part slots by default
	defaultGrace     = 5 * time.Second // a guess: nearly every small PUT ends within it, and a stop is still quick
	defaultUploadOwn = 1               // owner and group of a folder object that no folder stands for (S3 APU's value)
)

// Values of [Config.FolderObjects].
const (
	FolderSlash = "slash" // a folder is the object "dir/"
	FolderPlain = "plain" // a folder is the object "dir", the layout of S3 APU
	FolderNone  = "none"  // folders leave nothing in the bucket
)

// Config says how a Pool works. Zero values mean the defaults named.
type Config struct {
	Bucket string // needed: the bucket that Source's deliveries go to

	MaxWorkers   int           // the most deliveries carried out at once, big files apart; 1. More than 16 are made only while that carries out more
	MaxFiles     int           // the most deliveries that a worker takes at a time, carried out in key order; 5
	MaxRetries   int           // attempts of an instruction that cannot succeed as it is; 3. Passing faults are retried for ever
	SlowdownTime time.Duration // how long a 503 keeps the pace down; 15 s

	// UploadUID, UploadGID and Mode are written to every object in place of the file's own, if set. Of Mode the type
	// bits are the file's in any case, and a folder may be entered by everybody who may read it.
	UploadUID, UploadGID, Mode *uint32

	FolderObjects string            // "slash" (the default), "plain" or "none"
	ContentTypes  map[string]string // ".ext" → "type/subtype"; wins over the built-in tables

	MultipartAbove int64 // bytes: larger files go by multipart, in the lane for big files; 16 MiB
	PartSize       int64 // bytes, 5 MiB to 5 GiB; raised by itself for files of more than 10,000 parts; 16 MiB
	Parts          int   // parts in transfer at once, over all files; 4
	BigFiles       int   // big files in transfer at once; 4

	Grace time.Duration // how long requests in flight may still take when Run's context has ended; 5 s

	// AtRest reports that nobody is writing the file now, as far as the system tells; nil: not asked. It is asked
	// before a file is read, and again before its object becomes visible.
	AtRest func(syscall.Conn) bool

	// Await has a file that somebody writes hinted at again once it is at rest, and reports whether that will be. Then the hint
	// at hand is passed ([protocol.Result]). Nil, or false: the queue hands it out again until it can be carried out. Called by
	// several goroutines at the same time; it must not block.
	Await func(source string) bool

	// MayGo reports why what was uploaded from source must not be deleted now, or nil: it is asked before each delete that
	// is a hint, which then waits. Nil: not asked.
	MayGo func(source string) error

	// Folders are the watched folders whose files go to Bucket. What a hint is about is opened below its folder, and no
	// link on the way is followed, not even one that is put there meanwhile.
	Folders []Folder

	// Sources are folders. Every other source must lie at or below one of them once all links on the way are followed, and
	// is then opened there in the same manner. Nil: every file may be named; empty: none.
	Sources []string

	Observe func(Event)  // called once per settled delivery; may be nil
	Log     *slog.Logger // faults of the target and of the Source; nil: nowhere
}

// complete returns c with the defaults filled in, or a KindUsage error that names the setting.
func (c Config) complete() (Config, error) {
	number := func(v *int, def int) { // 0 is the default, below is an error that check finds
		if *v == 0 {
			*v = def
		}
	}
	number(&c.MaxWorkers, defaultWorkers)
	number(&c.MaxFiles, defaultFiles)
	number(&c.MaxRetries, defaultRetries)
	number(&c.Parts, defaultParts)
	number(&c.BigFiles, defaultBigFiles)
	if c.SlowdownTime == 0 {
		c.SlowdownTime = defaultSlowdown
	}
	if c.Grace == 0 {
		c.Grace = defaultGrace
	}
	if c.MultipartAbove == 0 {
		c.MultipartAbove = defaultAbove
	}
	if c.PartSize == 0 {
		c.PartSize = defaultPartSize
	}
	if c.FolderObjects == "" {
		c.FolderObjects = FolderSlash
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	types := make(map[string]string, len(c.ContentTypes))
	for ext, t := range c.ContentTypes {
		types[strings.ToLower(strings.TrimPrefix(ext, "."))] = t
	}
	if err := c.check(); err != nil {
		return c, &protocol.Error{Op: "set up the worker", Object: c.Bucket, Kind: protocol.KindUsage, Err: err}
	}
	c.ContentTypes = types
	return c, nil
}

func (c Config) check() error {
	if c.Bucket == "" {
		return errors.New("no bucket is named")
	}
	for _, n := range []struct {
		name string
		v    int64
	}{
		{"max_workers", int64(c.MaxWorkers)}, {"max_files", int64(c.MaxFiles)}, {"max_retries", int64(c.MaxRetries)},
		{"the number of parts", int64(c.Parts)}, {"the number of big files", int64(c.BigFiles)},
		{"slowdown_time", int64(c.SlowdownTime)}, {"the grace at the end", int64(c.Grace)},
	} {
		if n.v < 1 {
			return fmt.Errorf("%s is below its least value", n.name)
		}
	}
	if c.PartSize < minPart || c.PartSize > maxPart {
		return fmt.Errorf("a part of %d bytes: S3 takes 5 MiB to 5 GiB", c.PartSize)
	}
	if c.MultipartAbove < 0 || c.MultipartAbove > maxPart {
		return fmt.Errorf("multipart above %d bytes: S3 takes single bodies up to 5 GiB", c.MultipartAbove)
	}
	switch c.FolderObjects {
	case FolderSlash, FolderPlain, FolderNone:
	default:
		return fmt.Errorf(`folder_objects is %q, not "slash", "plain" or "none"`, c.FolderObjects)
	}
	for ext, t := range c.ContentTypes {
		kind, sub, ok := strings.Cut(t, "/")
		if strings.Trim(ext, ".") == "" || !ok || kind == "" || sub == "" || strings.ContainsAny(t, "\r\n\x00") {
			return fmt.Errorf(`content type %q for %q: a line reads ".ext" = "type/subtype"`, t, ext)
		}
	}
	return nil
}

// PartSize returns the size of the parts, in bytes, in which a file of size bytes is uploaded when want is the configured
// [Config.PartSize]: want, or more where S3's limit of 10,000 parts asks for it. With it an ETag can be computed again.
func PartSize(size, want int64) int64 { return partSizeFor(size, want) }
