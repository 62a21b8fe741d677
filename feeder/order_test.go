package feeder

import (
	"slices"
	"testing"
)

// While a scan waits for the queue, what it decided about may be undone, and somebody else may have put the newer truth
// already. An old wish must not replace that.
func TestWishesAreLookedAtOnceMore(t *testing.T) {
	b := newBench(t, nil)
	for _, f := range []string{"keep", "gone", "dir/f"} {
		b.write(f, "1")
	}
	b.sync()
	b.remove("gone")
	b.remove("dir")
	b.write("new", "1")
	b.write("other", "1")
	b.mkdir("folder")
	b.q.onRoom = func() {
		b.q.onRoom = nil
		b.write("gone", "it is back")
		b.mkdir("dir")
		b.remove("new")
		b.remove("folder")
		b.write("folder", "a file now")
	}
	_, put := b.scan("", ScanOptions{Deep: true})
	if want := []string{"upl p/other", "del p/dir/f"}; !slices.Equal(put, want) {
		t.Errorf("put %q, want %q", put, want)
	}
	// What is back was found so by the look before the deletes.
	slices.Sort(b.marked)
	if want := []string{"folder", "new"}; !slices.Equal(slices.Compact(b.marked), want) {
		t.Errorf("marked %q, want %q", b.marked, want)
	}
}
