package service

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// shown are the properties that a State is made of (systemctl(1) show, org.freedesktop.systemd1(5)).
var shown = []string{"LoadState", "ActiveState", "SubState", "UnitFileState", "FragmentPath", "MainPID", "NRestarts",
	"Result", "ExecMainCode", "ExecMainStatus", "ActiveEnterTimestamp", "InactiveEnterTimestamp", "StatusText",
	"NeedDaemonReload"}

// show asks systemd. A unit that does not exist has LoadState "not-found".
func (s *systemd) show(ctx context.Context) (map[string]string, error) {
	out, err := s.systemctl(ctx, "show", "--no-pager", "-p", strings.Join(shown, ","), s.cfg.Name+".service")
	if err != nil {
		return nil, s.fail(err, "")
	}
	return properties(out), nil
}

// properties reads the Name=value lines of systemctl show.
func properties(out string) map[string]string {
	p := make(map[string]string)
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\n"), "="); ok {
			p[name] = value
		}
	}
	return p
}

func status(ctx context.Context, cfg Config) (State, error) {
	s := newSystemd(cfg, "status")
	if err := s.ready(false); err != nil {
		return State{}, err
	}
	p, err := s.show(ctx)
	if err != nil {
		return State{}, err
	}
	return state(cfg, p), nil
}

// state makes a State of what systemd said.
func state(cfg Config, p map[string]string) State {
	if p["LoadState"] == "not-found" {
		return State{Note: "s3apu-agent install makes it a service"}
	}
	st := State{
		Installed: true,
		Running:   p["ActiveState"] == "active" || p["ActiveState"] == "reloading",
		Enabled:   strings.HasPrefix(p["UnitFileState"], "enabled"),
		Note:      note(cfg, p),
	}
	st.PID = number(p["MainPID"])
	st.Restarts = number(p["NRestarts"])
	at := p["InactiveEnterTimestamp"]
	if st.Running {
		at = p["ActiveEnterTimestamp"]
	}
	// In the zone that systemctl was told; empty if it never happened.
	if since, err := time.Parse("Mon 2006-01-02 15:04:05 MST", at); err == nil {
		st.Since = since
	}
	return st
}

// number reads a count; what is not one counts as none.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// note says what a person should know, or nothing if all is well and the service says nothing of itself.
func note(cfg Config, p map[string]string) string {
	var said []string
	add := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	switch p["LoadState"] {
	case "masked":
		add("it is masked; systemctl unmask %s frees it", cfg.Name)
	case "error", "bad-setting":
		add("systemd cannot read its unit %s; s3apu-agent install writes it again", p["FragmentPath"])
	}
	switch p["ActiveState"] {
	case "activating":
		if p["SubState"] == "auto-restart" {
			add("it ended (%s) and is being started again", ending(p))
		} else {
			add("it is starting")
		}
	case "deactivating":
		add("it is stopping")
	case "failed":
		if code := number(p["ExecMainStatus"]); exited(p) && code != 0 && code == cfg.BadConfigExit {
			add("the configuration is wrong (exit code %d); s3apu-agent check says where, then s3apu-agent start", code)
		} else {
			add("it failed (%s)", ending(p))
		}
	}
	if p["NeedDaemonReload"] == "yes" {
		add("its unit was changed and not yet read; systemctl daemon-reload does it")
	}
	if text := p["StatusText"]; text != "" && p["ActiveState"] == "active" {
		add("%s", text)
	}
	return strings.Join(said, "; ")
}

// exited reports whether the process ended by itself: CLD_EXITED of waitid(2), the others are signals.
func exited(p map[string]string) bool { return p["ExecMainCode"] == "1" }

// ending says how the process ended.
func ending(p map[string]string) string {
	code := p["ExecMainStatus"]
	switch {
	case exited(p) && code == "203": // EXIT_EXEC of systemd.exec(5), "Process Exit Codes"
		return "the program could not be executed: is it there, and may the user run it?"
	case exited(p) && code == "217": // EXIT_USER
		return "its system user does not exist; s3apu-agent install makes it"
	case exited(p):
		return "exit code " + code
	case p["ExecMainCode"] == "2", p["ExecMainCode"] == "3": // CLD_KILLED, CLD_DUMPED
		return "killed by signal " + code
	case p["Result"] != "" && p["Result"] != "success":
		return p["Result"]
	}
	return "no reason known"
}
