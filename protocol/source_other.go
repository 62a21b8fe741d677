//go:build !linux

package protocol

// straight is not known here.
func straight(string) bool { return false }
