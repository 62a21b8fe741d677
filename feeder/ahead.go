package feeder

import (
	"context"
	"errors"
)

// A walk runs ahead of who visits its steps by no more than aheadBatches+2 batches of aheadSteps steps each, about 200
// bytes a step and its path, and by a run (run.go). Two processors share the work of a scan then: one looks at the files,
// the other reads the ledger and compares, or looks from the far end of a run. A batch is large enough that the hand-over costs nothing beside the system calls; both are guesses.
const (
	aheadSteps   = 64
	aheadBatches = 4
)

var errAbandoned = errors.New("nobody visits the steps any more")

// ahead is walk with visit called beside it: what is visited was looked at a little before. It has ended, and all that it
// has started, when ahead returns. An error of visit ends the walk, and of both errors it is the one returned.
func (w *walker) ahead(ctx context.Context, rel string, levels int, visit func(*found) error) error {
	batches := make(chan []found, aheadBatches)
	spent := make(chan []found, aheadBatches+2)
	abandoned := make(chan struct{})
	var walked error // set before batches is closed
	go func() {
		defer close(batches)
		var batch []found
		pass := func() error {
			select {
			case batches <- batch:
			case <-abandoned:
				return errAbandoned
			}
			select {
			case batch = <-spent:
			default:
				batch = make([]found, 0, aheadSteps)
			}
			return nil
		}
		w.visit = func(f *found) error {
			if batch = append(batch, *f); len(batch) < aheadSteps {
				return nil
			}
			return pass()
		}
		walked = w.walk(ctx, rel, levels)
		if len(batch) > 0 && !errors.Is(walked, errAbandoned) {
			_ = pass() // abandoned: nobody wants to know
		}
	}()
	for batch := range batches {
		for i := range batch {
			if err := visit(&batch[i]); err != nil {
				close(abandoned)
				for range batches { // until the walk has ended
				}
				return err
			}
		}
		clear(batch)
		select {
		case spent <- batch[:0]:
		default:
		}
	}
	return walked
}
