package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kardianos/service"
)

// systemd does the work of one call for one service. The paths are fields so that tests can move them.
type systemd struct {
	cfg    Config
	op     string
	booted string // exists where systemd runs: /run/systemd/system, see sd_booted(3)
	unit   string // the unit's file
	root   bool   // the caller may change the machine
	report []string
}

func newSystemd(cfg Config, op string) *systemd {
	s := &systemd{cfg: cfg, op: op, booted: "/run/systemd/system", root: os.Geteuid() == 0,
		unit: "/etc/systemd/system/" + cfg.Name + ".service"}
	if cfg.PerUser {
		// kardianos/service writes below $HOME, whatever XDG_CONFIG_HOME says. An unset HOME is refused below.
		s.unit = filepath.Join(os.Getenv("HOME"), ".config/systemd/user", cfg.Name+".service")
		s.booted = filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "systemd")
	}
	return s
}

func install(ctx context.Context, cfg Config) ([]string, error) {
	s := newSystemd(cfg, "install")
	err := s.install(ctx)
	return s.report, err
}

func uninstall(ctx context.Context, cfg Config) ([]string, error) {
	s := newSystemd(cfg, "uninstall")
	err := s.uninstall(ctx)
	return s.report, err
}

func (s *systemd) fail(err error, hint string) error {
	return &Error{Op: s.op, Name: s.cfg.Name, Err: err, Hint: hint}
}

func (s *systemd) say(format string, args ...any) {
	s.report = append(s.report, fmt.Sprintf(format, args...))
}

// ready says what the machine or the caller lacks.
func (s *systemd) ready(change bool) error {
	self := "run \"s3apu-agent run\" under the supervisor of your choice, restarted whenever it ends"
	_, err := os.Stat(s.booted)
	switch {
	case s.cfg.PerUser && (os.Getenv("XDG_RUNTIME_DIR") == "" || os.Getenv("HOME") == "" || err != nil):
		return s.fail(fmt.Errorf("%w: no systemd of your own user", ErrNoManager),
			"log in with a session of your own, or ask for one at boot: sudo loginctl enable-linger $USER")
	case err != nil:
		return s.fail(fmt.Errorf("%w: no systemd (%s is missing)", ErrNoManager, s.booted), self)
	case change && !s.cfg.PerUser && !s.root:
		return s.fail(fmt.Errorf("%w: changing services takes root", ErrPermission), "try again with sudo")
	}
	if _, err := exec.LookPath("systemctl"); err != nil {
		return s.fail(fmt.Errorf("%w: systemctl is not on PATH", ErrNoManager), self)
	}
	return nil
}

func (s *systemd) install(ctx context.Context) error {
	if err := s.ready(true); err != nil {
		return err
	}
	st, err := s.show(ctx)
	if err != nil {
		return err
	}
	if from := st["FragmentPath"]; from != "" && from != s.unit {
		return s.fail(fmt.Errorf("%w: %s", ErrForeign, from), "use it as it is: sudo systemctl enable --now "+s.cfg.Name)
	}
	old, err := os.ReadFile(s.unit)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return s.fail(err, "")
	}
	if err == nil && !bytes.HasPrefix(old, []byte(marker)) {
		return s.fail(fmt.Errorf("%w: %s", ErrForeign, s.unit), "move that file away first")
	}
	if !s.cfg.PerUser {
		if err := s.prepareUser(ctx); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return s.fail(err, "")
	}
	return s.writeUnit(ctx, old)
}

// writeUnit puts the unit in place and enables it. If that fails, what was there before is back.
func (s *systemd) writeUnit(ctx context.Context, old []byte) error {
	text := Unit(s.cfg)
	svc, err := s.manager(text)
	if err != nil {
		return err
	}
	if old != nil { // kardianos/service does not write over a unit.
		if err := os.Remove(s.unit); err != nil {
			return s.fail(err, "")
		}
	}
	if err := svc.Install(); err != nil {
		undone := os.Remove(s.unit)
		if old != nil {
			undone = os.WriteFile(s.unit, old, 0o644)
		}
		_, reload := s.systemctl(ctx, "daemon-reload")
		return s.fail(errors.Join(err, undone, reload), "see: journalctl -b -n 20")
	}
	switch {
	case old == nil:
		s.say("wrote %s; it starts at every boot", s.unit)
	case string(old) == text:
		s.say("%s was up to date", s.unit)
	default:
		s.say("brought %s up to date; a running service takes it over with: s3apu-agent restart", s.unit)
	}
	return nil
}

