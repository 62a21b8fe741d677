//go:build !linux

package access

import "syscall"

// MayRead refuses: this system is not known well enough.
func (u User) MayRead(syscall.Conn) error { return refusal("this system cannot tell") }

// MayReach refuses: this system is not known well enough.
func (u User) MayReach(string) error { return refusal("this system cannot tell") }
