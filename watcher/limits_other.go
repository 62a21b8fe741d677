//go:build !linux

package watcher

// limitHint says what would let more folders be watched.
func limitHint(error, int) string { return "a higher limit on open files" }

// instanceHint says what would let more of the system's queues be opened.
func instanceHint(error) string { return "a higher limit on open files" }

// mountTable: mounts are not looked for here.
func mountTable() uint64 { return 0 }
