package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"s3apu/agent"
	"s3apu/protocol"
	"s3apu/service"
)

// serviceName is that of the unit, of the system user, and of the folders below /etc, /var/lib and /run.
const serviceName = "s3apu"

// serviceConfig describes the service; the configuration is read where it is needed and there.
func (c *call) serviceConfig(needConfig bool) (service.Config, error) {
	exe, err := os.Executable()
	if err != nil {
		return service.Config{}, err
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	s := service.Config{
		Name: serviceName, DisplayName: "s3apu-agent", Description: "Keeps an S3 bucket equal to local folders",
		Executable: exe, ConfigFile: c.config, BadConfigExit: ExitUsage, ExitCode: exitCode,
	}
	if f := c.flags.Lookup("per-user"); f != nil {
		s.PerUser = f.Value.String() == "true"
	}
	if s.ConfigFile == "" {
		s.ConfigFile = agent.FindConfigFile(c.getenv)
	}
	if s.ConfigFile, err = filepath.Abs(s.ConfigFile); err != nil {
		return s, err
	}
	if !needConfig {
		return s, nil
	}
	cfg, err := agent.Load(s.ConfigFile, c.env)
	if err != nil {
		return s, err
	}
	for _, f := range cfg.Folders {
		s.Folders = append(s.Folders, f.Path)
	}
	s.Writes = []string{cfg.StateDir}
	if cfg.Log.Folder != "" {
		s.Writes = append(s.Writes, cfg.Log.Folder)
	}
	return s, nil
}

// serviceError gives an error of the service room the kind that its exit code needs.
func serviceError(err error) error {
	var e *service.Error
	if !errors.As(err, &e) {
		return err
	}
	kind := protocol.KindUnknown
	switch {
	case errors.Is(err, service.ErrNoConfig), errors.Is(err, service.ErrBadConfig), errors.Is(err, service.ErrForeign):
		kind = protocol.KindUsage
	case errors.Is(err, service.ErrPermission), errors.Is(err, service.ErrNoManager), errors.Is(err, service.ErrNotInstalled):
		kind = protocol.KindLocal
	}
	return &protocol.Error{Op: e.Op, Object: e.Name, Kind: kind, Err: e.Err, Hint: e.Hint}
}

const installHelp = `
Writes the service with the program where it is now and the configuration that --config names, and has it start at boot; then:
s3apu-agent start. It runs as a system user of its own, who must be able to read the watched folders, or as --user, or with
--read-all. Called again, it brings the service up to date. Keys as S3APU_… variables go into /etc/s3apu/environment.`

func runInstall(ctx context.Context, c *call) error {
	s, err := c.serviceConfig(true)
	if err != nil {
		return err
	}
	s.User, s.ReadAll = stringFlag(c, "user"), boolFlag(c, "read-all")
	report, err := service.Install(ctx, s)
	for _, line := range report {
		fmt.Fprintln(c.Out, line)
	}
	return serviceError(err)
}

func runUninstall(ctx context.Context, c *call) error {
	s, err := c.serviceConfig(false)
	if err != nil {
		return err
	}
	report, err := service.Uninstall(ctx, s)
	for _, line := range report {
		fmt.Fprintln(c.Out, line)
	}
	return serviceError(err)
}

func runStart(ctx context.Context, c *call) error { return c.control(ctx, service.Start, "started") }
func runStop(ctx context.Context, c *call) error  { return c.control(ctx, service.Stop, "stopped") }
func runRestart(ctx context.Context, c *call) error {
	return c.control(ctx, service.Restart, "restarted")
}

func (c *call) control(ctx context.Context, do func(context.Context, service.Config) error, done string) error {
	s, err := c.serviceConfig(false)
	if err != nil {
		return err
	}
	if err := do(ctx, s); err != nil {
		return serviceError(err)
	}
	fmt.Fprintln(c.Out, done)
	return nil
}

// runStatus tells about the service, and asks the agent how it fares if one answers, with or without a service.
func runStatus(ctx context.Context, c *call) error {
	s, err := c.serviceConfig(false)
	if err != nil {
		return err
	}
	state, err := service.Status(ctx, s)
	if err != nil {
		fmt.Fprintln(c.Out, "service:", serviceError(err))
	} else {
		fmt.Fprintln(c.Out, "service:", state)
	}
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	client, err := dialAgent(ctx, cfg)
	if err != nil {
		fmt.Fprintln(c.Out, "agent:   does not answer")
		return err
	}
	defer func() { _ = client.Close() }() // nothing of ours is under way on it any more
	info, err := client.Info(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "agent:   up for %s, %d instructions in the queue\n", info.Uptime.Round(1e9), info.QSize)
	return c.printHealth(ctx, cfg)
}
