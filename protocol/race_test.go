//go:build race

package protocol

// raceDetector says that the tests run with -race.
const raceDetector = true
