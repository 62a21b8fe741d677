package agent

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// Config is the whole configuration, as config.example.toml explains it key by key. The zero value of a key means what
// [Defaults] says; [Load] starts from there.
type Config struct {
	StateDir     string            `toml:"state_dir"`
	S3           S3                `toml:"s3"`
	Folders      []Folder          `toml:"folder"`
	Worker       Worker            `toml:"worker"`
	Reconcile    Reconcile         `toml:"reconcile"`
	Socket       Socket            `toml:"socket"`
	Log          Log               `toml:"log"`
	HTTP         HTTP              `toml:"http"`
	ContentTypes map[string]string `toml:"content_types"`

	// File is where the configuration was read from; empty if it was made in memory.
	File    string          `toml:"-"`
	environ func() []string // what Load was given, to read the keys again; a function, so that nothing prints it
}

// S3 says where the objects go. Secrets are never printed: see [S3.String].
type S3 struct {
	Bucket          string `toml:"bucket"`
	Region          string `toml:"region"`
	Endpoint        string `toml:"endpoint"`
	PathStyle       bool   `toml:"path_style"`
	AccessKeyID     string `toml:"access_key_id"`
	SecretAccessKey string `toml:"secret_access_key"`
	SessionToken    string `toml:"session_token"`
	Profile         string `toml:"profile"`
	CAFile          string `toml:"ca_file"`
	ACL             string `toml:"acl"`
	StorageClass    string `toml:"storage_class"`
	FolderObjects   string `toml:"folder_objects"`
}

// String names the target without its secrets, so that no careless log line can print them.
func (s S3) String() string { return fmt.Sprintf("bucket %q at %s", s.Bucket, s.Where()) }

// GoString does for %#v what [S3.String] does for %v.
func (s S3) GoString() string { return s.String() }

// LogValue does for slog what [S3.String] does for %v.
func (s S3) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Where names the endpoint for people.
func (s S3) Where() string {
	if s.Endpoint == "" {
		return "AWS"
	}
	return s.Endpoint
}

// Folder is one watched folder and where it goes.
type Folder struct {
	Path      string   `toml:"path"`
	Prefix    string   `toml:"prefix"`
	Bucket    string   `toml:"bucket"`
	Include   []string `toml:"include"`
	Exclude   []string `toml:"exclude"`
	Recursion int      `toml:"recursion"`
	Settle    Duration `toml:"settle"`
	MaxDelay  Duration `toml:"max_delay"`
	Delete    *bool    `toml:"delete"`
	Marker    string   `toml:"marker"`
	Symlinks  string   `toml:"symlinks"`

	Unresting   string   `toml:"unresting"`
	MinInterval Duration `toml:"min_interval"`
}

// NewFolder returns a folder with the default settings, as [Parse] would read it.
func NewFolder(path string) Folder {
	return Folder{Path: path, Settle: defaultSettle, MaxDelay: defaultMaxDelay, Symlinks: defaultLinks,
		Unresting: unrestingWait, MinInterval: defaultInterval}
}

// Deletes reports whether what vanishes from the folder is deleted from the bucket: yes, unless delete = false.
func (f Folder) Deletes() bool { return f.Delete == nil || *f.Delete }

// Worker says how instructions are carried out. Concurrency is counted for each bucket.
type Worker struct {
	MaxWorkers   int      `toml:"max_workers"`
	MaxFiles     int      `toml:"max_files"`
	MaxRetries   int      `toml:"max_retries"`
	SlowdownTime Duration `toml:"slowdown_time"`
	UploadUID    Override `toml:"upload_uid"`
	UploadGID    Override `toml:"upload_gid"`
	Mode         Override `toml:"mode"`
}

// Reconcile says how often the folders are compared with what is known of the bucket.
type Reconcile struct {
	Interval Duration `toml:"interval"`
	List     Duration `toml:"list"`
	Blind    Duration `toml:"blind"`
}

