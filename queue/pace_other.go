//go:build !linux

package queue

import "time"

// sinceBoot tells nothing: only the wall's clock is asked.
func sinceBoot() (string, time.Duration) { return "", 0 }
