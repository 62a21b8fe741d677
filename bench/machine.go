//go:build linux

package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine says in lines what is measured on.
func machine(dir string) []string {
	var u unix.Utsname
	kernel := "an unknown kernel"
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	lines := []string{
		fmt.Sprintf("%s, %d processors, %s, %s/%s", field("/proc/cpuinfo", "model name"), runtime.NumCPU(), kernel, runtime.GOOS, runtime.GOARCH),
		fmt.Sprintf("%s of memory", field("/proc/meminfo", "MemTotal")),
		"data and states on " + fileSystem(dir),
		fmt.Sprintf("%s; load before: %s", runtime.Version(), load()),
	}
	return lines
}

// field is the value of the first line that begins with name.
func field(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(strings.TrimLeft(rest, " \t:"))
		}
	}
	return name + " unknown"
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// fileSystem names the file system that holds a folder, and its device's kind.
func fileSystem(dir string) string {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err.Error()
	}
	best, kind := "", "an unknown file system"
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line) // device, folder, type, options (fstab(5))
		if len(f) < 4 || len(f[1]) < len(best) {
			continue
		}
		if f[1] == "/" || dir == f[1] || strings.HasPrefix(dir, f[1]+"/") {
			best, kind = f[1], f[2]+" ("+f[3]+")"
		}
	}
	return kind
}
