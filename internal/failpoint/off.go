//go:build !failpoints

package failpoint

// Here marks a place between two durable steps. It does nothing.
func Here(string) {}
