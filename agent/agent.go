package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"s3apu/internal/bucket"
	"s3apu/internal/web"
	"s3apu/protocol"
	"s3apu/queue"
	"s3apu/service"
	"s3apu/worker"
)

// Options are what the caller of [New] may want to know or set beside the configuration.
type Options struct {
	Logs    *Logs              // nil: nothing is logged
	Version string             // for /healthz
	Observe func(worker.Event) // called for each delivery that was settled, from one goroutine per bucket
	Ready   func()             // called once, when every folder is watched and scanned
}

// Agent is the whole program at work. Make it with [New], run it once with [Agent.Run].
type Agent struct {
	cfg       *Config
	opt       Options
	logs      *Logs
	log       *slog.Logger
	queue     *queue.Queue
	transport *bucket.Transport
	targets   []*target
	folders   []*folder
	listeners []net.Listener
	late      bool // the disk cannot take the unix socket yet; Run opens it
	madeState bool // the state_dir could not be made by New and is made with the queue
	page      net.Listener
	unsaved   bool // the performance file could not be written last time; one goroutine at a time writes it
	peers     protocol.Peers
	guests    *guestRule
	began     time.Time

	unexplained atomic.Pointer[hold] // of held deletes for which no folder has a reason
}

// target is one bucket and the workers that write it.
type target struct {
	name   string
	bucket *bucket.Bucket
	pool   *worker.Pool           // nil if [worker] max_workers is 0
	away   atomic.Pointer[string] // why the bucket did not answer the first look; nil: it did, or has not been asked
}

// firstLook asks the bucket at the start whether it can be worked with, until it can, so that a wrong key or a dead
// server is told before there is anything to send. After that the workers notice.
func (t *target) firstLook(ctx context.Context, log *slog.Logger) {
	for wait := retryPause; ; wait = min(2*wait, mostPause) {
		err := t.bucket.Probe(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if t.away.Swap(nil) != nil {
				log.Info("the bucket answers", "bucket", t.name)
			}
			return
		}
		text := err.Error()
		if t.away.Swap(&text) == nil {
			log.Warn("the bucket does not answer as it should; everything is kept until it does", "bucket", t.name, "err", err)
		}
		pause(ctx, wait)
	}
}

