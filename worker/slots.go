package worker

import (
	"context"
	"sync"
)

// slots is a semaphore whose size may change while it is in use. Who waits longest is served first.
type slots struct {
	mu    sync.Mutex
	size  int
	used  int
	queue []chan struct{} // closed when the slot is the waiter's
}

// acquire waits for a slot or for the end of ctx. A slot that was got is given back by release.
func (s *slots) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.used < s.size && len(s.queue) == 0 {
		s.used++
		s.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	s.queue = append(s.queue, turn)
	s.mu.Unlock()

	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range s.queue {
		if c == turn {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			return ctx.Err()
		}
	}
	s.used-- // the turn came at the same moment: pass it on
	s.serve()
	return ctx.Err()
}

// release gives a slot back and returns how many were taken until then.
func (s *slots) release() (used int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	used = s.used
	s.used--
	s.serve()
	return used
}

// resize changes the number of slots and reports whether it was another. Those in use above it are not taken away; they are
// not given out again.
func (s *slots) resize(size int) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = size != s.size
	s.size = size
	s.serve()
	return changed
}

// inUse tells how many slots are taken.
func (s *slots) inUse() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

func (s *slots) serve() {
	for s.used < s.size && len(s.queue) > 0 {
		s.used++
		close(s.queue[0])
		s.queue = s.queue[1:]
	}
}
