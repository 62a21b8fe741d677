package agent

import (
	"os"
	"path/filepath"
	"testing"
)

// Two folders, each with its own bucket, prefix, globs and recursion.
func TestManyFolders(t *testing.T) {
	r := newRig(t)
	other := r.server.Bucket(t, "other-bucket")
	second := filepath.Join(t.TempDir(), "second")
	for name, text := range map[string]string{"a.jpg": "1", "b.txt": "2", "d/c.jpg": "3"} {
		r.must(os.MkdirAll(filepath.Join(second, filepath.Dir(name)), 0o750))
		r.must(os.WriteFile(filepath.Join(second, name), []byte(text), 0o600))
	}
	f := NewFolder(second)
	f.Bucket, f.Prefix, f.Include, f.Recursion = "other-bucket", "p/q", []string{"**/*.jpg"}, 1
	r.cfg.Folders = append(r.cfg.Folders, f)
	r.write("mine", "4")
	r.start()
	r.waitEqual("the first folder")
	list := func() (keys string) {
		for o, err := range other.List(t.Context(), "", "", "") {
			r.must(err)
			keys += string(o.Key) + " "
		}
		return keys
	}
	r.waitFor("the second folder", func() bool { return list() == "p/q/a.jpg p/q/d/ " })
	r.must(os.Remove(filepath.Join(second, "a.jpg")))
	r.must(os.WriteFile(filepath.Join(second, "n.jpg"), []byte("5"), 0o600))
	r.waitFor("its changes", func() bool { return list() == "p/q/d/ p/q/n.jpg " })
	r.waitEqual("the first folder, untouched")
}
