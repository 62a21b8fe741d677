//go:build !linux

package watcher

// leaseRest: no other system tells whether a file is open for writing.
func leaseRest(int) Rest { return Unknown }

// remotePath: nobody tells here anyway.
func remotePath(string) bool { return true }

// restOf does not even open the file; the caller looks at its times.
func restOf(string) (rest Rest, found bool) { return Unknown, true }
