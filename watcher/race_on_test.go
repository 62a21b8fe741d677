//go:build race

package watcher

// raced: the race detector is on, and times mean little.
const raced = true
