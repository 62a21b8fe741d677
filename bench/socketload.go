//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"s3apu/protocol"
)

// loadResult is what the clients of the socket have seen.
type loadResult struct {
	Accepted int     `json:"accepted"`
	Refused  int     `json:"refused"`
	Seconds  float64 `json:"seconds"`
	P50      float64 `json:"p50"` // milliseconds from a request to its answer
	P99      float64 `json:"p99"`
	Longest  float64 `json:"longest"`
}

// runSocket is the process of the socket's clients: each keeps a number of upload instructions on the way, and measures
// the time from each one's write to its answer.
func runSocket(ctx context.Context, args []string, _ io.Reader, out io.Writer) error {
	set := flag.NewFlagSet("socket", flag.ContinueOnError)
	socket := set.String("unix", "", "the agent's socket")
	clients := set.Int("clients", 64, "")
	each := set.Int("each", 1000, "instructions of each client")
	window := set.Int("window", 8, "instructions of a client that are on the way")
	dir := set.String("dir", "", "a folder whose files the agent takes")
	if err := set.Parse(args); err != nil {
		return err
	}
	all := make([]*loader, *clients)
	for i := range all {
		l, err := newLoader(ctx, *socket, *dir, i, *each, *window)
		if err != nil {
			return err
		}
		defer l.conn.Close()
		all[i] = l
	}
	errs := make([]error, len(all))
	began := time.Now()
	var group sync.WaitGroup
	for i, l := range all {
		group.Go(func() { errs[i] = l.run() })
	}
	group.Wait()
	r := loadResult{Seconds: time.Since(began).Seconds()}
	var took []time.Duration
	for _, l := range all {
		r.Refused += l.refused
		took = append(took, l.took...)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	slices.Sort(took)
	r.Accepted = len(took) - r.Refused
	at := func(p float64) float64 {
		return took[min(len(took)-1, int(float64(len(took))*p))].Seconds() * 1000
	}
	r.P50, r.P99, r.Longest = at(0.50), at(0.99), at(1)
	return json.NewEncoder(out).Encode(r)
}

// loader is one client.
type loader struct {
	conn    net.Conn
	lines   [][]byte // requests, encoded before the clock runs
	sent    []time.Time
	took    []time.Duration
	refused int
	free    chan struct{} // places in the window
}

// cameraOf names the folder in which a client's files would lie. It must be there; the files need not.
func cameraOf(client int) string { return fmt.Sprintf("camera-%02d", client) }

func newLoader(ctx context.Context, socket, dir string, number, each, window int) (*loader, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	l := &loader{conn: conn, sent: make([]time.Time, each), free: make(chan struct{}, window)}
	for i := range each {
		rel := fmt.Sprintf("%s/frame-%06d.jpg", cameraOf(number), i)
		text, err := protocol.AppendInstruction(nil, protocol.Instruction{Verb: protocol.Upl, Source: filepath.Join(dir, rel),
			Key: protocol.Key("socket/" + rel)})
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		l.lines = append(l.lines, append(base64.StdEncoding.AppendEncode(nil, text), '\n'))
	}
	return l, nil
}

// run sends everything, never more than the window ahead of the answers.
func (l *loader) run() error {
	wrote := make(chan error, 1)
	go func() {
		out := bufio.NewWriter(l.conn)
		for i, line := range l.lines {
			select {
			case l.free <- struct{}{}:
			default: // the window is full: what is in the buffer must be on its way
				if err := out.Flush(); err != nil {
					wrote <- err
					return
				}
				l.free <- struct{}{}
			}
			l.sent[i] = time.Now()
			if _, err := out.Write(line); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- out.Flush()
	}()
	in := bufio.NewReader(l.conn)
	for i := range l.lines {
		answer, err := in.ReadSlice('\n')
		if err != nil {
			l.conn.Close()
			for range cap(l.free) { // lets the writer see it
				select {
				case <-l.free:
				default:
				}
			}
			return errors.Join(err, <-wrote)
		}
		l.took = append(l.took, time.Since(l.sent[i]))
		if string(answer) != "b2s=\n" { // ok
			l.refused++
		}
		<-l.free
	}
	return <-wrote
}
