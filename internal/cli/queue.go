package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"s3apu/agent"
	"s3apu/protocol"
)

// dialAgent connects to the running agent: over its unix socket, or where that is not to be had over TCP.
func dialAgent(ctx context.Context, cfg *agent.Config) (*protocol.Client, error) {
	token, err := cfg.Token()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, at := range []struct{ network, addr string }{{"unix", cfg.SocketPath()}, {"tcp", cfg.Socket.TCP}} {
		if at.addr == "" {
			continue
		}
		client, err := protocol.Dial(ctx, at.network, at.addr, token)
		if err == nil {
			return client, nil
		}
		errs = append(errs, err)
	}
	for _, err := range errs { // one that answers and refuses says more than one that is not there
		if protocol.KindOf(err) != protocol.KindUnreachable {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w at %s; start it with: s3apu-agent start, or s3apu-agent run", errNoAgent, cfg.SocketPath())
}

// withAgent runs f with a connection to the agent.
func withAgent(ctx context.Context, c *call, f func(*protocol.Client) error) error {
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	client, err := dialAgent(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // nothing of ours is under way on it any more
	return agentError(f(client))
}

// agentError marks what went wrong between us and the agent, so that its exit code does not speak of S3 or the disk.
func agentError(err error) error {
	switch protocol.KindOf(err) {
	case protocol.KindUnreachable, protocol.KindDamaged:
		return fmt.Errorf("%w: %w", errNoAgent, err)
	}
	return err
}

// runStatusLine is util_q_status: the queue's answer to inf, as it is.
func runStatusLine(ctx context.Context, c *call) error {
	return withAgent(ctx, c, func(client *protocol.Client) error {
		info, err := client.Info(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintln(c.Out, protocol.EncodeInfo(info))
		return nil
	})
}

// failedPage is how many failures are asked for at a time; a guess: a page is then below the socket's line limit.
const failedPage = 50

const failedHelp = `
STATE     "gave up": it waits for a person, or for its file to change; "again in …": for its next attempt
REASON    what S3 or the disk said last, and what to do

Tried again: when the file changes, or with "queue retry".`

const heldHelp = `
Held are deletes that look like an accident: of a folder that is suddenly empty or was replaced, or very many at once.
Uploads go on meanwhile. "status" says since when and why.

Let them go with "queue release"; leave the objects in the bucket for good with "queue drop".`

const keysHelp = `
KEY      as it is listed: the object's key, or "/BUCKET/KEY" in another bucket than the default one
--all    every one of them; to be said, since it is seldom meant`

// runFailed lists what did not go, and why.
func runFailed(ctx context.Context, c *call) error {
	return listFailures(ctx, c, (*protocol.Client).Failed, "nothing failed",
		"try again now: s3apu-agent queue retry KEY… or --all")
}

// runHeld lists the deletes that wait for a person.
func runHeld(ctx context.Context, c *call) error {
	return listFailures(ctx, c, (*protocol.Client).Held, "nothing is held",
		"delete them: s3apu-agent queue release KEY… or --all; leave the objects: s3apu-agent queue drop KEY… or --all")
}

// listFailures prints a table for people and scripts, and what can be done about it on the other stream.
func listFailures(ctx context.Context, c *call, of func(*protocol.Client, context.Context, protocol.ObjectID, int) ([]protocol.Failure, error), none, next string) error {
	return withAgent(ctx, c, func(client *protocol.Client) error {
		out := tabwriter.NewWriter(c.Out, 0, 8, 2, ' ', 0)
		total := 0
		var after protocol.ObjectID
		for {
			page, err := of(client, ctx, after, failedPage)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			for _, f := range page {
				c.listFailure(out, f, total == 0)
				total++
			}
			after = page[len(page)-1].ID()
		}
		if total == 0 {
			fmt.Fprintln(c.Out, none)
			return nil
		}
		if err := out.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(c.Err, next)
		return nil
	})
}

// listFailure prints one row of the table, and its head before the first. Programs get a row on one line. On a terminal the
// key stands last, where its length moves nothing, and the reason below it.
func (c *call) listFailure(out io.Writer, f protocol.Failure, first bool) {
	state, key, since, reason := failureState(f), c.name(printable(keyName(f.ID()))), f.Since.Local().Format(time.DateTime), c.text(printable(f.Reason))
	if c.terminal {
		if first {
			fmt.Fprintf(out, failureRow, "STATE", "VERB", "ATTEMPTS", "SINCE", "KEY", "REASON")
		}
		fmt.Fprintf(out, failureRow, state, f.Verb, strconv.Itoa(f.Attempts), since, key, reason)
		return
	}
	if first {
		fmt.Fprintln(out, "STATE\tVERB\tKEY\tATTEMPTS\tSINCE\tREASON")
	}
	fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%s\t%s\n", state, f.Verb, key, f.Attempts, since, reason)
}

// failureRow is a row of the table on a terminal; "again in 23h59m59s" is 18 letters wide.
const failureRow = "%-18s  %-4s  %8s  %-19s  %s\n    %s\n"

func failureState(f protocol.Failure) string {
	switch {
	case f.Dead:
		return "gave up"
	case f.Held:
		return "held"
	}
	return "again " + until(f.Next)
}

// keyName names an object as people do: by its key in the default bucket, as "/bucket/key" elsewhere.
func keyName(id protocol.ObjectID) string {
	if id.Bucket == "" {
		return string(id.Key)
	}
	return id.String()
}

// until says when t is, in a person's words.
func until(t time.Time) string {
	d := time.Until(t).Round(time.Second)
	if d <= 0 {
		return "now"
	}
	return "in " + d.String()
}

// printable quotes a text that could disturb the terminal or the columns.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// runRetry makes failed instructions due now.
func runRetry(ctx context.Context, c *call) error {
	return change(ctx, c, (*protocol.Client).Retry, "to be tried again", "had failed and can be tried again")
}

// runRelease lets held deletes go.
func runRelease(ctx context.Context, c *call) error {
	return change(ctx, c, (*protocol.Client).Release, "released", "were held")
}

// runDrop forgets held deletes.
func runDrop(ctx context.Context, c *call) error {
	return change(ctx, c, (*protocol.Client).Drop, "dropped; the objects stay", "were held")
}

func change(ctx context.Context, c *call, do func(*protocol.Client, context.Context, []protocol.ObjectID) (int, error), done, had string) error {
	all := boolFlag(c, "all")
	if len(c.args) == 0 && !all {
		return usageError("read the arguments", "", "name the KEYs, or --all")
	}
	if len(c.args) > 0 && all {
		return usageError("read the arguments", "", "KEYs and --all exclude each other")
	}
	var ids []protocol.ObjectID
	for _, key := range c.args {
		id, err := protocol.ParseObjectID(key)
		if err != nil { // the default bucket's go by their keys
			id = protocol.ObjectID{Key: protocol.Key(key)}
		}
		ids = append(ids, id)
	}
	return withAgent(ctx, c, func(client *protocol.Client) error {
		n, err := do(client, ctx, ids)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.Out, "%d %s\n", n, done)
		if n < len(ids) {
			return fmt.Errorf("%w: of %s named, %d %s", errPartial, plural(len(ids), "key"), n, had)
		}
		return nil
	})
}
