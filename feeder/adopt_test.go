package feeder

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"s3apu/protocol"
)

// multipartETag computes an ETag of parts the plain way.
func multipartETag(body []byte, part int) string {
	all, n := md5.New(), 0
	for len(body) > 0 {
		m := min(part, len(body))
		sum := md5.Sum(body[:m])
		all.Write(sum[:])
		body, n = body[m:], n+1
	}
	return fmt.Sprintf("%s-%d", hex.EncodeToString(all.Sum(nil)), n)
}

func TestAdopt(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 100_000) // 1 MB: four reads, and parts that do not end with them
	for _, c := range []struct {
		name string
		etag string
		part int64
		want bool
	}{
		{"MD5", sum(string(body)), 0, true},
		{"MD5 in capitals", strings.ToUpper(sum(string(body))), 0, true},
		{"another MD5", sum("x"), 0, false},
		{"no MD5", "abc", 0, false},
		{"none", "", 0, false},
		{"parts of ours", multipartETag(body, 300_000), 300_000, true},
		{"one part", multipartETag(body, 2_000_000), 2_000_000, true},
		{"parts that come out even", multipartETag(body, 250_000), 250_000, true},
		{"parts of others", multipartETag(body, 400_000), 300_000, false},
		{"as many parts, of another size", multipartETag(body, 299_999), 300_000, false},
		{"parts, size unknown", multipartETag(body, 300_000), 0, false},
		{"no number", multipartETag(body, 300_000) + "x", 300_000, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, func(f *Folder) {
				if c.part > 0 {
					f.PartSize = func(int64) int64 { return c.part }
				}
			})
			b.write("f", string(body))
			b.s.objs["p/f"] = object{body: string(body), etag: c.etag}
			_, put := b.scan("", listed)
			row := b.q.rows["p/f"]
			if !c.want {
				b.want(put, "upl p/f")
				if row != nil {
					t.Fatalf("row %+v", row)
				}
				return
			}
			b.want(put)
			st, err := lstat(b.path("f"))
			b.must(err)
			if row.Stat != st || row.ETag != c.etag || row.Source != b.path("f") || row.Verb != protocol.Upl ||
				strings.Contains(c.etag, "-") != (row.PartSize == c.part && row.MD5 == "") || row.Put != 1e9 {
				t.Fatalf("row %+v", row)
			}
			r, put := b.scan("", listed)
			b.want(put)
			if r.Adopted+r.Drift != 0 {
				t.Fatalf("%+v", r)
			}
		})
	}
}

// What is adopted keeps nothing of the page of the listing in memory, whose texts are one string.
func TestAdoptedRowsLeaveThePage(t *testing.T) {
	b := newBench(t, nil)
	b.write("d/f", "1")
	b.s.put("p/d/", "", false)
	b.s.put("p/d/f", "1", false)
	page := func(key protocol.Key) (etag string) {
		o := b.s.objs[key]
		o.etag = strings.Repeat("x", 4096) + o.etag
		o.etag = o.etag[4096:]
		b.s.objs[key] = o
		return o.etag
	}
	folder, file := page("p/d/"), page("p/d/f")
	b.scan("", listed)
	for key, etag := range map[protocol.Key]string{"p/d/": folder, "p/d/f": file} {
		if row := b.q.rows[key]; row == nil || row.ETag != etag || unsafe.StringData(row.ETag) == unsafe.StringData(etag) {
			t.Errorf("%s: the row is %+v, or keeps the page", key, row)
		}
	}
}

func TestAdoptEmptyFile(t *testing.T) {
	b := newBench(t, nil)
	b.write("f", "")
	b.s.put("p/f", "", false)
	r, put := b.scan("", listed)
	b.want(put)
	if r.Adopted != 1 {
		t.Fatalf("%+v", r)
	}
}

// A file that is being written is neither read nor adopted.
func TestBusyFileIsNotAdopted(t *testing.T) {
	b := newBench(t, nil)
	b.write("f", "1")
	b.s.put("p/f", "1", false)
	b.busy["f"] = true
	r, put := b.scan("", listed)
	b.want(put)
	if r.Busy != 1 || r.Adopted != 0 || len(b.marked) != 1 {
		t.Fatalf("%+v", r)
	}
}

func TestFileThatChangesWhileItIsRead(t *testing.T) {
	b := newBench(t, nil)
	b.write("f", "12")
	st, err := lstat(b.path("f"))
	b.must(err)
	b.write("f", "1")
	if _, err := fileETag(t.Context(), b.root, "f", st, 0); !errors.Is(err, errChanged) {
		t.Fatal(err)
	}
	if err := hashSome(t.Context(), md5.New(), strings.NewReader("123"), 4, make([]byte, 2)); !errors.Is(err, errChanged) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := hashSome(ctx, md5.New(), strings.NewReader("123"), 3, make([]byte, 2)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// What was just uploaded, while the scan was on its way, is not read.
func TestAdoptLooksAgain(t *testing.T) {
	b := newBench(t, nil)
	b.write("f", "1")
	b.s.put("p/f", "2", false)
	st, err := lstat(b.path("f"))
	b.must(err)
	b.f.queue = lateRow{b.q, &protocol.Entry{Bucket: bucketName, Key: "p/f", Verb: protocol.Upl, Source: b.path("f"), Stat: st}}
	_, put := b.scan("", listed)
	b.want(put)
}

// lateRow has a row that its Ledger does not show.
type lateRow struct {
	*fakeQueue
	row *protocol.Entry
}

func (q lateRow) Entry(protocol.ObjectID) (*protocol.Entry, error) { return q.row, nil }

func TestUnreadableFileIsSent(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("skipped: root reads every file")
	}
	b := newBench(t, nil)
	b.write("f", "1")
	b.s.put("p/f", "1", false)
	b.must(os.Chmod(b.path("f"), 0))
	_, put := b.scan("", listed)
	b.want(put, "upl p/f") // the worker finds out why it cannot be read, and lists it
}

// A file that has just been written can change again within the same step of the clock that stamps files, with the same
// size: what is adopted is read after that.
func TestAdoptOutlastsTheStepOfTheClock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fresh")
	for range 20 {
		if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
			t.Fatal(err)
		}
		st, err := lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fileETag(t.Context(), filepath.Dir(path), filepath.Base(path), st, 0); err != nil {
			t.Fatal(err)
		}
		if age := time.Since(time.Unix(0, st.CTime)); age < protocol.StampStep {
			t.Fatalf("it was read %v after its last change", age)
		}
	}
}
