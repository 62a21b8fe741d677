// Package cli is the command line: every program of the project is a few lines over [Main]. It reads arguments, calls
// one room, prints, and turns an error into an exit code by the one table in exit.go. Output that scripts read goes to
// stdout, everything else to stderr.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"s3apu/agent"
	"s3apu/protocol"
)

// Streams are where a program reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// command is one thing that a program can do.
type command struct {
	name  string
	args  string // the synopsis behind the name
	short string // one line of help
	long  string // what the arguments mean, printed by -h; may be empty
	run   func(ctx context.Context, c *call) error
}

// call is one invocation: what was asked, by whom, and where to print.
type call struct {
	Streams
	env    []string
	flags  *flag.FlagSet
	args   []string // without flags
	config string   // --config

	terminal bool // a person may be looking at Out
}

// Main runs the program called name with its arguments and environment and returns its exit code. It returns when the
// work is done or ctx ends.
func Main(ctx context.Context, name string, args, env []string, s Streams) int {
	c := &call{Streams: s, env: env, terminal: isTerminal(s.Out)}
	err := c.dispatch(ctx, name, args)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return ExitOK
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return ExitInterrupt
	}
	line := fmt.Sprintf("%s: %v", name, err)
	if isTerminal(s.Err) {
		line = visible(line)
	}
	fmt.Fprintln(s.Err, line)
	return exitCode(err)
}

// dispatch finds the command: the utilities of S3 APU are programs of their own, s3apu-agent has sub-commands.
func (c *call) dispatch(ctx context.Context, name string, args []string) error {
	if cmd, ok := utilities()[name]; ok {
		return c.execute(ctx, name, cmd, args)
	}
	if len(args) == 0 {
		c.overview(c.Err, name, "")
		return usageError("read the arguments", "", "a command is missing")
	}
	word, rest := args[0], args[1:]
	switch word {
	case "help", "-h", "-help", "--help":
		if word == "help" && len(rest) > 0 {
			return c.dispatch(ctx, name, append(slices.Clone(rest), "-h"))
		}
		c.overview(c.Out, name, "")
		return nil
	case "--version", "-version":
		word = "version"
	}
	commands := agentCommands()
	if word == "queue" {
		switch {
		case len(rest) == 0:
			c.overview(c.Err, name, "queue ")
			return usageError("read the arguments", "queue", "one of status, failed, retry, held, release, drop is missing")
		case rest[0] == "help" || strings.HasPrefix(rest[0], "-h") || rest[0] == "--help":
			c.overview(c.Out, name, "queue ")
			return nil
		}
		word, rest = "queue "+rest[0], rest[1:]
	}
	for _, cmd := range commands {
		if cmd.name == word {
			return c.execute(ctx, name+" "+word, cmd, rest)
		}
	}
	e := usageError("read the arguments", word, "unknown command").(*protocol.Error) //nolint:errorlint // made in this line
	e.Hint = name + " help lists them"
	return e
}

// execute parses the flags, which may stand before, between and behind the arguments, and runs the command.
func (c *call) execute(ctx context.Context, name string, cmd command, args []string) error {
	c.flags = flag.NewFlagSet(name, flag.ContinueOnError)
	c.flags.SetOutput(io.Discard)
	c.flags.StringVar(&c.config, "config", "", "the configuration `FILE`; default "+agent.DefaultConfigFile+", then s3apu/config.toml in $XDG_CONFIG_HOME or ~/.config")
	setupFor(cmd.name)(c.flags)
	for {
		if err := c.flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				c.help(name, cmd)
				return err
			}
			return usageError("read the arguments", "", "%v; %s -h explains", err, name)
		}
		if c.flags.NArg() == 0 {
			break
		}
		rest := c.flags.Args()
		if len(args) > len(rest) && args[len(args)-len(rest)-1] == "--" {
			c.args = append(c.args, rest...)
			break
		}
		c.args = append(c.args, rest[0])
		args = rest[1:]
	}
	return cmd.run(ctx, c)
}

func (c *call) help(name string, cmd command) {
	fmt.Fprintf(c.Out, "%s\n\n    %s\n", cmd.short, strings.TrimSpace(name+" "+cmd.args))
	if cmd.long != "" {
		fmt.Fprintf(c.Out, "\n%s\n", strings.Trim(cmd.long, "\n"))
	}
	fmt.Fprintln(c.Out)
	c.flags.VisitAll(func(f *flag.Flag) {
		arg, text := flag.UnquoteUsage(f)
		fmt.Fprintf(c.Out, "    %-26s %s\n", strings.TrimSpace("--"+f.Name+" "+arg), text)
	})
}

// overview lists the commands whose names begin so.
func (c *call) overview(w io.Writer, name, begin string) {
	fmt.Fprintf(w, "%s keeps an S3 bucket equal to local folders, continuously.\n\n", name)
	for _, cmd := range agentCommands() {
		if strings.HasPrefix(cmd.name, begin) {
			fmt.Fprintf(w, "    %-30s %s\n", strings.TrimSpace(cmd.name+" "+shortArgs(cmd)), cmd.short)
		}
	}
	fmt.Fprintf(w, "\nEvery command takes --config FILE and explains itself with -h.\n")
}

// shortArgs are the arguments of a command where they fit into the overview.
func shortArgs(cmd command) string {
	if len(cmd.name)+len(cmd.args) < 30 {
		return cmd.args
	}
	return "…"
}

// loadConfig reads the configuration that --config names, or the one at the usual places.
func (c *call) loadConfig() (*agent.Config, error) {
	file := c.config
	if file == "" {
		file = agent.FindConfigFile(c.getenv)
	}
	return agent.Load(file, c.env)
}

func (c *call) getenv(name string) string {
	for _, kv := range c.env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// usageError is an error of the person who called.
func usageError(op, object, format string, args ...any) error {
	return &protocol.Error{Op: op, Object: object, Kind: protocol.KindUsage, Err: fmt.Errorf(format, args...)}
}
