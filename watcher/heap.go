package watcher

// slot is a mark on the settler's clock.
type slot struct {
	at tick
	k  *mark
}

// markHeap is a binary heap of marks, earliest first; each mark knows its place in pos.
type markHeap []slot

func (h markHeap) first() *mark {
	if len(h) == 0 {
		return nil
	}
	return h[0].k
}

// put inserts a mark, or moves it to an earlier time. It reports whether anything moved.
func (h *markHeap) put(k *mark, at tick) bool {
	if k.pos >= 0 {
		if at >= (*h)[k.pos].at {
			return false
		}
		(*h)[k.pos].at = at
		h.up(k.pos)
		return true
	}
	k.pos = len(*h)
	*h = append(*h, slot{at, k})
	h.up(k.pos)
	return true
}

// remove takes a mark out, if it is in.
func (h *markHeap) remove(k *mark) {
	i := k.pos
	if i < 0 {
		return
	}
	last := len(*h) - 1
	h.swap(i, last)
	(*h)[last] = slot{}
	*h = (*h)[:last]
	k.pos = -1
	if i < last {
		h.up(i)
		h.down(i)
	}
}

func (h markHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].k.pos, h[j].k.pos = i, j
}

func (h markHeap) up(i int) {
	for i > 0 && h[i].at < h[(i-1)/2].at {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h markHeap) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1].at < h[c].at {
			c++
		}
		if h[i].at <= h[c].at {
			return
		}
		h.swap(i, c)
		i = c
	}
}
