package protocol

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Defaults of [Server].
const (
	defaultClients = 1024             // a guess: ten times S3 APU's
	leastClients   = 100              // S3 APU's limit
	getWait        = 10 * time.Second // as in S3 APU
	idleTimeout    = time.Hour        // a guess: a worker is silent while it carries out what it took; the kernel's keepalive finds dead machines sooner
	writeTimeout   = 30 * time.Second // a guess: a reader that takes nothing for so long is gone or stuck
	tokenTimeout   = 10 * time.Second // a guess
	stopGrace      = 5 * time.Second  // a guess: what was begun when the server stops may take so long
	lingerTime     = time.Second      // a guess: for the last answer to arrive before the connection is cut
	acceptPause    = time.Second      // the longest pause after a failed accept; a guess
	maxRefusals    = 64               // refused connections that get a last answer at the same time; a guess
)

// The answers of one word.
const (
	answerOK      = "ok"
	answerFail    = "fail"
	answerInvalid = "invalid"
	answerGone    = "gone" // to ack and nak: the lease has ended
)

// Server answers the socket. Each request is a line base64(text) + LF, and gets one line back, in order:
//
//	mkd|KEY  upl|SOURCE|KEY  cpo|/BUCKET/KEY|KEY  del|KEY    ok: it is durable. fail: it may not be. invalid
//	get|N               up to 30 instructions joined by ';', or nothing after 10 s
//	lse|N|SECONDS       the same under a lease: ID~instruction;ID~instruction
//	ack|ID              ok: it is done. gone: the lease had ended
//	nak|ID|REASON       ok: it will be handed out again. gone
//	inf                 qsize:0|th_count:1|…
//	fld|N|AFTER         failures behind the object AFTER: STATE|ATTEMPTS|SINCE|NEXT|VERB|BUCKET|KEY|SOURCE|REASON;…
//	rty|KEY  rty|*      makes failed instructions due now: ok|NUMBER
//	hld|N|AFTER         deletes that wait for a person, in the form of fld
//	rel|KEY  rel|*      lets them go: ok|NUMBER
//	drp|KEY  drp|*      forgets them, so that the objects stay: ok|NUMBER
//	tok|TOKEN           must come first where a token is needed: ok, or invalid and the end
//
// A [Guest] may make the first four, inf and tok, and ask for work if GuestsWork is set; all else is invalid.
//
// An empty line ends the connection. Base64 is the standard alphabet with padding; CR before LF is taken off, and
// nothing else is forgiven. A last line without LF is not carried out, since it may be half of one.
//
// Requests that have arrived together are answered together: instructions that follow each other reach [Handler.Put]
// as one slice, acks and naks [Handler.Settle].
//
// get is lease, write, settle: what could not be written to the client, or did not fit into the answer, goes back to
// where it came from, and a crash in between hands it out again. Nothing is handed to a client that is seen to have
// closed its sending side, so a client that wants work keeps it open.
//
// Clients cannot starve each other or the agent: their requests take turns on half of the processors, what can never be
// carried out is read at 128 MiB/s from all of them together, and a line that does not end within 1 MiB or 60 s ends
// its connection. The last 128 places (an eighth of fewer than 1,024) are for root and the agent's own user. When there
// is no place left, the client that has been silent longest, and for 30 s at least, makes room.
//
// The zero values of the fields but Handler are usable. The fields are not changed while Serve runs.
type Server struct {
	Handler Handler
	Log     *slog.Logger // invalid requests as Warn, failures as Error, keys err, peer, request. Nil: nothing is logged

	// CheckSource says why a client may not name this local path, or nil. If CheckSource is nil Sources is asked, which is
	// cheaper for many paths that come together. Without either every upl is refused.
	CheckSource func(path string) error
	Sources     *Sources

	// CheckGuest says why a guest may not wish for this, or nil; it is asked before CheckSource. A nil CheckGuest refuses
	// every instruction of guests.
	CheckGuest func(g Guest, in Instruction) error
	GuestsWork bool // guests may ask for work, too: get, lse, ack, nak

	Peers        Peers
	MaxClients   int           // more are answered fail; 0 means 1,024, and less than 100 means 100
	GetWait      time.Duration // how long get and lse wait for their first item; 0 means 10 s
	IdleTimeout  time.Duration // how long a client may take for its next line; 0 means one hour
	WriteTimeout time.Duration // how long a client may take to accept an answer; 0 means 30 s

	door     door
	turns    turns
	junk     pacer
	asked    atomic.Int64 // items of work asked for
	sentAway limiter      // of the log
	logged   limiter      // of the log, what clients did wrong
}

// Clients returns how many clients are being served now.
func (s *Server) Clients() int { return s.door.count() }

