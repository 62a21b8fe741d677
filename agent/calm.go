package agent

import (
	"context"
	"log/slog"
	"regexp"
	"sync"
	"time"
)

const (
	calmEvery = 10 * time.Second // between two records of one peer in the main log; a guess: a person follows that
	calmPeers = 256              // peers that are told apart; a guess: all others count as one
)

// calm keeps what a socket's client does wrong from flooding the main log: the first record of a peer goes through at once,
// and of the others one each calmEvery, which says in "not_logged" how many it stands for. Records without a peer and errors
// pass. s3_queue_error.log is beside it and has them all. For concurrent use.
type calm struct {
	slog.Handler
	peers *calmState
}

// calmState is shared by all handlers that WithAttrs made.
type calmState struct {
	mu  sync.Mutex
	all map[string]*calmPeer
}

// calmPeer is one peer with one kind of record.
type calmPeer struct {
	passed time.Time   // when the last record went through
	waits  int64       // records since
	last   slog.Record // the last of them
	to     slog.Handler
	ctx    context.Context // of the last of them, for to; it does not end
}

func newCalm(to slog.Handler) *calm {
	return &calm{Handler: to, peers: &calmState{all: map[string]*calmPeer{}}}
}

func (c *calm) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &calm{Handler: c.Handler.WithAttrs(attrs), peers: c.peers}
}

func (c *calm) WithGroup(name string) slog.Handler {
	return &calm{Handler: c.Handler.WithGroup(name), peers: c.peers}
}

func (c *calm) Handle(ctx context.Context, r slog.Record) error {
	peer := ""
	if r.Level == slog.LevelWarn {
		peer = peerOf(r)
	}
	if peer == "" {
		return c.Handler.Handle(ctx, r)
	}
	c.peers.mu.Lock()
	defer c.peers.mu.Unlock()
	key := r.Message + " " + peer
	p := c.peers.all[key]
	if p == nil && len(c.peers.all) >= calmPeers {
		key = r.Message
		p = c.peers.all[key]
	}
	switch {
	case p == nil:
		c.peers.all[key] = &calmPeer{passed: r.Time, to: c.Handler}
		return c.Handler.Handle(ctx, r)
	case r.Time.Sub(p.passed) >= calmEvery && p.waits == 0:
		p.passed = r.Time
		return c.Handler.Handle(ctx, r)
	}
	p.waits += 1 + notLogged(r)
	p.last, p.to, p.ctx = r.Clone(), c.Handler, context.WithoutCancel(ctx)
	return nil
}

// settle passes on what has waited for calmEvery, or all of it, and forgets peers that were silent for as long.
func (s *calmState) settle(now time.Time, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, p := range s.all {
		switch {
		case !all && now.Sub(p.passed) < calmEvery:
		case p.waits == 0:
			delete(s.all, key)
		default:
			r := slog.NewRecord(p.last.Time, p.last.Level, p.last.Message, p.last.PC)
			p.last.Attrs(func(a slog.Attr) bool {
				if a.Key != notLoggedKey {
					r.AddAttrs(a)
				}
				return true
			})
			if p.waits > 1 {
				r.AddAttrs(slog.Int64(notLoggedKey, p.waits-1))
			}
			_ = p.to.Handle(p.ctx, r) // as slog itself does
			p.passed, p.waits, p.last = now, 0, slog.Record{}
		}
	}
}

// notLoggedKey names the count of records that were left out, as the socket's server does.
const notLoggedKey = "not_logged"

func notLogged(r slog.Record) (n int64) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == notLoggedKey && a.Value.Kind() == slog.KindInt64 {
			n = a.Value.Int64()
		}
		return true
	})
	return n
}

// passing is what differs between two connections of the same peer: the port, and the process.
var passing = regexp.MustCompile(`:\d+\b| pid=\d+`)

// peerOf names the peer of a record without what differs from one connection to the next, or "".
func peerOf(r slog.Record) (peer string) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "peer" {
			peer = passing.ReplaceAllString(a.Value.String(), "")
		}
		return peer == ""
	})
	return peer
}
