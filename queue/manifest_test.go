package queue

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A new manifest that was sealed and not taken into use before a crash leaves the seal of the one in use alone, again and
// again.
func TestSealOfTheManifestInUseStays(t *testing.T) {
	f := vfs.NewMem()
	q, err := Open("q", Options{fs: f})
	fine(t, err)
	fine(t, q.Close())
	g := newGuardFS(f, "q", nil, func(err error) { t.Error(err) })
	path := f.PathJoin("q", storeName)
	for n := uint64(1001); n < 1006; n++ {
		name := f.PathJoin(path, "MANIFEST-00"+string(rune('a'+n%8)))
		file, err := f.Create(name, vfs.WriteCategoryUnspecified)
		fine(t, err)
		s := newSealed(g, file, name, n)
		_, err = s.Write([]byte("an edit"))
		fine(t, err)
		fine(t, s.Sync())
		fine(t, s.Close())
		seals, err := readSeals(f, f.PathJoin(path, sealName))
		fine(t, err)
		if seals[s.slot].number != n || seals[1-s.slot].number == 0 || seals[1-s.slot].number > 1000 {
			t.Errorf("the seals are %+v", seals)
		}
		fine(t, checkSeal(f, path))
	}
}
