package agent

import "testing"

func TestMatch(t *testing.T) {
	cases := []struct {
		include, exclude []string
		rel              string
		folder, want     bool
	}{
		{nil, nil, "a/b", false, true},
		{nil, []string{"*.tmp"}, "x.tmp", false, false},
		{nil, []string{"*.tmp"}, "a/x.tmp", false, true},
		{nil, []string{"**/*.tmp"}, "x.tmp", false, false},
		{nil, []string{"**/*.tmp"}, "a/b/x.tmp", false, false},
		{nil, []string{"cache"}, "cache", true, false},
		{nil, []string{"cache/"}, "cache/x/y", false, false},
		{nil, []string{"**/cache"}, "a/cache/x", false, false},
		{nil, []string{"cache/**"}, "cache", true, true},
		{nil, []string{"cache/**"}, "cache/x", false, false},
		{[]string{"**/*.{jpg,png}"}, nil, "a.jpg", false, true},
		{[]string{"**/*.{jpg,png}"}, nil, "d/a.png", false, true},
		{[]string{"**/*.{jpg,png}"}, nil, "d/a.txt", false, false},
		{[]string{"**/*.{jpg,png}"}, nil, "d", true, true},
		{[]string{"**/*.jpg"}, []string{"private"}, "private/a.jpg", false, false},
		{nil, []string{"日本*"}, "日本語.txt", false, false},
	}
	for _, c := range cases {
		m, err := NewMatch(c.include, c.exclude)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.HasAll(c.rel, c.folder); got != c.want {
			t.Errorf("include %q exclude %q: %q (folder %v) = %v", c.include, c.exclude, c.rel, c.folder, got)
		}
	}
	if _, err := NewMatch(nil, []string{""}); err == nil {
		t.Error("an empty pattern was accepted")
	}
}
