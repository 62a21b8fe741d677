package queue

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// deviceOf names the device and the mount that path lies on, or returns "".
func deviceOf(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return ""
	}
	want := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // only read
	name := ""
	for lines := bufio.NewScanner(f); lines.Scan(); { // the last one lies on top
		// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw (proc_pid_mountinfo(5))
		mount, fs, ok := strings.Cut(lines.Text(), " - ")
		m, d := strings.Fields(mount), strings.Fields(fs)
		if ok && len(m) > 4 && len(d) > 1 && m[2] == want {
			name = d[1] + " (" + m[4] + ")"
		}
	}
	return name
}
