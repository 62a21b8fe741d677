package agent

import "time"

// Each batch of events ends in a commit of the queue. While many files come, a commit for each few of them costs more than all the rest
// (docs/design/0016), and more files settle every moment. So batches are taken less often then, and are larger. All three are guesses.
const (
	gatherGap  = 10 * time.Millisecond  // between two batches while many files come: the most that it adds to a file's way
	gatherSpan = 100 * time.Millisecond // for which files are counted
	gatherMany = 50                     // files in a span; fewer come if each is written when the one before has arrived
)

// gatherer says when to take the next batch of events. It is a pure struct for one caller at a time.
type gatherer struct {
	span   time.Time // when the current span began
	files  int       // taken in it
	before int       // taken in the span before; 0 if that did not end where this one began
}

// took notes that n files were taken at now, and returns the time before which the next batch should not be taken.
func (g *gatherer) took(n int, now time.Time) (next time.Time) {
	if old := now.Sub(g.span); old >= gatherSpan {
		g.before = g.files
		if old >= 2*gatherSpan {
			g.before = 0
		}
		g.span, g.files = now, 0
	}
	g.files += n
	if g.files < gatherMany && g.before < gatherMany {
		return now
	}
	return now.Add(gatherGap)
}
