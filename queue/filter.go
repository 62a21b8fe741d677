package queue

import "hash/maphash"

const (
	// filterTags is how many tags a filter has room for, of one byte and for one record each. A power of two, and a guess: five times
	// the default of Options.MaxBackfill, and half a MiB.
	filterTags = 1 << 19

	// Of Fan et al., "Cuckoo Filter: Practically Better Than Bloom" (CoNEXT 2014), 5.1.
	bucketTags = 4   // tags in a bucket
	maxKicks   = 500 // tags that are moved to make room for one; after that many the filter is full, at some 95 % of its room
)

// filter is a cuckoo filter of the keys of all records. Most puts are of keys that have no record, and without the filter each of
// them would look into every part of the store to find that out. For such a key it says so 97 times in 100; for a key that has a
// record it never denies that. It must be told of every record that comes, once, and of every one that goes. When it is full it says
// "perhaps" to everything until reset. Guarded by Queue.mu.
type filter struct {
	seed    maphash.Seed
	buckets [][bucketTags]uint8 // of tags, 0: a free place; nil until something is added
	size    int                 // how many buckets there are to be, a power of two
	n       int                 // tags that are in it
	full    bool
	kicks   uint32 // moves so far, which take turns among the places of a bucket
}

// newFilter makes an empty filter for about so many records; room is a power of two, from bucketTags on.
func newFilter(room int) *filter { return &filter{seed: maphash.MakeSeed(), size: room / bucketTags} }

// mark is what a filter keeps of a key: a tag, and one of the two buckets that it may be in.
type mark struct {
	tag uint8
	at  uint32
}

// mark returns what stands for key. It stays the same as long as f lives, so that it may be kept.
func (f *filter) mark(key []byte) mark {
	h := maphash.Bytes(f.seed, key)
	return mark{max(uint8(h>>56), 1), uint32(h) & uint32(f.size-1)}
}

// other returns m with the other of the two buckets; other of that is m again.
func (f *filter) other(m mark) mark {
	const spread = 0x5bd1e995 // of MurmurHash2, as in the paper's own implementation
	return mark{m.tag, (m.at ^ uint32(m.tag)*spread) & uint32(f.size-1)}
}

// mayHold reports false only if no record has key. True means perhaps.
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

// add takes in the key of a record that came. Remove of what it returns takes it out again.
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

// giveUp makes the filter say "perhaps" to everything from now on.
func (f *filter) giveUp() { f.full, f.buckets = true, nil }

// reset makes a filter that was full usable again. It must be called when there are no records; one that is not full needs none.
func (f *filter) reset() {
	if f.full {
		*f = filter{seed: f.seed, size: f.size}
	}
}
