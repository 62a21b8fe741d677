package worker

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"s3apu/protocol"
)

// memorySource is a queue in memory with the contract of Source and nothing more.
type memorySource struct {
	mu      sync.Mutex
	token   uint64
	pending map[protocol.ObjectID]*wish
	ledger  map[protocol.ObjectID]*protocol.Entry
	dead    map[protocol.ObjectID]*protocol.Error
	uploads map[protocol.ObjectID]*protocol.Upload
	saves   int
	history map[protocol.ObjectID][]protocol.Result
	wake    chan struct{}
	leases  int // calls
	opening uint64
	asked   []int // how many, by call

	settleErr func() error // may be nil
	settleGap time.Duration
}

type wish struct {
	protocol.Delivery
	due    time.Time
	leased bool
}

func newSource() *memorySource {
	return &memorySource{
		pending: map[protocol.ObjectID]*wish{}, ledger: map[protocol.ObjectID]*protocol.Entry{},
		dead: map[protocol.ObjectID]*protocol.Error{}, uploads: map[protocol.ObjectID]*protocol.Upload{},
		history: map[protocol.ObjectID][]protocol.Result{}, wake: make(chan struct{}),
	}
}

const (
	testBucket = "b"
	testQueue  = "the name of the queue"
)

func (s *memorySource) put(ds ...protocol.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range ds {
		d.Bucket = testBucket
		d.Attempt = max(d.Attempt, 1)
		s.pending[d.ID()] = &wish{Delivery: d, due: time.Now()}
	}
	s.signal()
}

func (s *memorySource) signal() {
	close(s.wake)
	s.wake = make(chan struct{})
}

func (s *memorySource) Lease(ctx context.Context, n int, wait time.Duration) ([]protocol.Delivery, error) {
	deadline := time.Now().Add(wait)
	s.mu.Lock()
	s.asked = append(s.asked, n)
	s.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.leases++
		var out []protocol.Delivery
		now, next := time.Now(), deadline
		ids := slices.SortedFunc(maps.Keys(s.pending), func(a, b protocol.ObjectID) int {
			if c := cmp.Or(cmp.Compare(s.pending[a].Class, s.pending[b].Class), s.pending[a].due.Compare(s.pending[b].due)); c != 0 {
				return c
			}
			if a.Key < b.Key {
				return -1
			}
			return 1
		})
		for _, id := range ids {
			w := s.pending[id]
			switch {
			case w.leased:
			case w.due.After(now):
				if w.due.Before(next) {
					next = w.due
				}
			case len(out) < n:
				s.token++
				w.leased, w.Token, w.Queue = true, s.token, testQueue
				w.First = cmp.Or(w.First, w.Token)
				w.Known = s.ledger[id]
				out = append(out, w.Delivery)
			}
		}
		wake := s.wake
		s.mu.Unlock()
		if len(out) > 0 || !now.Before(deadline) {
			return out, nil
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-time.After(next.Sub(now)):
		}
	}
}

func (s *memorySource) Settle(ctx context.Context, results []protocol.Result) ([]protocol.Outcome, error) {
	if s.settleGap > 0 {
		if err := sleep(ctx, s.settleGap); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settleErr != nil {
		if err := s.settleErr(); err != nil {
			return nil, err
		}
	}
	out := make([]protocol.Outcome, len(results))
	for i, r := range results {
		id := r.Delivery.ID()
		w := s.pending[id]
		if w == nil || !w.leased || w.Token != r.Delivery.Token {
			out[i] = protocol.LeaseLost
			continue
		}
		s.history[id] = append(s.history[id], r)
		switch {
		case r.Err == nil:
			out[i] = protocol.Done
			delete(s.pending, id)
			if r.Entry != nil {
				s.ledger[r.Entry.ID()] = r.Entry
			} else if !r.Keep {
				delete(s.ledger, id)
			}
		case r.Passed:
			out[i] = protocol.Done
			delete(s.pending, id)
		case r.Dead:
			out[i] = protocol.Buried
			delete(s.pending, id)
			s.dead[id] = r.Err
		default:
			out[i] = protocol.Requeued
			w.leased, w.due, w.Again = false, time.Now().Add(r.Delay), w.Again || r.Unsure
			if !r.Uncounted {
				w.Attempt++
			}
		}
	}
	s.signal()
	return out, nil
}

func (s *memorySource) LoadUpload(_ context.Context, id protocol.ObjectID) (*protocol.Upload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.uploads[id]
	if !ok {
		return nil, nil
	}
	c := *u
	c.Parts = slices.Clone(u.Parts)
	return &c, nil
}

func (s *memorySource) SaveUpload(_ context.Context, u *protocol.Upload) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := *u
	c.Parts = slices.Clone(u.Parts)
	s.uploads[protocol.ObjectID{Bucket: u.Bucket, Key: u.Key}] = &c
	s.saves++
	return nil
}

func (s *memorySource) DropUpload(_ context.Context, id protocol.ObjectID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.uploads, id)
	return nil
}

func (s *memorySource) Leftovers(context.Context) ([]*protocol.Upload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*protocol.Upload
	for id, u := range s.uploads {
		if s.pending[id] == nil {
			out = append(out, u)
		}
	}
	return out, nil
}

func (s *memorySource) Opening() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opening
}

// crash makes everything leased ready again, as a new process finds it, or a queue that was opened again.
func (s *memorySource) crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening++
	for _, w := range s.pending {
		if w.leased {
			w.leased, w.Again, w.due = false, true, time.Now()
		}
	}
}

func (s *memorySource) left() (pending, leased int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.pending {
		if w.leased {
			leased++
		}
	}
	return len(s.pending), leased
}

func (s *memorySource) results(key protocol.Key) []protocol.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.history[protocol.ObjectID{Bucket: testBucket, Key: key}])
}

func (s *memorySource) row(key protocol.Key) *protocol.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger[protocol.ObjectID{Bucket: testBucket, Key: key}]
}

func (s *memorySource) deadReason(key protocol.Key) *protocol.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead[protocol.ObjectID{Bucket: testBucket, Key: key}]
}

// counts returns how many keys have a row, and how many are buried.
func (s *memorySource) counts() (done, dead int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ledger), len(s.dead)
}

func (s *memorySource) done() int   { n, _ := s.counts(); return n }
func (s *memorySource) buried() int { _, n := s.counts(); return n }

// each calls f for every result so far.
func (s *memorySource) each(f func(id protocol.ObjectID, r protocol.Result)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, rs := range s.history {
		for _, r := range rs {
			f(id, r)
		}
	}
}

func (s *memorySource) progress() (saves, uploads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saves, len(s.uploads)
}

func (s *memorySource) uploadRows() int { _, n := s.progress(); return n }

// drain waits until nothing is pending, at most for so long, and fails the test otherwise.
func (s *memorySource) drain(t *testing.T, atMost time.Duration) {
	t.Helper()
	waitFor(t, atMost, func() bool { n, _ := s.left(); return n == 0 })
}

// waitFor polls for a condition; in a synctest bubble the time is the bubble's.
func waitFor(t *testing.T, atMost time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(atMost); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("the condition did not come true within %v", atMost)
		}
		<-time.After(max(5*time.Millisecond, atMost/2000))
	}
}
