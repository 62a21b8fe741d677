package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"s3apu/agent"
	"s3apu/service"
)

// gcPercent is how much the heap may grow between two collections (GOGC). The agent's heap is small, so collecting twice
// as often as usual costs little and keeps the peak memory from depending on the size of the tree.
const gcPercent = 50

// ballast is memory that is counted as part of the heap and never touched, so that it takes room in no page. With it the heap may
// grow by 6 MiB between two collections also where it holds 4 MiB only; without, each thousand small files cost 16 collections
// (docs/design/0012). Where the heap is large it makes a difference of 4 MiB: a limit on memory would collect without end there.
// In bytes.
const ballast = 8 << 20

const runHelp = `
Logs to stderr. SIGTERM and Ctrl-C end it in order; what is pending then is on disk and goes on at the next start. It ends by
itself only where trying again does not help, with the code that says why: 2 configuration, 4 another agent runs, 5 a folder
or a permission is missing.`

// runRun is "s3apu-agent run": the agent in the foreground, until SIGTERM or SIGINT.
func runRun(ctx context.Context, c *call) error {
	if len(c.args) > 0 {
		return usageError("read the arguments", c.args[0], "run takes no arguments")
	}
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	if err := cfg.CheckRun(); err != nil {
		return err
	}
	logs, err := agent.OpenLogs(cfg.Log, c.Err)
	if err != nil {
		return err
	}
	defer func() { _ = logs.Close() }() // the lines are written; there is nobody left to tell
	for _, w := range cfg.Warnings(ctx, c.getenv) {
		logs.Main.Warn("open to others", "what", w)
	}
	debug.SetGCPercent(gcPercent)
	defer runtime.KeepAlive(make([]byte, ballast))
	a, err := agent.New(ctx, cfg, agent.Options{Logs: logs, Version: Version()})
	if err != nil {
		return err
	}
	return service.Run(ctx, service.Config{Name: serviceName, BadConfigExit: ExitUsage, ExitCode: exitCode}, a.Run)
}

// Version names what runs: the module's version, and the commit it was built from where that is known.
func Version() string {
	version, commit := "devel", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "" && v != "(devel)" {
			version = v
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				commit = ", commit " + s.Value[:12]
			}
		}
	}
	return fmt.Sprintf("%s (%s, %s/%s%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, commit)
}

func runVersion(_ context.Context, c *call) error {
	fmt.Fprintln(c.Out, "s3apu-agent", Version())
	return nil
}
