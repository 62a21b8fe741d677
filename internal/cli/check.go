package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"s3apu/agent"
	"s3apu/protocol"
	"s3apu/queue"
)

// report prints a line for each thing that check looked at, and counts the faults.
type report struct {
	out    io.Writer
	faults int
	first  error // decides the exit code
}

func (r *report) note(what string, err error) {
	if err == nil {
		fmt.Fprintf(r.out, "ok      %s\n", what)
		return
	}
	fmt.Fprintf(r.out, "FAILED  %s: %v\n", what, err)
	r.fault(err)
}

func (r *report) fault(err error) {
	r.faults++
	r.first = cmp.Or(r.first, err)
}

// faultsError sums up what was printed line by line. It has the exit code of the first fault.
type faultsError struct {
	n     int
	first error
}

// Error says how many there are.
func (e *faultsError) Error() string { return plural(e.n, "fault") + ", listed above" }

// Unwrap returns the first fault.
func (e *faultsError) Unwrap() error { return e.first }

// plural counts things: "1 folder", "2 folders".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

const checkHelp = `
Prints a line for each thing it tried, "ok" or "FAILED" with what to do. In each bucket it writes, reads and deletes one small
object ".s3apu-check-…"; a running agent is not disturbed.`

// runCheck tries everything that run needs and prints a line for each, with what to do about a fault.
func runCheck(ctx context.Context, c *call) error {
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	r := &report{out: c.Out}
	r.note(cfg.File+" can be read", nil)
	for _, w := range cfg.Warnings(ctx, c.getenv) {
		fmt.Fprintf(c.Out, "WARNING %s\n", w)
	}
	r.note(plural(len(cfg.Folders), "folder"), cfg.CheckFolders())
	noteBlind(c.Out, cfg)
	r.markers(cfg)
	what, running, err := checkStateDir(ctx, cfg)
	r.note(what, err)
	for _, f := range cfg.CheckAddresses(ctx, running) {
		r.note(f.What, f.Err)
	}
	if cfg.Log.Folder != "" {
		r.note("[log] folder "+cfg.Log.Folder, cfg.CheckLogFolder())
	}
	for _, name := range cfg.Buckets() {
		r.bucket(ctx, cfg, name)
	}
	if r.first != nil {
		return &faultsError{r.faults, r.first}
	}
	return nil
}

// noteBlind says where others' changes go unheard, and when they are found.
func noteBlind(w io.Writer, cfg *agent.Config) {
	for _, f := range cfg.Folders {
		if places := agent.BlindPlaces(f.Path); len(places) > 0 {
			fmt.Fprintf(w, "note    folder %s: %s\n", f.Path, agent.BlindText(places, cfg.Reconcile))
		}
	}
}

func (r *report) bucket(ctx context.Context, cfg *agent.Config, name string) {
	b, err := agent.OpenBucket(ctx, cfg, name)
	if err != nil {
		r.note("bucket "+name, err)
		return
	}
	defer b.Close()
	var under protocol.Key
	for _, f := range cfg.Folders {
		if cfg.BucketOf(f) == name && f.Prefix != "" {
			under = protocol.Key(f.Prefix + "/")
		}
	}
	for _, f := range b.Check(ctx, under) {
		mark := "ok     "
		if !f.OK {
			mark = "FAILED "
			r.fault(cmp.Or(f.Err, errors.New(f.What+": "+f.Detail)))
		}
		fmt.Fprintf(r.out, "%s bucket %s: %s: %s\n", mark, name, f.What, f.Detail)
		if f.Hint != "" && !f.OK {
			fmt.Fprintf(r.out, "        %s\n", f.Hint)
		}
	}
}

// checkStateDir reports why the state_dir cannot be used, without making it, and whether an agent works with it now.
func checkStateDir(ctx context.Context, cfg *agent.Config) (what string, running bool, err error) {
	what = "state_dir " + cfg.StateDir
	err = queue.Check(cfg.QueueDir())
	if protocol.KindOf(err) == protocol.KindLocked {
		return what + " (an agent works with it now)", true, nil
	}
	// A disk that refuses is told before anybody asks who works on it.
	return what, protocol.KindOf(err) == protocol.KindLocal && answers(ctx, cfg), err
}

// answers reports whether an agent answers on the unix socket.
func answers(ctx context.Context, cfg *agent.Config) bool {
	token, err := cfg.Token()
	if err != nil {
		return false
	}
	client, err := protocol.Dial(ctx, "unix", cfg.SocketPath(), token)
	if err != nil {
		return false
	}
	defer func() { _ = client.Close() }() // nothing of ours is under way on it any more
	_, err = client.Info(ctx)
	return err == nil
}

// markers looks for the marker of each folder that has one.
func (r *report) markers(cfg *agent.Config) {
	for _, f := range cfg.Folders {
		if f.Marker == "" {
			continue
		}
		marker := filepath.Join(f.Path, filepath.FromSlash(f.Marker))
		_, err := os.Lstat(marker)
		if err != nil {
			err = &protocol.Error{Op: "look for the marker", Object: marker, Kind: protocol.KindLocal, Err: err,
				Hint: "nothing is deleted until it is there: mount what is missing, or make the file if this is the right folder"}
		}
		r.note("marker "+marker, err)
	}
}
