package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"s3apu/agent"
	"s3apu/feeder"
	"s3apu/protocol"
)

const feedHelp = `
FEED_ROOT      the folder to start from
KEY_ROOT       the key prefix to put the files under, without a trailing "/"; empty, the default, for none
RECURSION      0 all the way down; 1, the default, the current folder only; n that deep
CHECK_MISSING  1 to send only what the bucket lacks, compared by name; 0, the default, sends everything

The running agent carries it out: FEED_ROOT must lie below a watched folder or [socket] allow_sources. Else nothing is sent,
and the code is 2.`

// runFeed is util_feed and "s3apu-agent feed": it hands the contents of a folder to the running agent.
func runFeed(ctx context.Context, c *call) error {
	opt, err := feedArguments(c.args)
	if err != nil {
		return err
	}
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	if err := cfg.CheckSource(opt.Root); err != nil { // or its folders went through and its files did not
		e := protocol.Error{Op: "feed", Object: opt.Root, Kind: protocol.KindUsage, Err: err,
			Hint: "nothing was sent; a folder beside the watched ones must lie below [socket] allow_sources"}
		return &e
	}
	client, err := dialAgent(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // nothing of ours is under way on it any more
	if opt.CheckMissing {
		b, err := agent.OpenBucket(ctx, cfg, cfg.S3.Bucket)
		if err != nil {
			return err
		}
		defer b.Close()
		opt.List = b
	}
	refused := 0
	var why error
	opt.Put = func(ctx context.Context, ins []protocol.Instruction) error {
		err := client.Put(ctx, ins)
		var not *protocol.PutError
		if errors.As(err, &not) {
			refused, why = refused+len(not.Refused), not.Refused[0].Err
			return nil
		}
		return err
	}
	opt.Failed = func(_ string, err *protocol.Error) { fmt.Fprintf(c.Err, "not fed: %v\n", err) }
	report, err := feeder.Feed(ctx, *opt)
	if err != nil {
		return agentError(err)
	}
	report.Sent -= int64(refused)
	fmt.Fprintln(c.Out, report)
	if report.Degraded != nil {
		fmt.Fprintf(c.Err, "the bucket could not be listed, so nothing was taken to be there: %v\n", report.Degraded)
	}
	if refused > 0 {
		return fmt.Errorf("%w: the agent refused %d instructions (%w); is %s below a watched folder or [socket] allow_sources?",
			errPartial, refused, why, opt.Root)
	}
	if report.Failed > 0 {
		return fmt.Errorf("%w: %d entries could not be fed", errPartial, report.Failed)
	}
	return nil
}

// feedArguments reads FEED_ROOT [KEY_ROOT] [RECURSION] [CHECK_MISSING] with S3 APU's defaults.
func feedArguments(args []string) (*feeder.FeedOptions, error) {
	if len(args) < 1 || len(args) > 4 {
		return nil, usageError("read the arguments", "", "FEED_ROOT is needed, KEY_ROOT, RECURSION and CHECK_MISSING may follow")
	}
	opt := &feeder.FeedOptions{Recursion: 1}
	root, err := filepath.Abs(args[0])
	if err != nil {
		return nil, usageError("read the arguments", "FEED_ROOT", "%w", err)
	}
	if st, err := os.Stat(root); err != nil || !st.IsDir() {
		return nil, usageError("read the arguments", "FEED_ROOT", "%s is not a folder", root)
	}
	opt.Root = root
	if len(args) > 1 {
		opt.KeyRoot = strings.TrimSuffix(args[1], "/")
		if opt.KeyRoot != "" {
			if err := protocol.Key(opt.KeyRoot).Check(); err != nil {
				return nil, usageError("read the arguments", "KEY_ROOT", "%w", err)
			}
		}
	}
	if len(args) > 2 {
		if opt.Recursion, err = strconv.Atoi(args[2]); err != nil || opt.Recursion < 0 {
			return nil, usageError("read the arguments", "RECURSION", "%q is not a number from 0 up", args[2])
		}
	}
	if len(args) > 3 {
		n, err := strconv.Atoi(args[3])
		if err != nil {
			return nil, usageError("read the arguments", "CHECK_MISSING", "%q is neither 0 nor 1", args[3])
		}
		opt.CheckMissing = n != 0
	}
	return opt, nil
}
