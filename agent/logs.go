package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Names of S3 APU's own log files, under [log] folder.
const (
	queueErrorFile  = "s3_queue_error.log"
	workerErrorFile = "s3_worker_error.log"
	workerEventFile = "s3_worker_event.log"
	performanceFile = "s3_worker_performance"
)

// Logs are the places that the agent writes to: slog on one stream for everything, and S3 APU's own files beside it
// when [log] folder is set.
type Logs struct {
	Main   *slog.Logger // the agent itself, watcher and feeder
	Queue  *slog.Logger // also s3_queue_error.log, from WARNING up; on the stream at most one warning of a peer each 10 s
	Worker *slog.Logger // also s3_worker_error.log, from WARNING up
	Events *slog.Logger // only s3_worker_event.log: each transaction that succeeded

	success bool // somebody reads what went well: Events, or Worker at level debug
	files   []*rotatingFile
	refused *calmState // what the main log has not been told yet; nil: nothing is kept back
	folder  *logFolder // nil: there is none
}

// OpenLogs makes the loggers. The stream is stderr in the program; text or JSON as [log] format says. S3 APU's files are
// made by the first line; that they cannot be written is told on the stream and ends nothing.
func OpenLogs(cfg Log, stream io.Writer) (*Logs, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		return nil, usage("check the configuration", "[log] level", err)
	}
	opt := &slog.HandlerOptions{Level: level}
	var base slog.Handler = slog.NewTextHandler(stream, opt)
	if cfg.Format == "json" {
		base = slog.NewJSONHandler(stream, opt)
	}
	l := &Logs{Main: slog.New(base), Events: slog.New(slog.DiscardHandler), success: level <= slog.LevelDebug || cfg.Folder != ""}
	quiet := newCalm(base)
	l.refused = quiet.peers
	l.Queue, l.Worker = slog.New(quiet).With("room", "queue"), l.Main.With("room", "worker")
	if cfg.Folder == "" {
		return l, nil
	}
	l.folder = &logFolder{path: cfg.Folder, log: l.Main, refused: make(map[*rotatingFile]error)}
	for _, f := range []struct {
		name  string
		level slog.Level
		to    **slog.Logger
	}{{queueErrorFile, slog.LevelWarn, &l.Queue}, {workerErrorFile, slog.LevelWarn, &l.Worker}, {workerEventFile, slog.LevelInfo, &l.Events}} {
		file := &rotatingFile{path: filepath.Join(cfg.Folder, f.name), max: logFileBytes, folder: l.folder}
		l.files = append(l.files, file)
		*f.to = slog.New(slog.NewMultiHandler((*f.to).Handler(), &apuHandler{out: file, level: f.level, mu: new(sync.Mutex)}))
	}
	return l, nil
}

// look makes S3 APU's files that are not there yet, and tries those again that refused.
func (l *Logs) look() {
	for _, f := range l.files {
		f.look()
	}
}

// fault is why S3 APU's files cannot be written now, or nil.
func (l *Logs) fault() error {
	if l.folder == nil {
		return nil
	}
	return l.folder.fault()
}

// settle tells the main log what was kept back for long enough.
func (l *Logs) settle() {
	if l.refused != nil {
		l.refused.settle(time.Now(), false)
	}
}

// Close tells the main log what was kept back, and closes S3 APU's files.
func (l *Logs) Close() error {
	if l.refused != nil {
		l.refused.settle(time.Now(), true)
	}
	var err error
	for _, f := range l.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// apuHandler writes records as S3 APU did: "[Sun, 22 Nov 2026 16:00:00 GMT] - WARNING: text", attributes behind it.
type apuHandler struct {
	out   io.Writer
	level slog.Level
	attrs []slog.Attr
	mu    *sync.Mutex // shared by all that WithAttrs made
}

func (h *apuHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *apuHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &apuHandler{out: h.out, level: h.level, mu: h.mu, attrs: append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

// WithGroup keeps the names as they are: S3 APU's lines know no groups.
func (h *apuHandler) WithGroup(string) slog.Handler { return h }

func (h *apuHandler) Handle(_ context.Context, r slog.Record) error {
	level := "NOTICE"
	switch {
	case r.Level >= slog.LevelError:
		level = "ERROR"
	case r.Level >= slog.LevelWarn:
		level = "WARNING"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[%s] - %s: %s", apuTime(r.Time), level, r.Message)
	write := func(a slog.Attr) bool {
		if a.Key != "room" {
			fmt.Fprintf(&b, " %s=%s", a.Key, oneLine(a.Value.String()))
		}
		return true
	}
	for _, a := range h.attrs {
		write(a)
	}
	r.Attrs(write)
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.out, b.String())
	return err
}

// apuTime is a time as S3 APU's files have it.
func apuTime(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") }

// oneLine quotes what would break the line or hide where a value ends.
func oneLine(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == ' ' || r == '"' }) {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// seconds formats a duration as S3 APU's logs did, in seconds with a fraction.
func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
