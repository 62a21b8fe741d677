package agent

import "time"

// Where many files come, a commit for each few of them costs more than all the rest, and while a file settles the next are on
// their way. So what is handed out is taken less often then. All are guesses.
const (
	gatherGap  = 10 * time.Millisecond  // between two batches while many files come, and what it adds to a file's way at the most
	gatherSpan = 100 * time.Millisecond // over which files are counted
	gatherMany = 50                     // files in a span: above what comes one after another, each behind the arrival of the last
)

// gather says when to take the next batch of events. It is a pure struct for one caller at a time.
type gather struct {
	span   time.Time // when the span at hand began
	files  int       // taken in it
	before int       // in the one before, if this one followed it at once
}

// took notes that n files were taken at now and returns the time before which no more should be.
func (g *gather) took(n int, now time.Time) (next time.Time) {
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
