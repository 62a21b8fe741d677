package arrows

// module is the path in go.mod; what begins with it is ours.
const module = "s3apu"

// Lines of a Go file. The house asks for one story a file and seldom more than 400 lines.
const (
	linesWarn = 400 // said in the log of the test
	linesMost = 500 // fails
)

// room is one row of the plan: which of our packages a package may import, in its code and, beside those, in its tests.
// A room stands for its sub-packages too, and every package may import its own room.
type room struct {
	dir   string
	why   string   // the rule in words, shown when it is broken
	may   []string // rooms
	tests []string // rooms that only its tests may import
}

// plan is the table of arrows, from the ground floor up. Test servers (internal/s3servers) are for tests and the demo.
var plan = []room{
	{dir: "protocol", why: "the vocabulary imports the standard library only"},
	{dir: "service", why: "service imports the standard library and kardianos/service only"},

	{dir: "internal/failpoint", why: "a place to be killed at knows nothing of what is done there"},

	{dir: "internal/beneath", why: "who opens files knows how, and not what for", may: []string{"protocol"}},
	{dir: "internal/mounts", why: "what is mounted where is read, and nothing decided"},

	{dir: "internal/access", why: "whether another user could read a file is told by the kernel's rules alone"},

	{dir: "watcher", why: "the watcher knows the disk and nothing of ours, so that it can be read and tested alone"},
	{dir: "queue", why: "F1 rooms do not see each other: the agent wires them",
		may: []string{"protocol", "internal/failpoint"}},
	{dir: "worker", why: "the worker defines Source and Store, and sees neither the queue nor the SDK",
		may: []string{"protocol", "internal/failpoint", "internal/beneath", "internal/access"}},
	{dir: "internal/bucket", why: "F1 rooms do not see each other: the agent wires them",
		may: []string{"protocol"}, tests: []string{"internal/s3servers"}},

	{dir: "feeder", why: "the feeder speaks to queue and listing through small interfaces of its own",
		may: []string{"protocol", "internal/failpoint", "internal/mounts", "internal/beneath"}},

	{dir: "internal/web", why: "the status page reads counters through interfaces of its own; it never steers",
		may: []string{"protocol"}},
	{dir: "agent", why: "the agent knows everyone below it and nobody above",
		may: []string{"protocol", "service", "watcher", "queue", "worker", "internal/bucket", "feeder",
			"internal/web", "internal/failpoint", "internal/mounts", "internal/access"},
		tests: []string{"internal/s3servers"}},

	{dir: "internal/cli", why: "the command line sits on the agent; commands and the demo sit on it",
		may: []string{"protocol", "service", "watcher", "queue", "worker", "internal/bucket", "feeder",
			"internal/web", "agent"},
		tests: []string{"internal/s3servers"}},
	{dir: "internal/demo", why: "the demo runs the agent against the test server in the same process",
		may: []string{"protocol", "worker", "agent", "internal/bucket", "internal/cli", "internal/s3servers"}},

	{dir: "cmd", why: "a command is a few lines over one internal package",
		may: []string{"internal/cli", "internal/demo"}},

	{dir: "internal/s3servers", why: "test servers know the vocabulary, and the bucket that they are reached through",
		may: []string{"protocol", "internal/bucket"}},
	{dir: "internal/e2e", why: "end-to-end tests drive the built binaries from outside",
		may: []string{"protocol", "internal/bucket", "internal/s3servers"},
		// the churn in one process, and what its workers tell; the books of an agent that has ended
		tests: []string{"internal/cli", "agent", "worker", "queue"}},
	{dir: "internal/arrows", why: "the plan imports nothing"},
	{dir: "bench", why: "the harness measures the built binaries from outside, and speaks to the agent over its socket",
		may: []string{"protocol"}, tests: []string{"internal/bucket"}},
}

// foreign says who may import a module that is not ours. A module without a row may be imported by nobody, so that a
// new dependency is a decision and not an accident.
var foreign = []struct {
	module  string   // a prefix of import paths
	licence string   // by SPDX
	why     string   // shown when it is broken
	rooms   []string // code and tests of these rooms; nil: tests only, of any room
}{
	{"github.com/aws/", "Apache-2.0", "only internal/bucket speaks to S3, so that errors are classified in one place",
		[]string{"internal/bucket", "internal/e2e"}},
	{"github.com/minio/crc64nvme", "Apache-2.0", "checksums of parts are made where files are read, and said where S3 is spoken, also by servers for tests",
		[]string{"internal/bucket", "worker", "internal/s3servers", "bench"}},
	{"github.com/cockroachdb/pebble/v2", "BSD-3-Clause", "only the queue knows its engine, so that a second one can take its place",
		[]string{"queue"}},
	{"github.com/fsnotify/fsnotify", "BSD-3-Clause", "only the watcher hears the kernel", []string{"watcher"}},
	{"github.com/kardianos/service", "Zlib", "only service speaks to the service manager", []string{"service"}},
	{"github.com/pelletier/go-toml/v2", "MIT", "the configuration is read in one place",
		[]string{"agent", "internal/cli"}},
	{"github.com/gobwas/glob", "MIT", "globs are compiled where the configuration is read", []string{"agent"}},
	{"github.com/rclone/gofakes3", "MIT", "a server for tests and the demo must not reach the agent",
		[]string{"internal/s3servers"}},
	{"golang.org/x/sys", "BSD-3-Clause", "system calls belong to the rooms that touch the disk, and to tests",
		[]string{"watcher", "feeder", "worker", "queue", "agent", "internal/cli", "internal/e2e", "bench", "internal/mounts",
			"internal/beneath", "internal/access"}},

	{"go.uber.org/goleak", "MIT", "a test tool", nil},
	{"pgregory.net/rapid", "MPL-2.0", "a test tool", nil},
	{"github.com/rogpeppe/go-internal", "BSD-3-Clause", "a test tool", nil},
}

// folders are the only ones at the top of the module.
var folders = []string{"agent", "watcher", "queue", "worker", "protocol", "feeder", "service",
	"cmd", "internal", "docs", "packaging", "bench", ".ci"}

// hollow are package names that say nothing about what is inside.
var hollow = []string{"util", "utils", "common", "types", "models", "helpers", "misc"}
