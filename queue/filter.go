package queue

import "hash/maphash"

const (
	// filterTags is how many records a filter has room for, about, and as many bytes. A guess: five times the default of
	// Options.MaxBackfill, and half a MiB.
	filterTags = 1 << 19

	bucketTags = 4   // Fan et al., "Cuckoo Filter: Practically Better Than Bloom" (CoNEXT 2014), 5.1
	maxKicks   = 500 // of the same: then it is full, at 95 % of its room
)

// filter is a cuckoo filter of the keys of all records, so that a put of a key that has none, as most do, need not look
// into every part of the store for it. It says no only if there is none, and yes wrongly three times in a hundred. It must be
// told of every record that comes, once, and of every one that goes. When it is full it says yes to everything until it is
// emptied.
type filter struct {
	seed    maphash.Seed
	buckets [][bucketTags]uint8 // 0: a free place; a power of two of them, or none as long as nothing was added
	size    int                 // how many there are to be
	n       int                 // tags
	full    bool
	kicks   uint32 // which tag has to move next time
}

// newFilter makes an empty filter for about so many records, a power of two.
func newFilter(room int) *filter { return &filter{seed: maphash.MakeSeed(), size: room / bucketTags} }

// mark is what a filter keeps of a key: a tag, and one of the two buckets that it may be in.
type mark struct {
	tag uint8
	at  uint32
}

func (f *filter) mark(key []byte) mark {
	h := maphash.Bytes(f.seed, key)
	return mark{max(uint8(h>>56), 1), uint32(h) & uint32(f.size-1)}
}

// other is m with the other bucket.
func (f *filter) other(m mark) mark {
	const spread = 0x5bd1e995 // of MurmurHash2, as in the paper's own implementation
	return mark{m.tag, (m.at ^ uint32(m.tag)*spread) & uint32(f.size-1)}
}

// mayHold reports false if key is that of no record.
func (f *filter) mayHold(key []byte) bool {
	if f.full {
		return true
	}
	if f.n == 0 {
		return false
	}
	m := f.mark(key)
	return f.find(m) >= 0 || f.find(f.other(m)) >= 0
}

// find returns the place of a tag in its bucket, or -1.
func (f *filter) find(m mark) int {
	for i, t := range f.buckets[m.at] {
		if t == m.tag {
			return i
		}
	}
	return -1
}

// put stores a tag in its bucket if there is room.
func (f *filter) put(m mark) bool {
	i := f.find(mark{0, m.at})
	if i >= 0 {
		f.buckets[m.at][i] = m.tag
	}
	return i >= 0
}

// add takes in the key of a record that came. What it returns takes it out again.
func (f *filter) add(key []byte) mark {
	m := f.mark(key)
	if f.full {
		return m
	}
	if f.buckets == nil {
		f.buckets = make([][bucketTags]uint8, f.size)
	}
	f.n++
	if f.put(m) {
		return m
	}
	homeless := f.other(m)
	for range maxKicks {
		if f.put(homeless) {
			return m
		}
		f.kicks++
		place := &f.buckets[homeless.at][f.kicks%bucketTags]
		homeless.tag, *place = *place, homeless.tag
		homeless = f.other(homeless)
	}
	f.giveUp()
	return m
}

// remove takes out the key of a record that went.
func (f *filter) remove(m mark) {
	if f.full {
		return
	}
	i := f.find(m)
	if i < 0 {
		m = f.other(m)
		i = f.find(m)
	}
	if i < 0 {
		f.giveUp() // it was never told of the key, and cannot be believed any more
		return
	}
	f.buckets[m.at][i] = 0
	f.n--
}

// giveUp says yes to everything from now on.
func (f *filter) giveUp() { f.full, f.buckets = true, nil }

// clear begins anew, when there are no records, if it was full.
func (f *filter) clear() {
	if f.full {
		*f = filter{seed: f.seed, size: f.size}
	}
}
