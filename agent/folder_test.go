package agent

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRescans(t *testing.T) {
	r := rescans{wake: make(chan struct{}, 1)}
	for _, p := range []string{"a/b", "a/c", "a", "a/d", "ab", "b", "b"} {
		r.add(p)
	}
	var got []string
	for range 3 {
		p, ok := r.take(t.Context())
		if !ok {
			t.Fatal("ended early")
		}
		got = append(got, p.path)
	}
	if want := []string{"a", "ab", "b"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A folder whose scan failed because the agent stops was put back and taken again for ever.
func TestRescansEndWithTheContext(t *testing.T) {
	r := rescans{wake: make(chan struct{}, 1)}
	r.add("a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p, ok := r.take(ctx); ok {
		t.Errorf("%q was handed out after the end", p.path)
	}
}

// A folder whose scan failed waits by itself: all others were held up by up to a minute with it.
func TestFailedRescansWaitAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rescans{wake: make(chan struct{}, 1)}
		take := func(want string, after time.Duration) rescan {
			t.Helper()
			began := time.Now()
			got, ok := r.take(t.Context())
			if took := time.Since(began); !ok || got.path != want || took != after {
				t.Fatalf("%q after %v, want %q after %v", got.path, took, want, after)
			}
			return got
		}
		r.add("a")
		r.again(take("a", 0))
		r.done()
		r.add("b")
		r.add("a/x") // "a" is far off
		take("b", 0)
		take("a/x", 0)
		for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			r.again(take("a", wait*time.Second))
			r.done()
		}
		r.add("") // takes it in
		root := take("", 0)
		r.again(rescan{path: "c"})
		r.again(root)
		take("", time.Second)
		if len(r.paths) != 0 {
			t.Fatal(r.paths)
		}
	})
}

// What failed because the folder was not fit is tried again as soon as it is.
func TestFailedRescansHurryWhenTheFolderIsFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fit atomic.Bool
		r := rescans{wake: make(chan struct{}, 1), fit: func() error {
			if fit.Load() {
				return nil
			}
			return errors.New("unmounted")
		}}
		for _, p := range []string{"a", "b"} {
			r.again(rescan{path: p, wait: mostPause})
		}
		time.AfterFunc(5*time.Second, func() { fit.Store(true) })
		began := time.Now()
		for _, want := range []string{"a", "b"} {
			got, ok := r.take(t.Context())
			if took := time.Since(began); !ok || got.path != want || took > 6*time.Second {
				t.Fatalf("%q after %v", got.path, took)
			}
		}
	})
}

// A folder that is taken into one above it, or into the root when there are too many, still has to be scanned: what is gone
// waits for that, or a renamed folder's files were deleted before they are found.
func TestRescansTakenTogetherArePending(t *testing.T) {
	for name, more := range map[string]func(r *rescans){
		"a folder above": func(r *rescans) { r.add("a") },
		"the root":       func(r *rescans) { r.add("") },
		"too many": func(r *rescans) {
			for i := range mostRescans {
				r.add(strconv.Itoa(i))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := rescans{wake: make(chan struct{}, 1)}
			r.add("a/b")
			before := r.last()
			more(&r)
			if !r.pending(before) {
				t.Fatal("it waits no more, and was not scanned")
			}
			if next, ok := r.take(t.Context()); !ok || next.path == "a/b" || !r.pending(before) {
				t.Fatal(next.path, ok)
			}
			if r.done(); r.pending(r.last()) {
				t.Error("all is done")
			}
		})
	}
}
