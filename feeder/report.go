package feeder

import (
	"fmt"
	"strings"
	"time"
)

// Report is what a scan found and did. The counts are of files and folders together.
type Report struct {
	Seen    int64 // entries that belong to the folder and can be objects
	Sent    int64 // uploads and folder objects wished for
	Renamed int64 // uploads among them that begin with the object of the file's old name
	Bytes   int64 // in the other files among them
	Deleted int64 // deletes wished for and not held
	Held    int64 // deletes that wait for a person
	Adopted int64 // objects that were in the bucket already, and rows brought up to date without an upload
	Drift   int64 // objects that the ledger had and the bucket did not, or not so
	Foreign int64 // objects without row and file: not ours, not touched
	Busy    int64 // files that are being written: marked, to be looked at again
	Skipped int64 // FIFOs, sockets, devices, links that are nothing; rows that could not be judged
	Links   int64 // links among them that were to be followed and could not be
	Failed  int64 // paths that were listed as failed
	Frozen  int64 // objects that are left alone because something else is mounted than before

	Took time.Duration

	// Degraded is the error that ended the listing, nil if there was none. Behind it files were compared with the
	// ledger only, and what had no row was taken to be missing.
	Degraded error
}

// add sums up, for [Feeder.Total].
func (r *Report) add(o Report) {
	r.Seen += o.Seen
	r.Sent += o.Sent
	r.Renamed += o.Renamed
	r.Bytes += o.Bytes
	r.Deleted += o.Deleted
	r.Held += o.Held
	r.Adopted += o.Adopted
	r.Drift += o.Drift
	r.Foreign += o.Foreign
	r.Busy += o.Busy
	r.Skipped += o.Skipped
	r.Links += o.Links
	r.Failed += o.Failed
	r.Frozen += o.Frozen
	r.Took += o.Took
	if o.Degraded != nil {
		r.Degraded = o.Degraded
	}
}

// String tells in one line what was found and done; counts that are zero are left out, but for the first two.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d seen, %d to send (%d bytes)", r.Seen, r.Sent, r.Bytes)
	for _, c := range []struct {
		n    int64
		what string
	}{
		{r.Renamed, "of them renamed"}, {r.Deleted, "to delete"}, {r.Held, "deletes held for a person"}, {r.Adopted, "already there"}, {r.Drift, "differing in the bucket"},
		{r.Foreign, "not ours"}, {r.Busy, "being written"}, {r.Skipped, "skipped"}, {r.Links, "of them links that cannot be followed"}, {r.Failed, "failed"},
		{r.Frozen, "kept below a mount that changed"},
	} {
		if c.n > 0 {
			fmt.Fprintf(&b, ", %d %s", c.n, c.what)
		}
	}
	fmt.Fprintf(&b, ", in %v", r.Took.Round(time.Millisecond))
	return b.String()
}
