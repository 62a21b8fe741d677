package queuetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"s3apu/protocol"
	"s3apu/queue"
)

// draw draws an instruction that is possible on the reference bucket.
func (m *model) draw() queue.Item {
	key := m.key()
	m.version++
	it := queue.Item{Hint: m.bool("hint")}
	if m.Int("class", 0, 3) == 0 {
		it.Class = protocol.Backfill
	}
	if m.Int("when", 0, 5) == 0 {
		it.NotBefore = m.clk.now().Add(m.seconds("wait", 1, 10))
	}
	verbs := []protocol.Verb{protocol.Upl, protocol.Del, protocol.Cpo, protocol.Cpo}
	it.Instruction = protocol.Instruction{Verb: verbs[m.Int("verb", 0, len(verbs)-1)], Bucket: bucket, Key: key}
	if key.IsFolder() && it.Verb != protocol.Del {
		it.Verb = protocol.Mkd
	}
	switch it.Verb {
	case protocol.Upl:
		it.Source = fmt.Sprint("/v/", m.version)
		if from := slices.Sorted(maps.Keys(m.want)); len(from) > 0 && m.Int("origin", 0, 2) == 0 {
			it.From = "/" + bucket + "/" + string(from[m.Int("from", 0, len(from)-1)])
		}
	case protocol.Cpo:
		from := slices.Sorted(maps.Keys(m.want))
		if len(from) == 0 {
			it.Verb = protocol.Del
			break
		}
		it.Source = "/" + bucket + "/" + string(from[m.Int("from", 0, len(from)-1)])
	}
	if _, bad := clash(m.want, key); bad && it.Verb != protocol.Del {
		it.Verb, it.Source, it.From = protocol.Del, "", ""
	}
	it.Renamed = it.Verb == protocol.Del && m.Int("renamed", 0, 2) == 0
	if m.loose && it.Verb == protocol.Del {
		it.Held = m.bool("held")
	}
	return it
}

func (m *model) put() {
	items := make([]queue.Item, 0, 3)
	for range m.Int("items", 1, 3) {
		it := m.draw()
		items = append(items, it)
		m.Logf("put %s %s %s%s renamed=%v", it.Verb, it.Key, it.Source, it.From, it.Renamed)
		m.ok(carry(m.want, it.Instruction))
		if m.loose {
			delete(m.floor, it.Key) // it may have been dead
		}
	}
	m.lazy = m.lazy || !slices.ContainsFunc(items, func(i queue.Item) bool { return i.Class == protocol.Live })
	m.ok(m.q.Put(m.Context(), items...))
}

// do carries out what a hand has.
func (m *model) do(h *hand) {
	if err := carry(m.have, h.Instruction); err != nil && !m.loose {
		m.Fatalf("%s %s (gen %d): %v", h.Verb, h.Key, h.Gen, err)
	}
	h.carried = true
}

func (m *model) lease() {
	var hold time.Duration
	if m.bool("ends") {
		hold = m.seconds("hold", 1, 20)
	}
	got, err := m.q.Lease(m.Context(), bucket, m.Int("n", 1, 4), 0, hold)
	m.ok(err)
	m.take(got, hold, func() bool { return m.Int("at once", 0, 2) == 0 })
}

// take checks deliveries and takes them in hand.
func (m *model) take(got []protocol.Delivery, hold time.Duration, atOnce func() bool) {
	now := m.now()
	for _, d := range got {
		if o := m.hands[d.Key]; o != nil && (o.ends == 0 || o.ends > now) {
			m.Fatalf("%s is in two hands", d.Key)
		}
		if m.tokens[d.Token] {
			m.Fatalf("token %d came twice", d.Token)
		}
		if m.floor[d.Key] > now {
			m.Fatalf("%s came %v early", d.Key, time.Duration(m.floor[d.Key]-now))
		}
		m.tokens[d.Token] = true
		m.Logf("lease %s %s %s (gen %d, hold %v)", d.Verb, d.Key, d.Source, d.Gen, hold)
		h := &hand{Delivery: d}
		if hold > 0 {
			h.ends = now + int64(hold)
		}
		m.hands[d.Key] = h
		if atOnce() {
			m.do(h)
		}
	}
}

func (m *model) settle() {
	if len(m.hands) == 0 {
		return
	}
	var hs []*hand
	var rs []protocol.Result
	for _, k := range slices.Sorted(maps.Keys(m.hands)) {
		if len(hs) > 0 && m.bool("leave it") {
			continue
		}
		h := m.hands[k]
		r := protocol.Result{Delivery: h.Delivery}
		switch m.Int("result", 0, 5) {
		case 0:
			r.Err = &protocol.Error{Op: "play", Kind: protocol.KindTransient}
			r.Delay = m.seconds("delay", 0, 30)
			r.Uncounted = m.bool("uncounted")
		case 1:
			if m.loose {
				r.Err = &protocol.Error{Op: "play", Kind: protocol.KindItem}
				r.Dead = m.bool("dead")
			}
		}
		hs, rs = append(hs, h), append(rs, r)
	}
	m.hand(hs, rs)
}