// Serve answers clients that come to ln until ctx ends, closes ln, and returns when every connection has ended; then
// it returns nil. Requests that are being carried out when ctx ends have 5 s to finish and are answered; clients that
// wait for work get an empty answer. Serve may run for several listeners at the same time, which share MaxClients and
// the counters.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	work, stopWork := workContext(ctx)
	var all sync.WaitGroup
	defer func() {
		cancel()
		all.Wait()
		stopWork()
	}()
	all.Go(func() {
		<-ctx.Done()
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log().Warn("the socket was not closed cleanly", "err", err)
		}
	})
	judged, refusals := make(chan struct{}, maxJudged), make(chan struct{}, maxRefusals)
	var pause time.Duration
	for {
		c, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return nil
		}
		if err != nil {
			if !passes(err) {
				return &Error{Op: "accept clients on", Object: ln.Addr().String(), Kind: KindLocal, Err: err}
			}
			if pause == 0 {
				s.log().Error("no new client can be accepted for the moment", "err", err)
			}
			s.door.relieve()
			pause = min(max(2*pause, acceptPause/64), acceptPause)
			if !sleep(ctx, pause) {
				return nil
			}
			continue
		}
		pause = 0
		judged <- struct{}{}
		all.Go(func() {
			v := s.Peers.judge(c)
			<-judged
			s.receive(ctx, work, c, v, refusals)
		})
	}
}

// workContext returns the context of requests that change something: it outlives ctx by stopGrace.
func workContext(ctx context.Context) (work context.Context, stop func()) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var late *time.Timer
	join := afterDone(ctx, func() { late = time.AfterFunc(stopGrace, cancel) })
	return work, func() {
		join()
		if late != nil {
			late.Stop()
		}
		cancel()
	}
}

// afterDone calls f in its own goroutine when ctx ends. join prevents that, or waits until f has returned.
func afterDone(ctx context.Context, f func()) (join func()) {
	over := make(chan struct{})
	undo := context.AfterFunc(ctx, func() {
		defer close(over)
		f()
	})
	return func() {
		if !undo() {
			<-over
		}
	}
}

// receive serves a client that has been looked up, or sends it away.
func (s *Server) receive(ctx, work context.Context, c net.Conn, v visitor, refusals chan struct{}) {
	if v.admission == refused {
		if ok, _ := s.sentAway.allow(time.Now()); ok {
			s.log().Warn("a client was refused", "err", v.why, "peer", v.name)
		}
		sendAway(c, answerInvalid, refusals)
		return
	}
	tune(c)
	se := s.newSession(ctx, work, c, v)
	if !s.door.enter(se, s.maxClients()) {
		if ok, _ := s.sentAway.allow(time.Now()); ok {
			s.log().Error("a client was sent away", "err", "there are too many clients", "peer", v.name, "clients", s.maxClients())
		}
		sendAway(c, answerFail, refusals)
		return
	}
	defer s.door.leave(se)
	se.serve(v.admission) //nolint:contextcheck // a session's requests end with its own context, made of work
}

// sendAway answers a client that is not served. It waits for nobody: with too many at once they are just cut.
func sendAway(c net.Conn, answer string, refusals chan struct{}) {
	select {
	case refusals <- struct{}{}:
		farewell(c, answer)
		<-refusals
	default:
		c.Close()
	}
}

// farewell sends one last answer, lets it arrive, and closes.
func farewell(c net.Conn, answer string) {
	c.SetWriteDeadline(time.Now().Add(lingerTime)) //nolint:errcheck // fails only on a closed connection, and then Write does
	if _, err := c.Write(appendLine(nil, []byte(answer))); err == nil {
		linger(c)
	}
	c.Close()
}

// linger ends the sending side and reads what the client still sends, for a moment: closing a TCP connection with
// unread bytes would take back answers that are under way (RFC 1122, 4.2.2.13).
func linger(c net.Conn) {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.SetReadDeadline(time.Now().Add(lingerTime)) //nolint:errcheck // fails only on a closed connection, and then reading does
	io.Copy(io.Discard, c)                        //nolint:errcheck // whatever ends it, we are done
}

// passes reports whether accepting may work again later.
func passes(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
		syscall.ECONNRESET, syscall.EINTR, syscall.EAGAIN, syscall.EPERM, syscall.EPROTO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return isTimeout(err)
}

// sleep waits for d and reports whether ctx still goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

func (s *Server) maxClients() int {
	if s.MaxClients == 0 {
		return defaultClients
	}
	return max(s.MaxClients, leastClients)
}

// logsPerSecond is how many records one client can cause in a second. A guess: all that a person would read.
const logsPerSecond = 100

// limiter keeps one source of log records from filling the disk. It may be used by many goroutines.
type limiter struct {
	mu      sync.Mutex
	second  time.Time
	n       int
	dropped int
}

// allow reports whether one more record may be written now, and how many were not since the last one that was.
func (l *limiter) allow(now time.Time) (ok bool, dropped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.second) >= time.Second {
		l.second, l.n = now, 0
	}
	if l.n >= logsPerSecond {
		l.dropped++
		return false, 0
	}
	l.n++
	dropped, l.dropped = l.dropped, 0
	return true, dropped
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// checkSource applies CheckSource or Sources to the instructions that name a local file.
func (se *session) checkSource(in *Instruction) error {
	switch s := se.srv; {
	case in.Verb != Upl:
		return nil
	case s.CheckSource != nil:
		return s.CheckSource(in.Source)
	case s.Sources != nil:
		return s.Sources.check(in.Source, &se.glance)
	}
	return errors.New("no folder is open to clients")
}

// info is the handler's, with the server's own numbers.
func (s *Server) info() Info {
	i := s.Handler.Info()
	asked := s.asked.Load()
	i.ThCount += int64(s.Clients())
	i.GetCmd += asked
	i.TotalCmd += asked
	return i
}
