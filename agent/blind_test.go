package agent

import (
	"strings"
	"testing"
	"time"
)

func TestBlindGap(t *testing.T) {
	for _, c := range []struct{ every, took, want time.Duration }{
		{time.Minute, 0, time.Minute}, {time.Minute, 3 * time.Second, time.Minute},
		{time.Minute, 10 * time.Second, 190 * time.Second}, // 5 % of the time
		{0, 0, time.Second},
	} {
		if got := blindGap(c.every, c.took); got != c.want {
			t.Errorf("each %v, took %v: %v, want %v", c.every, c.took, got, c.want)
		}
	}
}

func TestBlindText(t *testing.T) {
	places := []BlindPlace{{FS: "nfs4"}, {Path: "a b/m", FS: "fuse.sshfs"}}
	for want, every := range map[string]Reconcile{
		"looked for every 1m0s": {Blind: Duration(time.Minute), Interval: Duration(time.Hour)},
		"every 1h0m0s only":     {Interval: Duration(time.Hour)},
		"never found":           {},
	} {
		got := BlindText(places, every)
		if !strings.Contains(got, want) || !strings.Contains(got, "nfs4, fuse.sshfs at a b/m") {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// What the folder leaves out is not looked at for its own sake.
func TestBlindPlacesThatAreTaken(t *testing.T) {
	match, err := NewMatch(nil, []string{"cache", "**/*.tmp"})
	if err != nil {
		t.Fatal(err)
	}
	f := &folder{match: match}
	for rel, want := range map[string]bool{"m": true, "a/b/m": true, "cache": false, "cache/m": false, "a/x.tmp": false} {
		if f.takes(rel) != want {
			t.Errorf("%s: %v", rel, !want)
		}
	}
	f.cfg.Recursion = 2
	if !f.takes("m") || f.takes("a/m") {
		t.Error("the recursion is not kept")
	}
}
