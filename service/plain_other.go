//go:build !linux

package service

import (
	"context"
	"errors"
	"runtime"

	"github.com/kardianos/service"
)

// manager is the service manager of the system in the form that kardianos/service offers: launchd on macOS, the service
// control manager on Windows.
func manager(cfg Config, op string) (service.Service, error) {
	if service.ChosenSystem() == nil || runtime.GOOS != "darwin" && runtime.GOOS != "windows" {
		return nil, &Error{Op: op, Name: cfg.Name, Err: ErrNoManager,
			Hint: "run \"s3apu-agent run\" under the supervisor of your choice, restarted whenever it ends"}
	}
	c := &service.Config{
		Name:        cfg.Name,
		DisplayName: cfg.DisplayName,
		Description: cfg.Description,
		Executable:  cfg.Executable,
		Arguments:   []string{"run", "--config", cfg.ConfigFile},
		Option: service.KeyValue{
			"RunAtLoad":              true,
			"UserService":            cfg.PerUser,
			"OnFailure":              "restart",
			"OnFailureDelayDuration": "2s",
			"OnFailureResetPeriod":   60, // s, a guess
		},
	}
	svc, err := service.New(program{}, c)
	if err != nil {
		return nil, &Error{Op: op, Name: cfg.Name, Err: err}
	}
	return svc, nil
}

// explain wraps what the service manager said.
func explain(cfg Config, op string, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Op: op, Name: cfg.Name, Err: err, Hint: "changing services takes the rights of an administrator"}
	if errors.Is(err, service.ErrNotInstalled) {
		e.Err, e.Hint = ErrNotInstalled, "s3apu-agent install"
	}
	return e
}

func install(_ context.Context, cfg Config) ([]string, error) {
	svc, err := manager(cfg, "install")
	if err != nil {
		return nil, err
	}
	if err := svc.Install(); err != nil {
		return nil, explain(cfg, "install", err)
	}
	report := []string{"told " + svc.Platform() + " about " + cfg.Name + "; it starts at every boot"}
	if runtime.GOOS == "darwin" && !cfg.PerUser {
		report = append(report, "note: it runs as root, because macOS has no command that makes a system user")
	}
	return report, nil
}

func uninstall(_ context.Context, cfg Config) ([]string, error) {
	svc, err := manager(cfg, "uninstall")
	if err != nil {
		return nil, err
	}
	if st, err := svc.Status(); err != nil {
		return nil, explain(cfg, "uninstall", err)
	} else if st == service.StatusRunning {
		if err := svc.Stop(); err != nil {
			return nil, explain(cfg, "uninstall", err)
		}
	}
	if err := svc.Uninstall(); err != nil {
		return nil, explain(cfg, "uninstall", err)
	}
	return []string{"stopped and removed it", "kept: the configuration, the state and the logs"}, nil
}

func control(_ context.Context, cfg Config, op string, do func(service.Service) error) error {
	svc, err := manager(cfg, op)
	if err != nil {
		return err
	}
	if op == "stop" { // A service that does not run is left so.
		st, err := svc.Status()
		if err != nil {
			return explain(cfg, op, err)
		}
		if st == service.StatusStopped {
			return nil
		}
	}
	return explain(cfg, op, do(svc))
}

func status(_ context.Context, cfg Config) (State, error) {
	svc, err := manager(cfg, "status")
	if err != nil {
		return State{}, err
	}
	st, err := svc.Status()
	switch {
	case errors.Is(err, service.ErrNotInstalled):
		return State{Note: "s3apu-agent install makes it a service"}, nil
	case err != nil:
		return State{}, explain(cfg, "status", err)
	}
	return State{Installed: true, Enabled: true, Running: st == service.StatusRunning}, nil
}
