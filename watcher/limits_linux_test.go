package watcher

import "testing"

func TestWatchesHintIsRoundedUp(t *testing.T) {
	for _, c := range []struct {
		now, missing int
		want         string
	}{
		{20, 30, "sysctl n=1024 (now 20, 30 more are needed)"},
		{8192, 1, "sysctl n=9216 (now 8192, 1 more are needed)"},
		{8192, 1024, "sysctl n=9216 (now 8192, 1024 more are needed)"},
		{192536, 30000, "sysctl n=223232 (now 192536, 30000 more are needed)"},
	} {
		if got := watchesHint("n", c.now, c.missing); got != c.want {
			t.Errorf("%d and %d: %s", c.now, c.missing, got)
		}
	}
}
