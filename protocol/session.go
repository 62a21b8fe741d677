package protocol

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"
)

const (
	// maxBatch is how many requests are carried out together: the size of a group commit (design of the queue).
	maxBatch = 1000

	// writeBuffer holds the answers to a burst of instructions. A guess.
	writeBuffer = 4 << 10
)

var (
	errLong   = fmt.Errorf("the line is longer than %d bytes", MaxLine)
	errBase64 = errors.New("the line is not base64")
	errHTTP   = errors.New("the client speaks HTTP; the connection was cut")
	errToken  = errors.New("the token is missing or wrong")
)

// session is one connection. It lives in one goroutine and as long as the connection, so it may hold contexts.
type session struct {
	srv    *Server
	stop   context.Context // ends when the server stops: no new request, no waiting
	work   context.Context // of what must not be cut in the middle
	conn   net.Conn
	peer   string
	ours   bool  // root's or our own user's
	guest  Guest // empty: not one
	turn   turn
	glance glance // at the sources of this turn
	presence
	lines lineReader
	out   *bufio.Writer
	text  []byte // the decoded request; kept only while small
	batch batch
	fit   int // how many items fitted into an answer when one was full, or 0
	limit limiter
}

// newSession makes the session of a connection; serve is its life.
func (s *Server) newSession(ctx, work context.Context, c net.Conn, v visitor) *session {
	se := &session{srv: s, stop: ctx, work: work, conn: c, peer: v.name, ours: v.ours, guest: v.guest}
	se.heard.Store(ticks())
	se.lines = lineReader{conn: c, stopped: func() bool { return ctx.Err() != nil }, heard: &se.heard}
	se.out = bufio.NewWriterSize(&deadlineWriter{c, ctx, orDefault(s.WriteTimeout, writeTimeout), se.rest}, writeBuffer)
	return se
}

// serve answers the client until it goes or the server stops, and closes the connection.
func (se *session) serve(admission admission) {
	s, c, ctx := se.srv, se.conn, se.stop
	defer c.Close()
	defer se.rest()
	join := afterDone(ctx, func() {
		c.SetReadDeadline(longAgo)                        //nolint:errcheck // fails only on a closed connection
		c.SetWriteDeadline(time.Now().Add(stopGrace / 2)) //nolint:errcheck // as above
	})
	defer join()
	s.log().Debug("client came", "peer", se.peer)
	if admission == needsToken && !se.login() {
		return
	}
	err := se.run()
	if err == nil && ctx.Err() == nil {
		linger(c)
	}
	s.log().Debug("client went", "peer", se.peer, "reason", err)
}

// deadlineWriter gives every write its own deadline, a short one once the server stops.
type deadlineWriter struct {
	conn    net.Conn
	stop    context.Context
	timeout time.Duration
	before  func() // called before each write
}

func (w *deadlineWriter) Write(p []byte) (int, error) {
	w.before() // a reader that takes nothing must not keep a turn from others
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return 0, err
	}
	if w.stop.Err() != nil {
		if err := w.conn.SetWriteDeadline(time.Now().Add(min(w.timeout, stopGrace/2))); err != nil {
			return 0, err
		}
	}
	return w.conn.Write(p)
}

// login waits for the token. Nothing of what such a client sends is logged: it may be a token with a slip in it.
func (se *session) login() bool {
	deadline := time.Now().Add(tokenTimeout)
	for {
		line, tooLong, ok := se.lines.next()
		if !ok {
			if err := se.lines.fill(deadline); err != nil {
				return false
			}
			continue
		}
		text, err := se.decode(line)
		if given, isTok := strings.CutPrefix(text, "tok|"); isTok && !tooLong && err == nil {
			if given, err = unescape(given); err == nil && se.srv.Peers.tokenOK(given) {
				se.answer(answerOK)
				return true
			}
		}
		se.srv.log().Warn("a client was refused", "err", errToken, "peer", se.peer)
		farewell(se.conn, answerInvalid)
		return false
	}
}

// run answers requests until the client ends the connection, which gives nil, or something else does.
func (se *session) run() error {
	idle := orDefault(se.srv.IdleTimeout, idleTimeout)
	var deadline time.Time
	for {
		if se.stop.Err() != nil {
			se.commit()
			return errors.Join(errStopped, se.out.Flush())
		}
		if se.srv.turns.enter(&se.turn) {
			se.glance.end() // others had their turns meanwhile, and may have moved folders
		}
		if line, tooLong, ok := se.lines.next(); ok {
			deadline = time.Time{}
			if !se.request(line, tooLong) {
				se.commit()
				return se.out.Flush()
			}
			continue
		}
		se.rest()
		se.commit()
		if err := se.out.Flush(); err != nil {
			return err
		}
		if deadline.IsZero() { // of the whole line: bytes that trickle in do not move it
			deadline = time.Now().Add(idle)
		}
		if err := se.listen(deadline); err != nil && !errors.Is(err, errStopped) {
			return err
		}
	}
}

