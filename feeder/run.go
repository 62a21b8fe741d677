package feeder

import (
	"context"
	"sync/atomic"
)

// A run is a stretch of files in one folder, one behind the other. Two goroutines look at it, one from each end and a share at a time, so that a scan
// does not wait for the system calls of one processor. Where they meet, the steps from the far end are said in their order:
// each was looked at no more than runMost steps before its turn. There is no second folder in it: nothing more is open, and
// what is wrong with a folder is found when it is its turn.
const (
	runShare = 8            // files, of some 1 µs each (docs/design/0013): so long one end may have to wait for the other
	runLeast = 6 * runShare // files: for fewer, waking another processor costs as much as it brings. A guess
	runMost  = 128          // files of 128 bytes each and a path: more brought nothing in a folder of 200,000
)

// runOf returns how many files names begin with: from runLeast on in whole shares, and at most runMost.
func runOf(names []entry) int {
	n := 0
	for n < min(len(names), runMost) && names[n].kind == fileEntry {
		n++
	}
	if n >= runLeast {
		n -= n % runShare
	}
	return n
}

// bothEnds visits the files of a run. The goroutine at the far end, which visits nothing, has ended when bothEnds returns.
func (w *walker) bothEnds(ctx context.Context, d *dir, names []entry, at string) error {
	if w.far == nil {
		w.far = make([]found, runMost)
	}
	far := w.far[:len(names)] // a zero one: nothing is there
	defer clear(far)
	var left atomic.Int64 // files that nobody has taken yet
	left.Store(int64(len(names)))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := len(names) - 1; left.Add(-runShare) >= 0; {
			for range runShare {
				if ctx.Err() != nil {
					return
				}
				if !w.look(d, names[i], at, &far[i]) {
					far[i] = found{}
				}
				i--
			}
		}
	}()
	var err error
	n := 0 // visited
	for err == nil && left.Add(-runShare) >= 0 {
		err = w.entries(ctx, d, names[n:n+runShare], at, 0)
		n += runShare
	}
	left.Store(-1)
	<-done
	for i := n; err == nil && i < len(far); i++ {
		if err = ctx.Err(); err == nil && far[i].rel != "" {
			err = w.visit(&far[i])
		}
	}
	return err
}