// hand settles hands and checks the outcomes.
func (m *model) hand(hs []*hand, rs []protocol.Result) {
	now := m.now()
	for i, h := range hs {
		// Whoever learns that his lease has ended stops: the effect of a hand that has lost its lease is not played.
		if lost := h.ends != 0 && h.ends <= now; rs[i].Err == nil && !h.carried && !lost {
			m.do(h)
		}
	}
	out, err := m.q.Settle(m.Context(), rs)
	m.ok(err)
	for i, h := range hs {
		m.Logf("settle %s %s (gen %d): error %v, %v", h.Verb, h.Key, h.Gen, rs[i].Err != nil, out[i])
		if out[i] == protocol.LeaseLost && (h.ends == 0 || h.ends > now) {
			m.Fatalf("%s: the lease is lost too early", h.Key)
		}
		if out[i] != protocol.LeaseLost && rs[i].Err == nil && !h.carried {
			m.do(h) // it had ended and was not taken back yet
		}
		delete(m.hands, h.Key)
		delete(m.floor, h.Key)
		if out[i] == protocol.Requeued || out[i] == protocol.Superseded && rs[i].Err != nil {
			m.floor[h.Key] = now + int64(rs[i].Delay)
		}
	}
}

func (m *model) reopen() {
	before := m.q.Stats().Count
	if !m.bool("crash") {
		m.ok(m.q.Close())
	} else {
		if m.lazy {
			m.ok(m.q.SetMemo(m.Context(), "sync", []byte{1})) // takes to the disk what came before it
		}
		old := m.q
		if !m.store.Crash() {
			m.ok(old.Close())
		} else {
			defer func() { m.ok(old.Close()) }()
		}
	}
	m.lazy = false
	m.open()
	now := m.now()
	for k, h := range m.hands {
		if h.ends == 0 || h.ends <= now {
			delete(m.hands, k)
		}
	}
	after := m.q.Stats().Count
	if before.Pending() != after.Pending() || before.Dead != after.Dead {
		if !m.loose {
			m.Fatalf("opening again makes %+v of %+v", after, before)
		}
	}
}

// agree checks the lists against the counts.
func (m *model) agree() {
	var c queue.Count
	for r, err := range m.q.Records(m.Context(), bucket, "", "") {
		m.ok(err)
		switch r.State {
		case queue.Ready:
			c.Ready++
		case queue.Blocked:
			c.Blocked++
			if b, ok, err := m.q.Pending(r.Blocker); err != nil || !ok || b.State == queue.Dead || b.State == queue.Held {
				m.Fatalf("%s waits for %s, which is %+v, %v", r.Key, r.Blocker, b, err)
			}
		case queue.Leased:
			c.Leased++
		case queue.Held:
			c.Held++
		case queue.Dead:
			c.Dead++
		}
		if r.Reason != "" && r.State != queue.Dead {
			c.Failing++
		}
		if r.State == queue.Held || r.State == queue.Dead {
			continue
		}
		if r.Class == protocol.Live {
			c.Live++
		} else {
			c.Backfill++
		}
	}
	if s := m.q.Stats().Count; s != c {
		m.Fatalf("counts are %+v, records %+v", s, c)
	}
	fs, err := m.q.Failed(m.Context(), protocol.ObjectID{}, 1000)
	m.ok(err)
	if int64(len(fs)) != c.Failing+c.Dead {
		m.Fatalf("%d failures are listed, of %+v", len(fs), c)
	}
	hs, err := m.q.Held(m.Context(), protocol.ObjectID{}, 1000)
	m.ok(err)
	if int64(len(hs)) != c.Held {
		m.Fatalf("%d held are listed, of %+v", len(hs), c)
	}
}

// drain lets everything that can go go, and looks at what is there then.
func (m *model) drain() {
	if m.loose {
		_, err := m.q.Release(m.Context(), nil)
		m.ok(err)
		_, err = m.q.Retry(m.Context(), nil)
		m.ok(err)
	}
	for round := 0; m.q.Stats().Pending() > 0; round++ {
		if round > 1000 {
			m.Fatalf("stuck: %+v", m.q.Stats())
		}
		m.step(30 * time.Second)
		got, err := m.q.Lease(m.Context(), bucket, 10, 0, 0)
		m.ok(err)
		m.take(got, 0, func() bool { return false })
		var hs []*hand
		var rs []protocol.Result
		for _, h := range m.hands {
			hs, rs = append(hs, h), append(rs, protocol.Result{Delivery: h.Delivery})
		}
		m.hand(hs, rs)
		if m.loose {
			_, err := m.q.Release(m.Context(), nil)
			m.ok(err)
		}
	}
	if !m.loose && !maps.Equal(m.want, m.have) {
		m.Fatalf("the bucket is %v, want %v", m.have, m.want)
	}
	m.agree()
}

// The rest is of the loose play.

func (m *model) fail() {
	it := m.draw()
	m.ok(m.q.Fail(m.Context(), it, &protocol.Error{Op: "play", Kind: protocol.KindItem, Err: errors.New("impossible")}))
	delete(m.floor, it.Key)
}

func (m *model) byHand(f func(Queue, context.Context, []protocol.ObjectID) (int, error)) func() {
	return func() {
		var ids []protocol.ObjectID
		for range m.Int("named", 0, 2) {
			ids = append(ids, protocol.ObjectID{Bucket: bucket, Key: m.key()})
		}
		_, err := f(m.q, m.Context(), ids)
		m.ok(err)
		m.floor = map[protocol.Key]int64{}
	}
}

func (m *model) pop() {
	got, err := m.q.Pop(m.Context(), bucket, 1, 0)
	m.ok(err)
	for _, in := range got {
		if h := m.hands[in.Key]; h != nil && (h.ends == 0 || h.ends > m.now()) {
			m.Fatalf("%s was popped out of a hand", in.Key)
		}
		delete(m.hands, in.Key)
		delete(m.floor, in.Key)
	}
}
