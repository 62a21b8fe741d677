package agent

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"s3apu/internal/bucket"
	"s3apu/protocol"
	"s3apu/watcher"
	"s3apu/worker"
)

// Sizes of uploads in parts, the same for the workers that send them and the feeders that recognise them.
const (
	partBudget     = 4        // parts in transfer at once, for each bucket (a guess: fills a usual line)
	multipartAbove = 16 << 20 // bytes; a larger file goes in parts (a guess)
	partSize       = 16 << 20 // bytes (a guess: 156 GiB in 10,000 parts)
)

// partSizeOf says in which parts a file of that many bytes goes; 0: in one piece.
func partSizeOf(size int64) int64 {
	if size <= multipartAbove {
		return 0
	}
	return worker.PartSize(size, partSize)
}

func (a *Agent) newPool(name string, b *bucket.Bucket) (*worker.Pool, error) {
	w := a.cfg.Worker
	cfg := worker.Config{
		Bucket: name, MaxWorkers: w.MaxWorkers, MaxFiles: w.MaxFiles, MaxRetries: w.MaxRetries, SlowdownTime: w.SlowdownTime.D(),
		FolderObjects: a.cfg.S3.FolderObjects, ContentTypes: a.cfg.ContentTypes,
		MultipartAbove: multipartAbove, PartSize: partSize, Parts: partBudget,
		AtRest:  func(f syscall.Conn) bool { return watcher.AtRest(f) != watcher.Busy },
		Await:   func(source string) bool { return a.mark(name, source) },
		MayGo:   a.mayGo,
		Folders: a.foldersTo(name), Sources: a.cfg.sources(),
		Observe: func(e worker.Event) {
			a.record(e)
			a.judgeAnew(e)
			if a.opt.Observe != nil {
				a.opt.Observe(e)
			}
		},
		Log: a.logs.Worker.With("bucket", name),
	}
	var err error
	for _, o := range []struct {
		from Override
		base int
		to   **uint32
	}{{w.UploadUID, 10, &cfg.UploadUID}, {w.UploadGID, 10, &cfg.UploadGID}, {w.Mode, 8, &cfg.Mode}} {
		if *o.to, err = o.from.number(o.base); err != nil {
			return nil, usage("check the configuration", "[worker]", err)
		}
	}
	return worker.New(cfg, workerSource{a.queue, name}, b)
}

// record writes what became of a delivery to the logs: what went well to S3 APU's event file, what was given up to
// the stream and the error file.
func (a *Agent) record(e worker.Event) {
	d := e.Delivery
	if e.Err == nil && !a.logs.success {
		return // nearly always: no words for each file
	}
	args := []any{"key", string(d.Key), "bucket", d.Bucket}
	if d.Source != "" {
		args = append(args, "source", d.Source)
	}
	switch {
	case e.Err == nil && e.Requests > 0:
		a.logs.Events.Info("done", append(args, "verb", d.Verb.String(), "bytes", e.Bytes, "seconds", seconds(e.Took))...)
		a.logs.Worker.Debug("done", append(args, "verb", d.Verb.String(), "bytes", e.Bytes, "took", e.Took)...)
	case e.Err == nil:
		a.logs.Worker.Debug("nothing to send", append(args, "verb", d.Verb.String())...)
	case e.Outcome == protocol.Buried:
		a.logs.Worker.Error("given up; see: s3apu-agent queue failed", append(args, "verb", d.Verb.String(), "attempt", d.Attempt, "err", e.Err)...)
	case e.Err.Kind == protocol.KindBusy || e.Err.Kind == protocol.KindChanged:
		a.logs.Worker.Debug("not yet", append(args, "verb", d.Verb.String(), "err", e.Err)...)
	case e.Uncounted: // the pool says once that the target is away
		a.logs.Worker.Debug("again later", append(args, "verb", d.Verb.String(), "err", e.Err)...)
	default:
		a.logs.Worker.Warn("again later", append(args, "verb", d.Verb.String(), "attempt", d.Attempt, "err", e.Err)...)
	}
}

// judgeAnew has the old name of a file looked at that was taken for renamed and is another one: the queue has taken back the
// delete of that name.
func (a *Agent) judgeAnew(e worker.Event) {
	if e.Err != nil || e.Origin != protocol.OriginApart || e.Delivery.Origin == nil {
		return
	}
	a.mark(e.Delivery.Origin.Bucket, e.Delivery.Origin.Source)
}

// mark has a file reported once it is at rest, and reports whether one of the folders that go to the bucket does so. The folders are made
// before a worker runs and stay.
func (a *Agent) mark(bucket, source string) (marked bool) {
	for _, f := range a.folders {
		if rel, ok := f.holds(bucket, source); ok && f.watch.Mark(rel) {
			marked = true
		}
	}
	return marked
}

// awaits reports whether the file of a hint is being written and will be reported once it is at rest. One that never is may go as far as
// it has grown.
func (a *Agent) awaits(bucket, source string) bool {
	for _, f := range a.folders {
		if rel, ok := f.holds(bucket, source); ok && (f.watch.Unresting(rel) || f.feed.AtRest(rel)) {
			return false
		}
	}
	return a.mark(bucket, source)
}

