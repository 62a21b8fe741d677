package feeder

import (
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"s3apu/protocol"
)

func TestStreamOpensAnew(t *testing.T) {
	opens := 0
	keys := []protocol.Key{"p/", "p/a", "p/b/1", "p/b/2", "p/c"}
	for i := range 3000 {
		keys = append(keys, protocol.Key(fmt.Sprintf("p/d%04d", i)))
	}
	s := &stream[protocol.Key]{base: "p/", fresh: time.Nanosecond, keyOf: func(k protocol.Key) protocol.Key { return k },
		open: func(after protocol.Key) iter.Seq2[protocol.Key, error] {
			opens++
			return func(yield func(protocol.Key, error) bool) {
				for _, k := range keys {
					if k > after && !yield(k, nil) {
						return
					}
				}
			}
		}}
	var got []protocol.Key
	for err := s.start(); s.ok || err != nil; err = s.advance() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s.val)
	}
	if !slices.Equal(got, keys[1:]) || opens < 3 {
		t.Fatalf("%d keys, %d opens", len(got), opens)
	}
}

func TestShallowStreamJumpsOverSubFolders(t *testing.T) {
	reads := 0
	var keys []protocol.Key
	for _, dir := range []string{"p/a/", "p/b/", "p/é/"} {
		keys = append(keys, protocol.Key(dir))
		for i := range 10_000 {
			keys = append(keys, protocol.Key(fmt.Sprintf("%sx%05d", dir, i)))
		}
	}
	keys = append(keys, "p/ê")
	s := &stream[protocol.Key]{base: "p/", shallow: true, fresh: time.Hour, keyOf: func(k protocol.Key) protocol.Key { return k },
		open: func(after protocol.Key) iter.Seq2[protocol.Key, error] {
			return func(yield func(protocol.Key, error) bool) {
				at, _ := slices.BinarySearch(keys, after)
				for _, k := range keys[at:] {
					if reads++; k > after && !yield(k, nil) {
						return
					}
				}
			}
		}}
	var got []string
	for err := s.start(); s.ok; err = s.advance() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(s.key, s.nested))
	}
	want := []string{"p/a/false", "p/a/true", "p/b/false", "p/b/true", "p/é/false", "p/é/true", "p/êfalse"}
	if !slices.Equal(got, want) || reads > 1000 {
		t.Fatalf("%q after %d reads", got, reads)
	}
}
