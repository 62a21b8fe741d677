package worker

import (
	"context"
	"os"
	"testing"
	"time"

	"s3apu/protocol"
)

// An upload in parts whose beginning was never confirmed would be kept and paid for, for ever.
func TestMultipartOfUnknownIdIsEnded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		lost := 0
		r.store.after = func(_ context.Context, op string, _ protocol.Key) error {
			if op == "start" && lost < 2 {
				lost++
				return s3Error(protocol.KindTransient, 0)
			}
			return nil
		}
		r.src.put(upl("big", r.file("big", 12<<20, 1)))
		r.run(bigConfig())
		r.src.drain(t, time.Hour)
		if r.store.open() != 0 || r.store.aborted != 2 || r.src.uploadRows() != 0 || r.store.object("big") == nil {
			t.Errorf("%d uploads are open, %d were ended, %d rows", r.store.open(), r.store.aborted, r.src.uploadRows())
		}
	})
}

// An upload that a server keeps must be known until its end is confirmed: what takes its place waits for that.
func TestUnconfirmedAbortIsNotForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		up := &protocol.Upload{Bucket: testBucket, Key: "big", PartSize: mib5} // of another state
		must(t, r.store.StartUpload(t.Context(), up, protocol.Headers{}))
		must(t, r.src.SaveUpload(t.Context(), up))
		failed := 0
		r.store.before = func(_ context.Context, op string, _ protocol.Key) error {
			if op == "abort" && failed < 3 {
				failed++
				return s3Error(protocol.KindTransient, 500)
			}
			return nil
		}
		r.src.put(upl("big", r.file("big", 12<<20, 1)))
		r.run(bigConfig())
		r.src.drain(t, time.Hour)
		if r.store.open() != 0 || failed != 3 || r.src.uploadRows() != 0 || r.store.object("big") == nil {
			t.Errorf("%d uploads are open, %d rows", r.store.open(), r.src.uploadRows())
		}
	})
}

// The file went while it was sent, and the abort failed: nobody has a reason to come back to the upload but the sweep.
func TestUnendedUploadIsSweptSoon(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		path, aborts := r.file("big", 12<<20, 1), 0
		r.store.before = func(_ context.Context, op string, _ protocol.Key) error {
			switch {
			case op == "part":
				_ = os.Remove(path)
			case op == "abort" && aborts < 2:
				aborts++
				return s3Error(protocol.KindTransient, 500)
			}
			return nil
		}
		r.src.put(hint(upl("big", path)))
		r.run(bigConfig())
		r.src.drain(t, time.Minute)
		waitFor(t, time.Minute, func() bool { return r.store.open() == 0 && r.src.uploadRows() == 0 })
		if aborts != 2 {
			t.Errorf("%d aborts failed", aborts)
		}
	})
}

// A server that was cut off may have made the object and kept the upload.
func TestFinishedUploadThatIsKeptIsEnded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var stray string
		lost := false
		r.store.after = func(ctx context.Context, op string, key protocol.Key) error {
			if op != "finish" || lost {
				return nil
			}
			lost = true
			up, err := r.src.LoadUpload(ctx, protocol.ObjectID{Bucket: testBucket, Key: key})
			must(t, err)
			stray = up.UploadID
			r.store.reopen(stray)
			return s3Error(protocol.KindTransient, 0)
		}
		r.src.put(upl("big", r.file("big", 12<<20, 1)))
		r.run(bigConfig())
		r.src.drain(t, time.Hour)
		if stray == "" || r.store.open() != 0 || r.src.uploadRows() != 0 || r.store.count("start") != 1 {
			t.Errorf("%d uploads are open, %d rows, %d begun", r.store.open(), r.src.uploadRows(), r.store.count("start"))
		}
	})
}

// An upload that was begun and is of no use is ended by its id, and not gone on with.
func TestBegunInVain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.store.vain = 1
		r.src.put(upl("big", r.file("big", 12<<20, 1)))
		r.run(bigConfig())
		r.src.drain(t, time.Hour)
		if r.store.open() != 0 || r.store.aborted != 1 || r.store.count("abort") != 1 || r.store.count("start") != 2 || r.src.uploadRows() != 0 {
			t.Errorf("%d uploads are open, %d begun, %d ended, %d rows", r.store.open(), r.store.count("start"), r.store.aborted, r.src.uploadRows())
		}
	})
}

func TestLeftoversAreAborted(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		up := &protocol.Upload{Bucket: testBucket, Key: "gone"}
		must(t, r.store.StartUpload(t.Context(), up, protocol.Headers{}))
		must(t, r.src.SaveUpload(t.Context(), up))
		r.run(Config{})
		waitFor(t, time.Minute, func() bool { return r.store.open() == 0 && r.src.uploadRows() == 0 })
	})
}