// listen waits for more of what the client says. While it does, the client may be asked to make room.
func (se *session) listen(deadline time.Time) error {
	n := se.lines.junk
	if se.lines.junk = 0; n > 0 {
		se.pace(n)
	}
	se.quiet.Store(true)
	err := se.lines.fill(deadline)
	se.quiet.Store(false)
	switch {
	case errors.Is(err, io.EOF) && se.lines.partial():
		return io.ErrUnexpectedEOF // half a line is not carried out
	case errors.Is(err, errEndless):
		se.invalid(string(se.lines.head), err)
		se.commit()
		return errors.Join(err, se.out.Flush())
	}
	return err
}

// pace lets the client wait for n bytes that could never be carried out.
func (se *session) pace(n int) {
	if d := se.srv.junk.take(n, time.Now()); d > 0 {
		se.rest()
		sleep(se.stop, d)
	}
}

// rest ends the session's turn, before anything that may take long. Folders may be moved meanwhile, so the glance ends, too.
func (se *session) rest() {
	se.glance.end()
	se.srv.turns.leave(&se.turn)
}

// request takes one line. It returns false if the connection is to end.
func (se *session) request(line []byte, tooLong bool) bool {
	if len(line) == 0 {
		return false
	}
	text, err := se.decode(line)
	if tooLong {
		err = errLong
	}
	if err != nil {
		if speaksHTTP(line) {
			// A web page can make a browser send lines of its choice to this machine, inside of a request.
			err = errHTTP
		}
		se.invalid(string(line), err)
		return !errors.Is(err, errHTTP)
	}
	verb, args, more := strings.Cut(text, string(fieldSep))
	if se.guest != "" && !se.srv.mayAsk(verb) {
		se.invalid(text, errNotGuests)
		return true
	}
	switch verb {
	case "mkd", "upl", "cpo", "del":
		se.put(text)
		return true
	case "ack", "nak":
		se.settle(text, verb == "ack", args)
		return true
	}
	se.commit()
	var fields []string
	if more {
		fields = strings.Split(args, string(fieldSep))
	}
	return se.ask(text, verb, fields)
}

// decode takes the base64 off a line.
func (se *session) decode(line []byte) (string, error) {
	if bytes.IndexByte(line, '\r') >= 0 { // which the decoder would pass over
		return "", errBase64
	}
	var err error
	se.text, err = base64.StdEncoding.Strict().AppendDecode(se.text[:0], line)
	text := string(se.text)
	if cap(se.text) > startBuffer {
		se.text = nil
	}
	if err != nil {
		return "", errBase64
	}
	return text, nil
}

// speaksHTTP recognises the lines with which every HTTP/1 request begins (RFC 9112, 3 and 3.2). No base64 looks so.
func speaksHTTP(line []byte) bool {
	if bytes.Contains(line, []byte(" HTTP/")) || len(line) >= 5 && bytes.EqualFold(line[:5], []byte("host:")) {
		return true
	}
	method, target, ok := bytes.Cut(line, []byte{' '})
	return ok && len(method) >= 3 && bytes.Equal(method, bytes.ToUpper(method)) && bytes.HasPrefix(target, []byte{'/'})
}

// appendLine appends text as a line of the wire.
func appendLine(dst, text []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(dst, text), '\n')
}

// answer writes one line. An error of the connection comes up again at Flush.
func (se *session) answer(text string) {
	switch text {
	case answerOK:
		se.out.WriteString("b2s=\n") //nolint:errcheck // kept by the writer
	default:
		se.out.Write(appendLine(se.out.AvailableBuffer(), []byte(text))) //nolint:errcheck // kept by the writer
	}
}

// invalid answers a request that can never be carried out.
func (se *session) invalid(text string, err error) {
	se.record(slog.LevelWarn, err, text)
	se.take(slot{answer: answerInvalid})
	se.pace(len(text))
}

// failed is the answer to a request that was not carried out, or may not have been.
func (se *session) failed(text string, err error) string {
	se.record(slog.LevelError, err, text)
	return answerFail
}

// record writes one record of the error log: a Warn about the client, or an Error of ours.
func (se *session) record(level slog.Level, err error, text string, more ...any) {
	now := time.Now()
	ok, dropped := se.limit.allow(now)
	if ok && level == slog.LevelWarn {
		var others int
		ok, others = se.srv.logged.allow(now) // a thousand clients must not fill the disk either
		dropped += others
	}
	if !ok {
		return
	}
	if lower := strings.ToLower(text); strings.HasPrefix(lower, "tok") || strings.HasPrefix(lower, "dg9r") {
		text = "tok" // never the token, also not as base64 with a slip in it
	}
	args := append([]any{"err", err, "peer", se.peer, "request", printable(text)}, more...)
	if dropped > 0 {
		args = append(args, "not_logged", dropped)
	}
	if level == slog.LevelWarn {
		se.srv.log().WarnContext(se.work, "invalid request", args...)
	} else {
		se.srv.log().ErrorContext(se.work, "a request failed", args...)
	}
}