// holds returns where source lies in f, if it does, goes to the bucket, and is not excluded.
func (f *folder) holds(bucket, source string) (rel string, ok bool) {
	rel, ok = strings.CutPrefix(source, strings.TrimSuffix(f.cfg.Path, "/")+"/")
	rel = filepath.ToSlash(rel)
	return rel, ok && f.bucket == bucket && f.match.Has(rel, false)
}

// performanceEvery is how often s3_worker_performance is rewritten; a guess. S3 APU did it after every batch.
const performanceEvery = time.Second

// writePerformance keeps S3 APU's s3_worker_performance up to date while there is a [log] folder.
func (a *Agent) writePerformance(ctx context.Context) error {
	if a.cfg.Log.Folder == "" {
		return nil
	}
	last := int64(-1)
	for ctx.Err() == nil {
		a.logs.look()
		if n := a.settled(); n != last || a.unsaved {
			last = n
			a.savePerformance()
		}
		pause(ctx, performanceEvery)
	}
	return nil
}

// settled counts what the workers have carried out.
func (a *Agent) settled() (n int64) {
	for _, t := range a.targets {
		if t.pool != nil {
			n += t.pool.Stats().Performance.Total
		}
	}
	return n
}

// savePerformance writes the file as it is to be now.
func (a *Agent) savePerformance() {
	if a.cfg.Log.Folder == "" {
		return
	}
	err := replaceFile(filepath.Join(a.cfg.Log.Folder, performanceFile), a.performance())
	if err != nil && !a.unsaved {
		a.log.Warn("the performance file cannot be written for now", "err", logError(a.cfg.Log.Folder, err))
	}
	a.unsaved = err != nil
}

// performance is S3 APU's line, one for each bucket.
func (a *Agent) performance() string {
	text := ""
	for _, t := range a.targets {
		if t.pool != nil {
			text += t.pool.Stats().Performance.Format() + "\n"
		}
	}
	return text
}

// replaceFile writes a file whole or not at all.
func replaceFile(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o640); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// server answers the socket for the queue.
func (a *Agent) server() *protocol.Server {
	return &protocol.Server{
		Handler: clientHandler{queue: a.queue, bucket: a.cfg.S3.Bucket, folders: a.cfg.S3.FolderObjects, awaits: a.awaits},
		Log:     a.logs.Queue, Sources: protocol.NewSources(a.cfg.sources()), Peers: a.peers,
		CheckGuest: a.guests.check, GuestsWork: a.cfg.Worker.MaxWorkers == 0,
	}
}

// CheckSource says why the agent, with this configuration, takes no file at or below path from a client, or nil. It asks the
// disk once; a link may be changed later.
func (c *Config) CheckSource(path string) error { return protocol.SourcePolicy(c.sources())(path) }

// sources are the folders below which files may be read: the watched ones and allow_sources.
func (c *Config) sources() []string {
	roots := append([]string{}, c.Socket.AllowSources...)
	for _, f := range c.Folders {
		roots = append(roots, f.Path)
	}
	return roots
}

// foldersTo are the watched folders that go to a bucket, as its workers see them.
func (a *Agent) foldersTo(bucket string) (to []worker.Folder) {
	for _, f := range a.cfg.Folders {
		if a.cfg.BucketOf(f) != bucket {
			continue
		}
		w := worker.Folder{Path: f.Path, Prefix: f.Prefix, Links: f.Symlinks, Keep: !f.Deletes()}
		if f.Unresting == unrestingPrefix {
			w.Unresting = func(rel string) bool { return a.unresting(f.Path, rel) }
		}
		to = append(to, w)
	}
	return to
}

// unresting asks the watcher of a folder whether the file rel is never at rest. The folders are made before a worker runs.
func (a *Agent) unresting(root, rel string) bool {
	return slices.ContainsFunc(a.folders, func(f *folder) bool { return f.cfg.Path == root && f.watch.Unresting(rel) })
}

// CheckSocket reports why the socket's settings cannot be used, or nil.
func (c *Config) CheckSocket() error {
	_, err := c.peers()
	return err
}

// peers reads who may speak to the socket: the token, and the users by name or number.
func (c *Config) peers() (protocol.Peers, error) {
	token, err := c.Token()
	if err != nil {
		return protocol.Peers{}, err
	}
	p := protocol.Peers{Token: token}
	for _, name := range c.Socket.AllowUsers {
		uid, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			u, e := user.Lookup(name)
			if e != nil {
				return p, c.fault("[socket] allow_users", "name users of this system", "%q: %w", name, e)
			}
			if uid, err = strconv.ParseUint(u.Uid, 10, 32); err != nil {
				return p, c.fault("[socket] allow_users", "", "%q: %w", name, fmt.Errorf("the user has no number here"))
			}
		}
		p.AllowUsers = append(p.AllowUsers, uint32(uid))
	}
	return p, nil
}

// mayGo asks the folder that source lies in whether what was uploaded from it may be deleted now. The folders are made
// before a worker runs and stay.
func (a *Agent) mayGo(source string) error {
	for _, f := range a.folders {
		if err := f.feed.MayGo(source); err != nil {
			return err
		}
	}
	return nil
}
