package agent

import "testing"

func TestOneIsNotSeveral(t *testing.T) {
	for _, c := range []struct {
		n          int64
		verb, want string
	}{{1, "", "1 folder"}, {2, "", "2 folders"}, {0, "", "0 folders"}, {1, " is", "1 folder is"}, {2, " is", "2 folders are"}} {
		if got := counted(c.n, "folder", c.verb); got != c.want {
			t.Errorf("%d: %q, want %q", c.n, got, c.want)
		}
	}
}
