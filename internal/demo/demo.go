// Package demo shows the main job on one machine with nothing else installed: an S3 endpoint inside the process, on
// loopback, that keeps its objects as files in a folder, and the agent as it is in production, SDK included, on a fresh
// inbox. It says what to try next and prints each thing as it happens, until its context ends.
//
// Everything it makes lies in one folder, which it leaves behind: files that were dropped into the inbox may be the only
// copy.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"s3apu/agent"
	"s3apu/internal/s3servers/inprocess"
	"s3apu/protocol"
	"s3apu/worker"
)

// Names and keys of the demonstration's own endpoint; they guard nothing.
const (
	bucketName = "demo-bucket"
	accessKey  = "demo-access-key"
	secretKey  = "demo-secret-key"
)

// Run shows the main job until ctx ends, then stops everything in order. Everything is made below dir, or in a new
// temporary folder if dir is empty.
func Run(ctx context.Context, dir string, out io.Writer) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "s3apu-demo-"); err != nil {
			return err
		}
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	inbox, store := filepath.Join(dir, "inbox"), filepath.Join(dir, "bucket")
	for _, d := range []string{inbox, store} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			return err
		}
	}
	if err := writeSamples(inbox); err != nil {
		return err
	}
	endpoint, stop, err := serve(store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()

	cfg, err := configure(dir, inbox, endpoint)
	if err != nil {
		return err
	}
	if err := createBucket(ctx, cfg); err != nil {
		return err
	}
	p := &printer{out: out}
	logs, err := agent.OpenLogs(agent.Log{Level: "warn", Format: "text"}, p)
	if err != nil {
		return err
	}
	p.printf("An S3 endpoint of our own is at %s; it keeps its objects as files in %s\n\n", endpoint, filepath.Join(store, bucketName))
	a, err := agent.New(ctx, cfg, agent.Options{Logs: logs, Version: "demo", Observe: p.event, Ready: func() { p.welcome(inbox) }})
	if err != nil {
		return err
	}
	if err := a.Run(ctx); err != nil {
		return err
	}
	p.printf("\nStopped. What was not sent yet is kept in the queue. Your files are still in %s\nDelete %s when you are done with them.\n", inbox, dir)
	return nil
}

// serve starts the endpoint on a free loopback port.
func serve(store string) (endpoint string, stop func() error, err error) {
	handler, err := inprocess.New(store, map[string]string{accessKey: secretKey})
	if err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	return "http://" + l.Addr().String(), func() error {
		err := s.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}

func configure(dir, inbox, endpoint string) (*agent.Config, error) {
	cfg, err := agent.Parse("demo", nil)
	if err != nil {
		return nil, err
	}
	cfg.StateDir = filepath.Join(dir, "state")
	cfg.S3.Bucket, cfg.S3.Endpoint = bucketName, endpoint
	cfg.S3.AccessKeyID, cfg.S3.SecretAccessKey = accessKey, secretKey
	cfg.Socket.TCP, cfg.HTTP.Listen = "", "" // a real agent may be running on this machine
	cfg.Folders = []agent.Folder{agent.NewFolder(inbox)}
	return cfg, cfg.Check()
}

func createBucket(ctx context.Context, cfg *agent.Config) error {
	b, err := agent.OpenBucket(ctx, cfg, bucketName)
	if err != nil {
		return err
	}
	defer b.Close()
	return b.Create(ctx)
}

func writeSamples(inbox string) error {
	for name, text := range map[string]string{
		"hello.txt":           "Hello, S3.\n",
		"notes/ideas.md":      "# Ideas\n\nDrop a file into this folder.\n",
		"photos/2026/été.svg": `<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><circle cx="4" cy="4" r="4"/></svg>` + "\n",
	} {
		path := filepath.Join(inbox, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// printer writes lines for people. Safe for concurrent use.
type printer struct {
	mu  sync.Mutex
	out io.Writer
}

func (p *printer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *printer) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(p, format, args...) // nobody is left to tell if the terminal is gone
}

// event prints what reached the bucket.
func (p *printer) event(e worker.Event) {
	d := e.Delivery
	switch {
	case e.Err != nil:
		p.printf("  %s  %s waits: %v\n", time.Now().Format(time.TimeOnly), d.Key, e.Err)
	case e.Requests == 0:
	case d.Verb == protocol.Upl && e.Bytes == 0 && d.From != "":
		p.printf("  %s  renamed   %s to %s, copied within S3\n", time.Now().Format(time.TimeOnly), strings.TrimPrefix(d.From, "/"+bucketName+"/"), d.Key)
	case d.Verb == protocol.Upl && e.Bytes == 0 && e.Entry != nil && e.Entry.Size > 0:
		p.printf("  %s  refreshed %s (mode, owner and time only)\n", time.Now().Format(time.TimeOnly), d.Key)
	case d.Verb == protocol.Upl:
		p.printf("  %s  uploaded  %s (%d bytes, %v)\n", time.Now().Format(time.TimeOnly), d.Key, e.Bytes, e.Took.Round(100*time.Microsecond))
	case d.Verb == protocol.Mkd:
		p.printf("  %s  folder    %s\n", time.Now().Format(time.TimeOnly), d.Key)
	case d.Verb == protocol.Cpo:
		p.printf("  %s  copied    %s to %s\n", time.Now().Format(time.TimeOnly), d.Source, d.Key)
	case d.Verb == protocol.Del:
		p.printf("  %s  deleted   %s\n", time.Now().Format(time.TimeOnly), d.Key)
	}
}

func (p *printer) welcome(inbox string) {
	p.printf(`
Watching %[1]s. Try, in another terminal:

    cp /etc/hosts '%[1]s/'                a new file
    echo more >> '%[1]s/hello.txt'        a changed one
    mv '%[1]s/notes' '%[1]s/texts'        a renamed folder
    rm '%[1]s/hello.txt'                  a deleted one

Each appears here as it reaches the bucket; symbolic links are skipped, unless symlinks in [[folder]] says otherwise. Ctrl-C ends the demonstration.

`, inbox)
}
