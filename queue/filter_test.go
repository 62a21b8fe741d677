package queue

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// TestFilterModel: whatever comes and goes, no key that is there is denied, and an empty filter holds nothing.
func TestFilterModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Few places, so that tags meet, are moved and find no room.
		f := newFilter(1 << rapid.IntRange(2, 8).Draw(t, "room"))
		there := map[string]mark{}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				key := rapid.StringN(0, 4, 8).Draw(t, "key")
				if _, ok := there[key]; !ok {
					there[key] = f.add([]byte(key))
				}
			},
			"remove": func(t *rapid.T) {
				key := rapid.StringN(0, 4, 8).Draw(t, "key")
				for k := range there { // mostly one that is there
					key = k
					break
				}
				if m, ok := there[key]; ok {
					if m != f.mark([]byte(key)) {
						t.Fatalf("the mark of %q changed", key)
					}
					f.remove(m)
					delete(there, key)
				}
			},
			"clear": func(*rapid.T) {
				if len(there) == 0 {
					f.reset()
				}
			},
			"": func(t *rapid.T) {
				for key := range there {
					if !f.mayHold([]byte(key)) {
						t.Fatalf("%q is there and denied", key)
					}
				}
				if f.full {
					return
				}
				tags := 0
				for _, b := range f.buckets {
					for _, tag := range b {
						if tag != 0 {
							tags++
						}
					}
				}
				if tags != len(there) || f.n != len(there) {
					t.Fatalf("%d tags, counted %d, of %d keys", tags, f.n, len(there))
				}
			},
		})
	})
}

func TestFilterIsWorthIt(t *testing.T) {
	const room = 1 << 14
	f := newFilter(room)
	key := func(i uint64) []byte { return binary.BigEndian.AppendUint64([]byte("kbucket\x00folder/"), i) }
	var marks []mark
	for i := range uint64(room * 9 / 10) {
		marks = append(marks, f.add(key(i)))
	}
	if f.full {
		t.Fatal("it is full at nine tenths")
	}
	wrong := 0
	for i := range uint64(200_000) {
		if f.mayHold(key(1<<32 + i)) {
			wrong++
		}
	}
	if wrong > 8_000 { // of 7 to 8 tags each is the same once in 255: 5,600
		t.Errorf("%d of 200,000 keys were taken for one that is there", wrong)
	}
	for _, m := range marks {
		f.remove(m)
	}
	if f.n != 0 || f.mayHold(key(0)) || f.full {
		t.Errorf("%d left, full %v", f.n, f.full)
	}
	for i := range uint64(room + 1) {
		marks = append(marks, f.add(key(i)))
	}
	if !f.full || !f.mayHold(key(1<<32)) || f.buckets != nil {
		t.Error("more than there is room for went in")
	}
	f.reset()
	if f.mayHold(key(0)) {
		t.Error("it was cleared and holds something")
	}
	f.add(key(1))
	f.remove(f.mark(key(2))) // it was never there
	if !f.mayHold(key(1)) || !f.mayHold(key(3)) {
		t.Error("it believes itself after it was told a lie")
	}
}
