package agent

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"s3apu/protocol"
)

// Limits of S3 APU's log files.
const (
	logFileBytes = 10 << 20        // bytes before a file is rotated (a guess: a day of a busy agent, and quick to open)
	logFilesKept = 5               // older files kept as NAME.1 … NAME.5 (a guess)
	logRetry     = 2 * time.Second // between two attempts at a file that refused (a guess)
)

// rotatingFile is a log file that is renamed to NAME.1 when it has grown to its limit. It is opened by the first line. It
// needs no goroutine. Safe for concurrent use.
//
// A disk that refuses ends nothing: lines are counted and dropped until an attempt, some seconds later, finds the disk
// writable again; then the file says how many are missing.
type rotatingFile struct {
	path   string
	max    int64
	folder *logFolder // hears of refusals; may be nil

	mu     sync.Mutex
	closed bool
	file   *os.File
	size   int64
	next   time.Time // not to be tried before; zero: nothing was refused
	lost   int       // lines dropped since the disk refused
	torn   bool      // the last line may be there in part
}

// logFolder says once that [log] folder refuses lines, and once that all is well again.
type logFolder struct {
	path string
	log  *slog.Logger // the stream

	mu      sync.Mutex
	refused map[*rotatingFile]error
	lost    int
}

func logError(path string, err error) error {
	return &protocol.Error{Op: "write log files to", Object: path, Kind: protocol.KindLocal, Err: err, Hint: "make [log] folder writable, or empty"}
}

// state takes the news of one file: why it refuses, or nil, and how many lines it lost.
func (l *logFolder) state(r *rotatingFile, err error, lost int) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, was := l.refused[r]
	switch {
	case err != nil:
		if len(l.refused) == 0 {
			l.log.Warn("the log files cannot be written; the agent goes on without them", "err", logError(l.path, err))
		}
		l.refused[r] = err
	case was:
		delete(l.refused, r)
		if l.lost += lost; len(l.refused) == 0 {
			l.log.Info("the log files can be written again", "folder", l.path, "lost", l.lost)
			l.lost = 0
		}
	}
}

// fault is why lines cannot be written now, or nil.
func (l *logFolder) fault() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, err := range l.refused {
		return logError(l.path, err)
	}
	return nil
}

// Write appends one line. A failed rotation goes on in the old file: a log line is worth more than its place.
func (r *rotatingFile) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, os.ErrClosed
	}
	if err := r.ready(time.Now()); err != nil {
		r.lost++
		return 0, err
	}
	if r.size > 0 && r.size+int64(len(p)) > r.max {
		if err := r.rotate(); err != nil {
			return 0, r.refuse(err, true)
		}
	}
	n, err := r.append(p)
	if err != nil {
		err = r.refuse(err, true)
	}
	return n, err
}

// look opens the file, and tries it again if it refused, without a line to write.
func (r *rotatingFile) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		_ = r.ready(time.Now()) // the folder has heard of it
	}
}

var errRefused = errors.New("the log file refused a moment ago")

// ready opens the file if it is not open. After a refusal it does so once in logRetry, and it is well again when the file
// has taken the line that says what is missing.
func (r *rotatingFile) ready(now time.Time) error {
	switch {
	case r.file != nil:
		return nil
	case now.Before(r.next):
		return errRefused
	}
	if err := r.open(); err != nil {
		return r.refuse(err, false)
	}
	if r.next.IsZero() {
		return nil
	}
	note := fmt.Sprintf("[%s] - WARNING: %d lines are missing here: the disk refused them\n", apuTime(now), r.lost)
	if r.torn {
		note = "\n" + note
	}
	if _, err := r.append([]byte(note)); err != nil {
		return r.refuse(err, false)
	}
	r.folder.state(r, nil, r.lost)
	r.next, r.lost, r.torn = time.Time{}, 0, false
	return nil
}

func (r *rotatingFile) append(p []byte) (int, error) {
	n, err := r.file.Write(p)
	r.size += int64(n)
	if n > 0 && err != nil {
		r.torn = true
	}
	return n, err
}

// refuse closes the file for a while; line says that a line was lost by it.
func (r *rotatingFile) refuse(err error, line bool) error {
	if r.file != nil {
		_ = r.file.Close() // the error that counts is known
		r.file = nil
	}
	if line {
		r.lost++
	}
	r.next = time.Now().Add(logRetry)
	r.folder.state(r, err, 0)
	return err
}

func (r *rotatingFile) open() error {
	if err := os.MkdirAll(filepath.Dir(r.path), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		_ = f.Close()
		return err
	}
	r.file, r.size = f, size
	return nil
}

func (r *rotatingFile) rotate() error {
	for i := logFilesKept - 1; i >= 1; i-- {
		_ = os.Rename(fmt.Sprintf("%s.%d", r.path, i), fmt.Sprintf("%s.%d", r.path, i+1)) // most are not there
	}
	moved := os.Rename(r.path, r.path+".1") == nil
	if !moved {
		r.size = 0 // go on in the old file, and try again after as many bytes
		return nil
	}
	old := r.file
	if r.open() == nil {
		return old.Close()
	}
	r.file, r.size = old, 0 // as above
	return os.Rename(r.path+".1", r.path)
}

// Close closes the file; later writes fail.
func (r *rotatingFile) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	return f.Close()
}
