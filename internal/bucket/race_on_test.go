//go:build race

package bucket_test

// raceDetector: with it sync.Pool forgets some of what is put into it, on purpose.
const raceDetector = true
