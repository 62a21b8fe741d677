package watcher

import (
	"cmp"
	"slices"
	"time"
)

// when is the time of the next look at a mark, or of a Rescan becoming due.
func (m *marks) when(k *mark) tick {
	if k.rescan {
		return min(k.by, k.last+k.pause)
	}
	if k.last <= k.looked {
		return k.by
	}
	return min(k.by, k.last+min(max((k.last-k.first)/64, m.debounce), mostQuiet))
}

// push puts a mark on the settler's clock. One that is there already moves only to an earlier time: a later one is
// found out when its time comes.
func (m *marks) push(k *mark) {
	if k.ready || k.looking || k.held || k.dead {
		m.heap.remove(k)
		return
	}
	at := m.when(k)
	if !m.heap.put(k, at) {
		return
	}
	if m.sleep > 0 && at < m.sleep {
		m.sleep = 0
		signal(m.settleWake)
	}
}

// Marks that become due together are handed out together: of a file that gets another name, and another one that takes the old name at
// once, the new name must not be heard of behind the old one, or the file's object is overwritten before it is copied.
const (
	roundSpan = time.Millisecond // what becomes due within it belongs together, and is looked at so much too soon; half of the debounce
	roundMost = 128              // bounds the looks of a round; a guess: some milliseconds
)

// round is a series of looks. What they find ready is handed out at its end.
type round struct {
	left  int     // looks; 0: there is none under way
	ready []*mark // what was found ready
	aside []*mark // what was not due with the others
}

// pick returns a mark that is to be looked at now and a copy of it to read, or else how long there is nothing to do
// (0: until settleWake).
func (m *marks) pick(now tick) (k *mark, seen mark, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sleep = 0
	for {
		k := m.heap.first()
		if m.round.left > 0 {
			if k == nil || m.round.left == 1 || m.heap[0].at > now+roundSpan {
				m.endRound()
				continue
			}
			if !m.dueWith(k, now) {
				m.heap.remove(k)
				m.round.aside = append(m.round.aside, k)
				continue
			}
		}
		if k == nil {
			m.sleep = 1<<63 - 1
			return nil, mark{}, 0
		}
		if at := m.heap[0].at; m.round.left == 0 && at > now {
			m.sleep = at
			return nil, mark{}, at - now
		}
		m.heap.remove(k)
		if at := m.when(k); m.round.left == 0 && at > now {
			m.heap.put(k, at) // something happened meanwhile
			continue
		}
		if m.round.left == 0 {
			m.round.left = roundMost
		}
		m.round.left--
		if k.rescan {
			m.makeReady(k)
			continue
		}
		k.looking, k.looked = true, now
		return k, *k, 0
	}
}

// dueWith reports whether a mark is due in the round that is under way: now, or so soon that it belongs to what is due now. What had
// a second event may have a third, and waits until it is its time.
func (m *marks) dueWith(k *mark, now tick) bool {
	at := m.when(k)
	return at <= now || k.first == k.last && at <= now+roundSpan
}

func (m *marks) makeReady(k *mark) {
	k.ready = true
	if !k.queued {
		k.queued = true
		m.round.ready = append(m.round.ready, k)
	}
}

func (m *marks) endRound() {
	if len(m.round.ready) > 0 {
		m.due = append(m.due, m.round.ready...)
		signal(m.readyWake)
	}
	for _, k := range m.round.aside {
		m.push(k)
	}
	clear(m.round.ready)
	clear(m.round.aside)
	m.round = round{ready: m.round.ready[:0], aside: m.round.aside[:0]}
}

// finish takes the settler's verdict on the mark it picked.
func (m *marks) finish(k *mark, v verdict) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k.looking = false
	if k.dead {
		return
	}
	k.missing, k.stable, k.sig = v.missing, v.stable, v.sig
	if k.created <= k.looked {
		k.created = 0
	}
	switch {
	case v.drop:
		m.kill(k)
		delete(k.home.names, k.path)
		m.names--
		m.tidy(k.home)
	case v.ready && k.last <= k.looked:
		m.makeReady(k)
	default: // not at rest, or something happened during the look
		if !v.ready {
			k.by = v.by
		}
		m.push(k)
	}
}

// take hands out up to n due marks and forgets them.
func (m *marks) take(now tick, n int) []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*mark
	i := 0
	for ; i < len(m.due) && len(out) < max(n, 1); i++ {
		k := m.due[i]
		m.due[i] = nil
		k.queued = false
		if !k.ready {
			continue
		}
		out = append(out, k)
		m.handOut(k, now)
	}
	m.due = m.due[i:]
	if len(m.due) == 0 {
		m.due = nil
	} else if len(out) > 0 {
		signal(m.readyWake) // for another caller of Next
	}
	slices.SortFunc(out, func(a, b *mark) int {
		if gone, other := a.missing > 0, b.missing > 0; gone != other {
			if other {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.path, b.path)
	})
	events := make([]Event, len(out))
	for i, k := range out {
		events[i] = Event{Path: k.path, Rescan: k.rescan, Deep: k.deep, Why: k.why}
	}
	return events
}

// handOut removes a mark from what is dirty.
func (m *marks) handOut(k *mark, now tick) {
	k.dead, k.ready = true, false
	d := k.home
	if !k.rescan {
		delete(d.names, k.path)
		m.names--
	} else {
		d.all = nil
		if k.deep {
			m.deeps--
		}
		if k.pause > 0 {
			m.remember(d.path, storm{taken: now, pause: k.pause})
		}
	}
	m.tidy(d)
}

// remember keeps the last collapse of a folder, for a bounded number of folders.
func (m *marks) remember(path string, s storm) {
	if len(m.storms) >= stormRemember {
		for p, o := range m.storms {
			if s.taken-o.taken > 2*time.Second+4*o.pause {
				delete(m.storms, p)
			}
		}
		if len(m.storms) >= stormRemember {
			clear(m.storms)
		}
	}
	m.storms[path] = s
}
