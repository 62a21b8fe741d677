package watcher

import (
	"errors"
	"fmt"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// source is one kernel queue with its watches: fsnotify, or a test's.
type source interface {
	Add(path string) error
	Remove(path string) error
	Watches() int // how many there are: the kernel drops those of a disk that is unmounted, and no event tells
	Events() <-chan fsnotify.Event
	Errors() <-chan error
	Close() error
}

// kernelSource is fsnotify behind the interface.
type kernelSource struct{ w *fsnotify.Watcher }

// openSource opens a kernel queue; keep above 0 narrows it (Config.Queue).
func openSource(keep int) (source, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	if keep <= 0 {
		return kernelSource{w}, nil
	}
	return narrow(kernelSource{w}, keep), nil
}

// Add watches a folder. fsnotify does nothing, without an error, when the same folder is watched under another path.
func (s kernelSource) Add(path string) (err error) {
	defer survive(&err)
	return s.w.Add(path)
}

func (s kernelSource) Remove(path string) (err error) {
	defer survive(&err)
	return s.w.Remove(path)
}

func (s kernelSource) Watches() int                  { return len(s.w.WatchList()) }
func (s kernelSource) Events() <-chan fsnotify.Event { return s.w.Events }
func (s kernelSource) Errors() <-chan error          { return s.w.Errors }
func (s kernelSource) Close() error                  { return s.w.Close() }

// survive turns a panic of fsnotify into an error. v1.10.1 dereferences nil in Remove (removePath in
// backend_inotify.go) for a path whose watch was replaced while Add found its folder under another path; the path is
// forgotten by then, so what follows is right.
func survive(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("fsnotify panicked: %v", r)
	}
}

// narrowSource keeps only so many events and says, as the kernel does, when it had to drop some.
type narrowSource struct {
	source
	events  chan fsnotify.Event
	errors  chan error
	stop    chan struct{}
	pumping sync.WaitGroup
}

func narrow(s source, keep int) *narrowSource {
	n := &narrowSource{source: s, events: make(chan fsnotify.Event, keep), errors: make(chan error),
		stop: make(chan struct{})}
	n.pumping.Go(n.pump)
	return n
}

func (n *narrowSource) pump() {
	defer close(n.events)
	var waiting error // an error that was not taken yet
	for {
		var out chan error
		in := n.source.Errors()
		if waiting != nil {
			out, in = n.errors, nil
		}
		select {
		case ev, ok := <-n.source.Events():
			if !ok {
				return
			}
			select {
			case n.events <- ev:
			default:
				waiting = errors.Join(waiting, fsnotify.ErrEventOverflow)
			}
		case err, ok := <-in:
			if !ok {
				return
			}
			waiting = err
		case out <- waiting:
			waiting = nil
		case <-n.stop:
			return
		}
	}
}

func (n *narrowSource) Events() <-chan fsnotify.Event { return n.events }
func (n *narrowSource) Errors() <-chan error          { return n.errors }

func (n *narrowSource) Close() error {
	close(n.stop)
	err := n.source.Close()
	n.pumping.Wait()
	return err
}