// New checks the folders, takes the addresses and then the state_dir, and opens queue, buckets and folders. It asks no
// server, so it works while S3 is away. On an error nothing stays open, and where an address is taken nothing was made
// on disk.
func New(ctx context.Context, cfg *Config, opt Options) (_ *Agent, err error) {
	if err := cfg.CheckRun(); err != nil {
		return nil, err
	}
	if opt.Logs == nil {
		none := slog.New(slog.DiscardHandler)
		opt.Logs = &Logs{Main: none, Queue: none, Worker: none, Events: none}
	}
	a := &Agent{cfg: cfg, opt: opt, logs: opt.Logs, log: opt.Logs.Main, began: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	for _, open := range []func(context.Context) error{a.openAddresses, a.openQueue, a.openTargets, a.openFolders, a.openSocket} {
		if err := open(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// maxBackfill is how many instructions of scans may be pending before the scan waits: some seconds of work at the best
// rate, and a queue whose memory does not depend on the size of the tree. A guess.
const maxBackfill = 20_000

// stateDirMode lets the service's group reach the socket in the state_dir; the queue in it is the agent's alone.
const stateDirMode = 0o750

func (a *Agent) openQueue(context.Context) error {
	err := os.MkdirAll(a.cfg.StateDir, stateDirMode)
	if a.madeState = queue.Refusal(err); err != nil && !a.madeState {
		return &protocol.Error{Op: "make the state_dir", Object: a.cfg.StateDir, Kind: protocol.KindLocal, Err: err,
			Hint: "make it for the user that runs the agent, or choose another"}
	}
	q, err := queue.Open(a.cfg.QueueDir(), queue.Options{Log: a.logs.Queue, MaxRetries: a.cfg.Worker.MaxRetries,
		MaxBackfill: maxBackfill, Heal: true})
	if err != nil {
		return err
	}
	a.queue = q
	return nil
}

func (a *Agent) openTargets(ctx context.Context) error {
	var err error
	a.transport, err = bucket.NewTransport(bucket.TransportConfig{Connections: connections(a.cfg), CAFile: a.cfg.S3.CAFile})
	if err != nil {
		return err
	}
	for _, name := range a.cfg.Buckets() {
		b, err := openBucket(ctx, a.cfg, name, a.transport, a.logs.Worker)
		if err != nil {
			return err
		}
		t := &target{name: name, bucket: b}
		a.targets = append(a.targets, t)
		if a.cfg.Worker.MaxWorkers == 0 {
			continue
		}
		if t.pool, err = a.newPool(name, b); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) openFolders(context.Context) error {
	for _, cfg := range a.cfg.Folders {
		f, err := a.newFolder(cfg)
		if err != nil {
			return err
		}
		a.folders = append(a.folders, f)
	}
	return nil
}

// Run works until ctx ends, or until something without which there is no going on (the queue's disk) fails. It then
// stops everything in order, waits for it and closes the queue. It returns nil if ctx ended.
func (a *Agent) Run(parent context.Context) (err error) {
	defer func() { err = errors.Join(err, a.close()) }()
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	var group sync.WaitGroup
	start := func(name string, run func(context.Context) error) {
		group.Go(func() {
			err := run(ctx)
			switch {
			case err == nil:
			case ctx.Err() == nil:
				stop(fmt.Errorf("%s: %w", name, err))
			case !errors.Is(err, context.Canceled):
				a.log.Warn("it did not end in order", "room", name, "err", err)
			}
		})
	}
	a.logs.look()
	a.log.Info("starting", "version", a.opt.Version, "target", a.cfg.S3.Where(), "folders", len(a.folders), "state_dir", a.cfg.StateDir)
	start("queue", a.queue.Run)
	server := a.server()
	for _, l := range a.listeners {
		start("socket", func(ctx context.Context) error { return server.Serve(ctx, l) })
	}
	if a.late {
		start("socket", func(ctx context.Context) error { return a.serveLate(ctx, server) })
	}
	if a.page != nil {
		handler := web.Handler(func() (any, bool) { h := a.Health(); return h, h.OK })
		start("page", func(ctx context.Context) error {
			if err := web.Serve(ctx, a.page, handler, a.log); err != nil {
				a.log.Error("/healthz is not served any more", "err", err) // no reason to stop uploading
			}
			return nil
		})
	}
	for _, t := range a.targets {
		if t.pool != nil {
			start("worker", t.pool.Run)
		}
		start("first look", func(ctx context.Context) error { t.firstLook(ctx, a.log); return nil })
	}
	for _, f := range a.folders {
		start("folder "+f.cfg.Path, f.run)
	}
	start("performance", a.writePerformance)
	start("ready", a.announceReady)
	start("holds", a.watchHolds)
	a.announceUp()
	group.Wait()
	a.savePerformance()
	a.log.Info("stopped", "queued", a.queue.Stats().Pending())
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// announceUp tells the service manager that the agent is up. It does not wait for the first scan, which may take longer
// than a manager waits: with a million files, or while S3 is away.
func (a *Agent) announceUp() {
	if err := service.Ready(); err != nil {
		a.log.Warn("the service manager was not told", "err", err)
		return
	}
	a.say("scanning")
}

// say sets the line that the service manager's status shows.
func (a *Agent) say(line string) {
	if err := service.Say(line); err != nil {
		a.log.Debug("the service manager was not told", "err", err)
	}
}

// announceReady tells the log, the service manager and the caller when every folder is watched and was scanned once.
func (a *Agent) announceReady(ctx context.Context) error {
	for _, f := range a.folders {
		select {
		case <-f.ready:
		case <-ctx.Done():
			return nil
		}
	}
	a.log.Info("ready", "folders", len(a.folders), "queued", a.queue.Stats().Pending(), "took", time.Since(a.began).Round(time.Millisecond).String())
	a.say("watching " + counted(int64(len(a.folders)), "folder", ""))
	if a.opt.Ready != nil {
		a.opt.Ready()
	}
	return nil
}

// close frees what New opened, last opened first.
func (a *Agent) close() error {
	var err error
	if a.page != nil {
		err = ignoreClosed(a.page.Close())
	}
	for _, l := range a.listeners {
		err = errors.Join(err, ignoreClosed(l.Close()))
	}
	for _, t := range a.targets {
		t.bucket.Close()
	}
	if a.transport != nil {
		a.transport.CloseIdleConnections()
	}
	if a.queue != nil {
		err = errors.Join(err, a.queue.Close())
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
