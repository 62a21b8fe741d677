package buckettest

import (
	"fmt"
	"slices"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

// keys lists into a slice.
func (s *suite) keys(b *bucket.Bucket, prefix protocol.Key, delimiter string, after protocol.Key) []protocol.Key {
	s.Helper()
	var all []protocol.Key
	for o, err := range b.List(s.Context(), prefix, delimiter, after) {
		if err != nil {
			s.Fatalf("List: %v", err)
		}
		all = append(all, o.Key)
	}
	return all
}

// paged is the bucket with pages of n keys.
func (s *suite) paged(n int32) *bucket.Bucket {
	cfg := s.cfg
	cfg.ListPage = n
	return open(s.T, cfg)
}

func (s *suite) list() {
	var want []protocol.Key
	for i := range 25 {
		key := protocol.Key(fmt.Sprintf("p/%02d +%%ä", i))
		want = append(want, key)
		s.put(s.b, key, string(key), headers)
	}
	s.put(s.b, "q", "", headers)
	for _, page := range []int32{0, 1, 7, 25} {
		b := s.paged(page)
		if got := s.keys(b, "p/", "", ""); !slices.Equal(got, want) {
			s.Errorf("pages of %d: %q", page, got)
		}
		if got := s.keys(b, "p/", "", want[9]); !slices.Equal(got, want[10:]) {
			s.Errorf("pages of %d, behind %q: %q", page, want[9], got)
		}
		if got := s.keys(b, "p/", "", "p/09 "); !slices.Equal(got, want[9:]) {
			s.Errorf("pages of %d, behind a key that is not there: %q", page, got)
		}
		if got := s.keys(b, "nothing/", "", ""); len(got) != 0 {
			s.Errorf("pages of %d: %q", page, got)
		}
	}
	for o, err := range s.b.List(s.Context(), want[3], "", "") {
		if err != nil || o.Size != int64(len(want[3])) || o.ETag != hexMD5(string(want[3])) || o.Modified.IsZero() || o.Folder {
			s.Errorf("%+v, %v", o, err)
		}
	}
}

// listOrder has names that come out wrong where a server lists folder by folder.
func (s *suite) listOrder() {
	want := []protocol.Key{"a-b", "a.b", "a/b", "a/b/c.d", "a/b0", "a0", "é", "日"}
	want = slices.DeleteFunc(want, func(k protocol.Key) bool { return k == "a/b" }) // not beside a/b/c.d everywhere
	for _, key := range want {
		s.put(s.b, key, "x", headers)
	}
	for _, page := range []int32{0, 1, 2, 3} {
		if got := s.keys(s.paged(page), "", "", ""); !slices.Equal(got, want) {
			s.Errorf("pages of %d: %q, not %q", page, got, want)
		}
	}
}

func (s *suite) listDelimiter() {
	for _, key := range []protocol.Key{"a/1", "a/2", "a/3", "b", "c d/1", "c d/2", "e/f/1", "e/g", "h/"} {
		s.put(s.b, key, "", headers)
	}
	want := []protocol.Key{"a/", "b", "c d/", "e/", "h/"}
	for _, page := range []int32{0, 1, 2, 3} {
		b := s.paged(page)
		if got := s.keys(b, "", "/", ""); !slices.Equal(got, want) {
			s.Errorf("pages of %d: %q, not %q", page, got, want)
		}
		if got, want := s.keys(b, "e/", "/", ""), []protocol.Key{"e/f/", "e/g"}; !slices.Equal(got, want) {
			s.Errorf("pages of %d below e/: %q, not %q", page, got, want)
		}
		if got, want := s.keys(b, "c", "/", ""), []protocol.Key{"c d/"}; !slices.Equal(got, want) {
			s.Errorf("pages of %d below c: %q, not %q", page, got, want)
		}
	}
	for o, err := range s.b.List(s.Context(), "", "/", "") {
		if err != nil || o.Folder != (o.Key != "b") {
			s.Errorf("%+v, %v", o, err)
		}
	}
}

// listStops ends listings early; what they started has to end too, which goleak sees.
func (s *suite) listStops() {
	for i := range 6 {
		s.put(s.b, protocol.Key(fmt.Sprintf("%d", i)), "", headers)
	}
	b := s.paged(1)
	for stop := range 6 {
		n := 0
		for _, err := range b.List(s.Context(), "", "", "") {
			if err != nil {
				s.Fatal(err)
			}
			if n == stop {
				break
			}
			n++
		}
	}
}