// Socket says who may hand in instructions, and of which files.
type Socket struct {
	Unix         string   `toml:"unix"`
	TCP          string   `toml:"tcp"`
	AllowSources []string `toml:"allow_sources"`
	AllowUsers   []string `toml:"allow_users"`
	AllowKeys    []string `toml:"allow_keys"`
	TokenFile    string   `toml:"token_file"`
}

// Log says how much is logged, and how. Folder is where S3 APU's own log files go, if anywhere.
type Log struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
	Folder string `toml:"folder"`
}

// HTTP says where /healthz is served.
type HTTP struct {
	Listen string `toml:"listen"`
}

// DefaultConfigFile is where the configuration of the service lies.
const DefaultConfigFile = "/etc/s3apu/config.toml"

// Defaults returns the configuration that config.example.toml spells out.
func Defaults() Config {
	return Config{
		StateDir: "/var/lib/s3apu",
		S3:       S3{FolderObjects: "slash"},
		Worker: Worker{
			MaxWorkers:   128, // a bound and a guess: 6,000 files a second where an answer takes 20 ms. S3 APU had 1
			MaxFiles:     20,
			MaxRetries:   3,                          // S3 APU's
			SlowdownTime: Duration(15 * time.Second), // S3 APU's
		},
		Reconcile: Reconcile{Interval: Duration(time.Hour), List: Duration(24 * time.Hour), Blind: Duration(time.Minute)},
		Socket:    Socket{TCP: "127.0.0.1:19998"}, // S3 APU's address
		Log:       Log{Level: "info", Format: "text"},
		HTTP:      HTTP{Listen: "127.0.0.1:19999"},
	}
}

// Defaults of a [Folder], from the design of the watcher.
const (
	defaultSettle   = Duration(2 * time.Second)
	defaultMaxDelay = Duration(time.Minute)
	defaultLinks    = "skip"
	defaultInterval = Duration(time.Minute) // a guess
	leastInterval   = time.Second           // a guess: each is an upload of the whole file
)

// Values of [Folder.Unresting].
const (
	unrestingWait   = "wait"   // a file that is being written waits until it is not
	unrestingPrefix = "prefix" // it is uploaded as far as it has grown, each min_interval at most
)

// FindConfigFile returns the file to read when none is named: the service's, else the user's own under
// $XDG_CONFIG_HOME. If neither is there it returns the service's, whose absence is then reported.
func FindConfigFile(env func(string) string) string {
	home := env("XDG_CONFIG_HOME")
	if home == "" && env("HOME") != "" {
		home = filepath.Join(env("HOME"), ".config")
	}
	for _, f := range []string{DefaultConfigFile, filepath.Join(home, "s3apu", "config.toml")} {
		if _, err := os.Stat(f); err == nil && filepath.IsAbs(f) {
			return f
		}
	}
	return DefaultConfigFile
}

// SocketPath is the unix socket's path: [socket] unix, or agent.sock in the state_dir.
func (c *Config) SocketPath() string {
	if c.Socket.Unix == "" {
		return filepath.Join(c.StateDir, "agent.sock")
	}
	return c.Socket.Unix
}

// QueueDir is where the queue and the ledger live.
func (c *Config) QueueDir() string { return filepath.Join(c.StateDir, "queue") }

// Buckets lists every bucket that the configuration names, the default one first.
func (c *Config) Buckets() []string {
	names := []string{c.S3.Bucket}
	seen := map[string]bool{c.S3.Bucket: true}
	for _, f := range c.Folders {
		if b := c.BucketOf(f); !seen[b] {
			seen[b] = true
			names = append(names, b)
		}
	}
	return names
}

// BucketOf returns the bucket that a folder goes to.
func (c *Config) BucketOf(f Folder) string {
	if f.Bucket != "" {
		return f.Bucket
	}
	return c.S3.Bucket
}
