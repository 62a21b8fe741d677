//go:build !linux

package watcher

import "testing"

func exchange(t *testing.T, _, _ string) { t.Skip("RENAME_EXCHANGE is a Linux call") }

func renameOver(t *testing.T, _, _ string) { t.Skip("not refused by rename(2) on Linux") }
