//go:build !linux

package access

import "os"

// MayRead refuses: this system is not known well enough.
func (u User) MayRead(*os.File) error { return refusal("this system cannot tell") }

// MayReach refuses: this system is not known well enough.
func (u User) MayReach(string) error { return refusal("this system cannot tell") }
