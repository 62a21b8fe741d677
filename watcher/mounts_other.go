//go:build !linux

package watcher

// mountBell never rings here: mounts are not looked for.
type mountBell struct{}

func newMountBell() *mountBell { return &mountBell{} }
func (*mountBell) rang() bool  { return false }
func (*mountBell) close()      {}
