package protocol

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

const (
	// MaxLine is the longest line that the server reads, in bytes of base64 without the line's end. S3 APU's limit
	// was 1,024; the longest instruction, percent-encoded, needs about 21,000.
	MaxLine = 64 << 10

	// startBuffer holds the longest request of a client of S3 APU (1,024 bytes, 1,368 in base64) with room to spare.
	startBuffer = 2 << 10

	// maxBuffer holds the longest line and its end, CR and LF.
	maxBuffer = MaxLine + 2

	// endless is how many bytes of one line are read and thrown away before the connection ends: room for every mistake,
	// none for a flood. A guess.
	endless = 1 << 20

	// lineTime is how long a line may take from its first byte to its end. A guess: the longest, at 1 KiB/s.
	lineTime = time.Minute

	// restAfter is how long a connection is silent before its buffer shrinks to startBuffer. A guess.
	restAfter = 2 * time.Second
)

// errStopped is what fill returns when the reader was told to stop.
var errStopped = errors.New("the server stops")

// errEndless is what fill returns for a line that does not end.
var errEndless = errors.New("the line does not end within 1 MiB or 60 s; the connection was cut")

// lineReader cuts a connection into lines. It holds startBuffer bytes for a quiet client and at most maxBuffer. A
// longer line is read and thrown away up to its end. It belongs to one goroutine.
type lineReader struct {
	conn    net.Conn
	stopped func() bool // reports that no read may begin any more
	unwatch atomic.Bool // the same, for the reads of watch

	buf     []byte
	r, w    int    // buf[r:w] is unread
	scanned int    // bytes of buf[r:w] known to hold no line end
	full    bool   // the last read filled the buffer: a larger one would take more at once
	skip    bool   // in the middle of a line that is too long
	head    []byte // the beginning of that line, for the log
	long    int    // bytes of that line thrown away so far
	junk    int    // bytes thrown away since the session last asked

	began time.Time     // when the unfinished line was first waited for; zero: there is none
	heard *atomic.Int64 // when the last bytes came, by [ticks]; nil: nobody wants to know
}

// partial reports whether a line has begun and not ended.
func (l *lineReader) partial() bool { return l.skip || l.w > l.r }

// throwAway forgets what is in the buffer, the middle of a line that is too long.
func (l *lineReader) throwAway() {
	l.long += l.w - l.r
	l.junk += l.w - l.r
	l.r, l.w, l.scanned = 0, 0, 0
}

// next returns the next line that has been read, without LF or CR LF; it is valid until fill. A line that is too long
// is reported once its end has come, and then line is its beginning only. ok is false if there is no whole line.
func (l *lineReader) next() (line []byte, tooLong, ok bool) {
	i := bytes.IndexByte(l.buf[l.r+l.scanned:l.w], '\n')
	if i < 0 {
		l.scanned = l.w - l.r
		switch {
		case l.skip:
			l.throwAway()
		case l.w-l.r >= maxBuffer:
			l.skip, l.head = true, append([]byte(nil), l.buf[l.r:l.r+maxPrinted+1]...)
			l.throwAway()
		}
		return nil, false, false
	}
	line = l.buf[l.r : l.r+l.scanned+i]
	l.r += l.scanned + i + 1
	l.scanned, l.began = 0, time.Time{}
	if l.skip {
		line, l.skip, l.head, l.long = l.head, false, nil, 0
		return line, true, true
	}
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if len(line) > MaxLine {
		return line[:maxPrinted+1], true, true
	}
	return line, false, true
}

// fill waits until more has been read, or until the deadline. The caller must have taken all lines with next.
// It returns errStopped, errEndless, or the error of the connection: io.EOF, one whose Timeout is true, or another.
func (l *lineReader) fill(deadline time.Time) error {
	now := time.Now()
	late := deadline
	if l.partial() {
		if l.began.IsZero() {
			l.began = now
		}
		if end := l.began.Add(lineTime); end.Before(late) {
			late = end
		}
		if l.long > endless || late.Before(deadline) && !now.Before(late) {
			return errEndless
		}
	}
	err := l.fillUntil(late)
	if err != nil && isTimeout(err) && late.Before(deadline) && !l.stopped() {
		return errEndless
	}
	return err
}

// fillUntil waits until more has been read, with a small buffer if that takes long.
func (l *lineReader) fillUntil(deadline time.Time) error {
	l.room()
	rest := time.Now().Add(restAfter)
	for {
		until := deadline
		if len(l.buf) > startBuffer && l.r == l.w && rest.Before(deadline) {
			until = rest
		}
		err := l.read(until)
		if err != nil && isTimeout(err) && until.Before(deadline) && !l.stopped() {
			l.buf, l.r, l.w, l.full = make([]byte, startBuffer), 0, 0, false
			continue
		}
		return err
	}
}

// read reads once. Bytes that came together with an error count; the error will come again.
func (l *lineReader) read(deadline time.Time) error {
	if err := l.conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	if l.stopped() || l.unwatch.Load() { // asked after the deadline is set: whoever stops sets another one after saying so
		return errStopped
	}
	n, err := l.conn.Read(l.buf[l.w:])
	l.w += n
	l.full = l.w == len(l.buf)
	switch {
	case n > 0:
		if l.heard != nil {
			l.heard.Store(ticks())
		}
		return nil
	case err == nil:
		return io.ErrNoProgress
	case l.stopped():
		return errStopped
	}
	return err
}

// room makes space behind buf[:w].
func (l *lineReader) room() {
	if l.buf == nil {
		l.buf = make([]byte, startBuffer)
	}
	if l.r == l.w {
		l.r, l.w = 0, 0
	}
	to := l.buf
	if l.full && len(l.buf) < maxBuffer {
		to = make([]byte, min(2*len(l.buf), maxBuffer))
	}
	l.full = false
	if l.r > 0 || len(to) > len(l.buf) {
		l.w = copy(to, l.buf[l.r:l.w])
		l.r, l.buf = 0, to
	}
}

// watch reads on in the background, while the session waits for something else, to learn whether the client has gone:
// then it calls gone. What it reads stays for next. The returned function ends it and reports whether the client has
// gone; nothing else of l may be used before. A client that fills the buffer meanwhile is watched no further.
func (l *lineReader) watch(gone func()) (stop func() bool) {
	over := make(chan bool, 1)
	l.room()
	go func() {
		for {
			if l.w == len(l.buf) {
				if l.room(); l.w == len(l.buf) {
					over <- false
					return
				}
			}
			if err := l.read(time.Time{}); err != nil {
				lost := !isTimeout(err) && !errors.Is(err, errStopped)
				if lost {
					gone()
				}
				over <- lost
				return
			}
		}
	}()
	return func() bool {
		l.unwatch.Store(true)
		l.conn.SetReadDeadline(longAgo) //nolint:errcheck // fails only on a closed connection, whose reads end too
		lost := <-over
		l.unwatch.Store(false)
		return lost
	}
}

// gone reports whether the client is known to have closed its sending side, without waiting. It reads what has arrived
// before that, as far as there is room.
func (l *lineReader) gone() bool {
	for {
		switch peek(l.conn) {
		case peekEnd:
			return true
		case peekData:
			if l.room(); l.w == len(l.buf) || l.read(time.Time{}) != nil {
				return false
			}
		default:
			return false
		}
	}
}

// What peek found.
type peeked uint8

const (
	peekNothing peeked = iota // or it cannot be told
	peekData
	peekEnd
)

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