func (s *systemd) uninstall(ctx context.Context) error {
	if err := s.ready(true); err != nil {
		return err
	}
	old, err := os.ReadFile(s.unit)
	if errors.Is(err, os.ErrNotExist) {
		return s.fail(ErrNotInstalled, "")
	}
	if err != nil {
		return s.fail(err, "")
	}
	if !bytes.HasPrefix(old, []byte(marker)) {
		return s.fail(fmt.Errorf("%w: %s", ErrForeign, s.unit), "remove it by the means that installed it")
	}
	svc, err := s.manager(string(old))
	if err != nil {
		return err
	}
	if err := svc.Stop(); err != nil {
		return s.fail(fmt.Errorf("it could not be stopped: %w", err), s.journal())
	}
	if err := svc.Uninstall(); err != nil {
		return s.fail(err, s.journal())
	}
	// A service that ended badly is remembered until this; without a memory of it the command fails, which is fine.
	_, _ = s.systemctl(ctx, "reset-failed", s.cfg.Name+".service")
	s.say("stopped it and removed %s", s.unit)
	if s.cfg.PerUser {
		s.say("kept: the configuration and the state")
	} else {
		s.say("kept: the configuration, the state below /var/lib/%s, the logs and the system user %s", s.cfg.Name, s.cfg.User)
	}
	return nil
}

func control(ctx context.Context, cfg Config, op string, do func(service.Service) error) error {
	s := newSystemd(cfg, op)
	if err := s.ready(true); err != nil {
		return err
	}
	st, err := s.show(ctx)
	if err != nil {
		return err
	}
	if st["LoadState"] == "not-found" {
		return s.fail(ErrNotInstalled, "s3apu-agent install")
	}
	svc, err := s.manager("")
	if err != nil {
		return err
	}
	if err := do(svc); err != nil {
		if st, showErr := s.show(ctx); showErr == nil {
			if note := note(s.cfg, st); note != "" {
				err = errors.New(note)
			}
		}
		return s.fail(err, s.journal())
	}
	return nil
}

// manager returns kardianos/service's view of the service. It is asked for systemd by name, because it would otherwise
// take the first system that it believes to see.
func (s *systemd) manager(unit string) (service.Service, error) {
	for _, system := range service.AvailableSystems() {
		if system.String() != "linux-systemd" {
			continue
		}
		svc, err := system.New(program{}, &service.Config{
			Name:        s.cfg.Name,
			DisplayName: s.cfg.DisplayName,
			Description: s.cfg.Description,
			Executable:  s.cfg.Executable,
			Option:      service.KeyValue{"SystemdScript": unit, "UserService": s.cfg.PerUser},
		})
		if err != nil {
			return nil, s.fail(err, "")
		}
		return svc, nil
	}
	return nil, s.fail(ErrNoManager, "")
}

// systemctl returns what the command printed. Its error carries what it complained of.
func (s *systemd) systemctl(ctx context.Context, args ...string) (string, error) {
	if s.cfg.PerUser {
		args = append([]string{"--user"}, args...)
	}
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", "SYSTEMD_COLORS=0")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		if text := strings.TrimSpace(complaint.String()); text != "" {
			err = errors.New(text)
		}
		return "", fmt.Errorf("systemctl %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}

// journal is the hint that shows what the service itself said.
func (s *systemd) journal() string {
	if s.cfg.PerUser {
		return "its own words: journalctl --user -u " + s.cfg.Name + " -n 20"
	}
	return "its own words: sudo journalctl -u " + s.cfg.Name + " -n 20"
}
