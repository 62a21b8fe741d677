package watcher

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Where the limits are (inotify(7), namespaces(7)). In the first user namespace both limits on watches are one; in a
// container's own the second may be lower, and is what counts.
const (
	watchesSetting  = "fs.inotify.max_user_watches"
	containerWatch  = "user.max_inotify_watches"
	instanceSetting = "fs.inotify.max_user_instances"

	roundWatches = 1024 // a limit that is proposed is a multiple of it, so that a few more folders do not meet it again (a guess)
)

// setting reads a number below /proc/sys by its name for sysctl(8); 0 if it cannot be read.
func setting(name string) int {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return 0
	}
	return n
}

// limitHint says what would let missing more folders be watched.
func limitHint(err error, missing int) string {
	if errors.Is(err, syscall.ENOSPC) { // inotify_add_watch(2): the user's limit on watches
		name, now := watchesSetting, setting(watchesSetting)
		if here := setting(containerWatch); here > 0 && here < now {
			name, now = containerWatch, here
		}
		return watchesHint(name, now, missing)
	}
	return instanceHint(err)
}

// watchesHint names the value that would give missing more watches where now are granted, all of which are taken.
func watchesHint(name string, now, missing int) string {
	enough := (now + missing + roundWatches - 1) / roundWatches * roundWatches
	return fmt.Sprintf("sysctl %s=%d (now %d, %d more are needed)", name, enough, now, missing)
}

// instanceHint says what would let more kernel queues be opened.
func instanceHint(err error) string {
	if errors.Is(err, syscall.EMFILE) { // inotify_init(2): the user's limit on instances, or the process's on files
		now := setting(instanceSetting)
		return fmt.Sprintf("sysctl %s=%d (now %d), or a higher limit on open files", instanceSetting, max(2*now, 256), now)
	}
	if errors.Is(err, syscall.ENFILE) {
		return "a higher fs.file-max"
	}
	return ""
}

// mountTable is a number that changes when something is mounted or unmounted (proc(5), mountinfo).
func mountTable() uint64 {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }() // it was only read
	h := fnv.New64a()
	if _, err := io.Copy(h, f); err != nil {
		return 0
	}
	return h.Sum64()
}
