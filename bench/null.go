//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"time"

	"s3apu/bench/nulls3"
)

// addresses is what the null server says when it listens.
type addresses struct {
	S3      string `json:"s3"`
	Control string `json:"control"`
}

// nullGC lets the null server collect garbage seldom: its heap is large and lives long. In percent of the live heap, as GOGC; a guess.
const nullGC = 400

// runNull is the process of the null server: it serves until its standard input ends.
func runNull(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	set := flag.NewFlagSet("null", flag.ContinueOnError)
	latency := set.Duration("latency", 0, "how much later each answer comes")
	if err := set.Parse(args); err != nil {
		return err
	}
	debug.SetGCPercent(nullGC)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := nulls3.New(*latency)
	var at addresses
	failed := make(chan error, 2)
	for _, one := range []struct {
		addr    *string
		handler http.Handler
	}{{&at.S3, s}, {&at.Control, s.Control()}} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		*one.addr = "http://" + l.Addr().String()
		srv := &http.Server{Handler: one.handler, ReadHeaderTimeout: time.Minute}
		defer func() { _ = srv.Close() }() // the process ends
		go func() { failed <- srv.Serve(l) }()
	}
	if err := json.NewEncoder(out).Encode(at); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in) // its end is the news
		stop()
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// null is a running null server, as the harness sees it.
type null struct {
	*process
	endpoint, control string
	quit              io.Closer
}

// startNull starts one; close ends it.
func startNull(ctx context.Context, latency time.Duration) (*null, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "null", "-latency", latency.String())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p, err := begin(cmd)
	if err != nil {
		return nil, err
	}
	n := &null{process: p, quit: in}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var at addresses
	if err == nil {
		err = json.Unmarshal(line, &at)
	}
	if err != nil {
		n.close()
		return nil, fmt.Errorf("start the null server: %w", err)
	}
	n.endpoint, n.control = at.S3, at.Control
	return n, nil
}

func (n *null) close() {
	n.quit.Close()
	<-n.ended
}

// ask sends one request to the control address.
func (n *null) ask(ctx context.Context, method, path string, query url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, n.control+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(path + ": " + resp.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// makeBucket makes a bucket, or empties it.
func (n *null) makeBucket(ctx context.Context, bucket string) error {
	return n.ask(ctx, http.MethodPost, "/bucket", url.Values{"bucket": {bucket}}, nil)
}

func (n *null) dropBucket(ctx context.Context, bucket string) error {
	return n.ask(ctx, http.MethodPost, "/drop", url.Values{"bucket": {bucket}}, nil)
}

// requests returns how many requests came by now, by kind.
func (n *null) requests(ctx context.Context) (map[string]int64, error) {
	var all map[string]int64
	err := n.ask(ctx, http.MethodGet, "/requests", nil, &all)
	return all, err
}

// state waits until the bucket has that many files, or that long, and returns how it is then.
func (n *null) state(ctx context.Context, bucket string, files int, wait time.Duration) (nulls3.State, error) {
	var s nulls3.State
	err := n.ask(ctx, http.MethodGet, "/wait", url.Values{"bucket": {bucket}, "files": {strconv.Itoa(files)},
		"ms": {strconv.FormatInt(wait.Milliseconds(), 10)}}, &s)
	return s, err
}

// arrival waits until the key was written after a time, or that long.
func (n *null) arrival(ctx context.Context, bucket, key string, after time.Time, wait time.Duration) (nulls3.Arrival, error) {
	var a nulls3.Arrival
	err := n.ask(ctx, http.MethodGet, "/arrival", url.Values{"bucket": {bucket}, "key": {key},
		"after": {strconv.FormatInt(after.UnixNano(), 10)}, "ms": {strconv.FormatInt(wait.Milliseconds(), 10)}}, &a)
	return a, err
}
