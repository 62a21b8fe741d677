package agent

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestOldLogFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	var stream bytes.Buffer
	l, err := OpenLogs(Log{Level: "info", Format: "text", Folder: dir}, &stream)
	if err != nil {
		t.Fatal(err)
	}
	l.Queue.Info("not an error")
	l.Queue.Warn("invalid", "request", "foo|bar baz", "err", errors.New("two\nlines"))
	l.Worker.With(slog.String("folder", "/in")).Error("upload failed", "key", "a/b")
	l.Events.Info("upl", "key", "a/b")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	stamp := `^\[\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\] - `
	for name, want := range map[string]string{
		queueErrorFile:  stamp + `WARNING: invalid request="foo\|bar baz" err="two\\nlines"\n$`,
		workerErrorFile: stamp + `ERROR: upload failed folder=/in key=a/b\n$`,
		workerEventFile: stamp + `NOTICE: upl key=a/b\n$`,
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(want).Match(text) {
			t.Errorf("%s:\n%s", name, text)
		}
	}
	for _, want := range []string{"not an error", "room=queue", "room=worker"} {
		if !strings.Contains(stream.String(), want) {
			t.Errorf("the stream lacks %q:\n%s", want, stream.String())
		}
	}
	if strings.Contains(stream.String(), "msg=upl ") {
		t.Error("events reached the stream")
	}
}

func TestLogRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	r := &rotatingFile{path: path, max: 100}
	line := strings.Repeat("x", 59) + "\n"
	for range 20 {
		if _, err := r.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 1+logFilesKept {
		t.Errorf("files: %v %v", files, err)
	}
	if _, err := r.Write([]byte(line)); err == nil {
		t.Error("a closed file took a line")
	}
}

// A log folder that cannot be written ends nothing: the stream says so once, and once that it is well again; the files
// say how many lines are missing.
func TestLogFolderNotWritable(t *testing.T) {
	file := mustFile(t, t.TempDir(), "f")
	dir := filepath.Join(file, "sub")
	var stream bytes.Buffer
	l, err := OpenLogs(Log{Level: "info", Folder: dir}, &stream)
	if err != nil {
		t.Fatal(err)
	}
	l.look()
	l.Queue.Warn("one")
	l.Queue.Warn("two")
	l.Worker.Warn("three")
	l.Events.Info("four")
	if n := strings.Count(stream.String(), "the log files cannot be written"); n != 1 || !strings.Contains(stream.String(), "[log] folder") {
		t.Errorf("it was said %d times, want once:\n%s", n, stream.String())
	}
	if l.fault() == nil {
		t.Error("there is no fault to show")
	}
	for _, want := range []string{"one", "two", "three"} {
		if !strings.Contains(stream.String(), "msg="+want) {
			t.Errorf("the stream lacks %q", want)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	for _, f := range l.files {
		f.next = f.next.Add(-logRetry)
	}
	l.look()
	l.Queue.Warn("five")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l.fault() != nil || !strings.Contains(stream.String(), "can be written again") || !strings.Contains(stream.String(), "lost=4") {
		t.Errorf("afterwards: %v\n%s", l.fault(), stream.String())
	}
	text, err := os.ReadFile(filepath.Join(dir, queueErrorFile))
	if err != nil || !regexp.MustCompile(`^\[.*\] - WARNING: 2 lines are missing here.*\n.*five\n$`).Match(text) {
		t.Errorf("%v:\n%s", err, text)
	}
}
