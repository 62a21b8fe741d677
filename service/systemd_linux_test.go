package service

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stand makes a machine of one's own: a home, a runtime folder as if systemd ran, and a systemctl that writes down its
// arguments, answers "show" from the file show, and fails for the word in the file fail. It returns the folder.
func stand(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	script := `#!/bin/sh
cd "$(dirname "$0")/.." || exit 9
echo "$*" >>log
case "$* " in
*"$(cat fail) "*) echo "no such luck" >&2; exit 1 ;;
*show*) cat show ;;
esac
`
	for name, text := range map[string]string{"bin/systemctl": script, "show": "LoadState=loaded\n", "fail": "never-this",
		"run/systemd/x": "", "config.toml": "", "home/x": ""} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	t.Setenv("HOME", filepath.Join(dir, "home"))
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, "run"))
	return dir
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func calls(t *testing.T, dir string) string {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

func perUser(t *testing.T, dir string) Config {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Config{Name: "s3apu", PerUser: true, Executable: program, ConfigFile: filepath.Join(dir, "config.toml"), BadConfigExit: 2}
}

func TestInstallTwiceThenUninstall(t *testing.T) {
	dir := stand(t)
	cfg := perUser(t, dir)
	unit := filepath.Join(dir, "home/.config/systemd/user/s3apu.service")

	report, err := Install(t.Context(), cfg)
	if err != nil || len(report) != 1 || !strings.Contains(report[0], "wrote "+unit) {
		t.Fatalf("install: %q, %v", report, err)
	}
	if got, err := os.ReadFile(unit); err != nil || string(got) != Unit(cfg) {
		t.Fatalf("the unit is not ours: %v\n%s", err, got)
	}
	for _, want := range []string{"enable --user s3apu.service", "daemon-reload --user"} {
		if log := calls(t, dir); !strings.Contains(log, want) {
			t.Errorf("systemctl %s was not called:\n%s", want, log)
		}
	}

	report, err = Install(t.Context(), cfg)
	if err != nil || len(report) != 1 || !strings.Contains(report[0], "was up to date") {
		t.Errorf("the same again: %q, %v", report, err)
	}
	cfg.BadConfigExit = 3
	report, err = Install(t.Context(), cfg)
	if err != nil || len(report) != 1 || !strings.Contains(report[0], "brought") {
		t.Errorf("another unit: %q, %v", report, err)
	}

	// A failure leaves the unit that was there.
	write(t, filepath.Join(dir, "fail"), "enable")
	before, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	cfg.BadConfigExit = 4
	if _, err := Install(t.Context(), cfg); err == nil {
		t.Error("the failure was not told")
	}
	if after, err := os.ReadFile(unit); err != nil || string(after) != string(before) {
		t.Errorf("a failed install left another unit: %v\n%s", err, after)
	}
	write(t, filepath.Join(dir, "fail"), "never-this")

	report, err = Uninstall(t.Context(), cfg)
	if err != nil || len(report) != 2 {
		t.Errorf("uninstall: %q, %v", report, err)
	}
	if _, err := os.Stat(unit); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unit is still there: %v", err)
	}
	if _, err := Uninstall(t.Context(), cfg); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("uninstalled twice: %v", err)
	}
}

func TestAFirstInstallThatFailsLeavesNothing(t *testing.T) {
	dir := stand(t)
	write(t, filepath.Join(dir, "fail"), "enable")
	if _, err := Install(t.Context(), perUser(t, dir)); err == nil {
		t.Fatal("the failure was not told")
	}
	if _, err := os.Stat(filepath.Join(dir, "home/.config/systemd/user/s3apu.service")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unit was left behind: %v", err)
	}
}

func TestUnitsOfOthersAreLeftAlone(t *testing.T) {
	dir := stand(t)
	cfg := perUser(t, dir)
	unit := filepath.Join(dir, "home/.config/systemd/user/s3apu.service")
	if err := os.MkdirAll(filepath.Dir(unit), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, unit, "[Service]\nExecStart=/bin/true\n")
	if _, err := Install(t.Context(), cfg); !errors.Is(err, ErrForeign) {
		t.Errorf("install: %v", err)
	}
	if _, err := Uninstall(t.Context(), cfg); !errors.Is(err, ErrForeign) {
		t.Errorf("uninstall: %v", err)
	}
	if err := os.Remove(unit); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "show"), "LoadState=loaded\nFragmentPath=/usr/lib/systemd/user/s3apu.service\n")
	if _, err := Install(t.Context(), cfg); !errors.Is(err, ErrForeign) {
		t.Errorf("install over a package's unit: %v", err)
	}
}

func TestStartTellsWhyNot(t *testing.T) {
	dir := stand(t)
	cfg := perUser(t, dir)
	if err := Start(t.Context(), cfg); err != nil {
		t.Error(err)
	}
	if log := calls(t, dir); !strings.Contains(log, "start --user s3apu.service") {
		t.Errorf("not started:\n%s", log)
	}
	write(t, filepath.Join(dir, "fail"), "s3apu.service")
	write(t, filepath.Join(dir, "bin/systemctl"), "#!/bin/sh\ncase \"$*\" in *show*) cat "+dir+"/show;; *) exit 1;; esac\n")
	write(t, filepath.Join(dir, "show"), "LoadState=loaded\nActiveState=failed\nExecMainCode=1\nExecMainStatus=2\n")
	if err := os.Chmod(filepath.Join(dir, "bin/systemctl"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := Start(t.Context(), cfg)
	for _, want := range []string{"start s3apu: ", "configuration is wrong", "s3apu-agent check", "journalctl --user -u s3apu"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	write(t, filepath.Join(dir, "show"), "LoadState=not-found\nActiveState=inactive\n")
	for _, do := range []func(context.Context, Config) error{Start, Stop, Restart} {
		if err := do(t.Context(), cfg); !errors.Is(err, ErrNotInstalled) {
			t.Errorf("not installed: %v", err)
		}
	}
}

func TestWhatTheMachineLacksIsSaid(t *testing.T) {
	dir := stand(t)
	cfg := perUser(t, dir)
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, "nothing"))
	if _, err := Status(t.Context(), cfg); !errors.Is(err, ErrNoManager) || !strings.Contains(err.Error(), "enable-linger") {
		t.Errorf("no systemd of the user: %v", err)
	}
	s := newSystemd(Config{Name: "s3apu"}, "install")
	s.booted = filepath.Join(dir, "nothing")
	if err := s.ready(true); !errors.Is(err, ErrNoManager) || !strings.Contains(err.Error(), "s3apu-agent run") {
		t.Errorf("no systemd: %v", err)
	}
	s.booted, s.root = dir, false
	if err := s.ready(true); !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "sudo") {
		t.Errorf("not root: %v", err)
	}
	if err := s.ready(false); err != nil {
		t.Errorf("looking needs no root: %v", err)
	}
	t.Setenv("PATH", filepath.Join(dir, "nothing"))
	if err := s.ready(false); !errors.Is(err, ErrNoManager) {
		t.Errorf("no systemctl: %v", err)
	}
}

func TestStateFromWhatSystemdShows(t *testing.T) {
	cfg := Config{Name: "s3apu", BadConfigExit: 2}
	since := time.Date(2026, 11, 22, 17, 54, 1, 0, time.UTC).Local()
	tests := []struct{ name, shown, want string }{
		{"not there", "LoadState=not-found\nActiveState=inactive", "not installed; s3apu-agent install makes it a service"},
		{"running", "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nMainPID=812\nNRestarts=3\n" +
			"ActiveEnterTimestamp=Sun 2026-11-22 17:54:01 UTC\nStatusText=12 files wait\nExecMainCode=0\nExecMainStatus=0",
			"running since " + since.Format(time.DateTime) + " (pid 812), starts at boot, restarts: 3; 12 files wait"},
		{"stopped", "LoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\nMainPID=0\nInactiveEnterTimestamp=\nStatusText=old words",
			"not running, does not start at boot"},
		{"bad configuration", "LoadState=loaded\nActiveState=failed\nUnitFileState=enabled\nResult=exit-code\nExecMainCode=1\nExecMainStatus=2",
			"not running, starts at boot; the configuration is wrong (exit code 2); s3apu-agent check says where, then s3apu-agent start"},
		{"between two starts", "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nUnitFileState=enabled\nExecMainCode=2\nExecMainStatus=9",
			"not running, starts at boot; it ended (killed by signal 9) and is being started again"},
		{"no program", "LoadState=loaded\nActiveState=failed\nUnitFileState=enabled\nExecMainCode=1\nExecMainStatus=203",
			"not running, starts at boot; it failed (the program could not be executed: is it there, and may the user run it?)"},
		{"no user", "LoadState=loaded\nActiveState=failed\nUnitFileState=enabled\nExecMainCode=1\nExecMainStatus=217",
			"not running, starts at boot; it failed (its system user does not exist; s3apu-agent install makes it)"},
		{"timeout", "LoadState=loaded\nActiveState=failed\nUnitFileState=enabled\nResult=timeout",
			"not running, starts at boot; it failed (timeout)"},
		{"masked", "LoadState=masked\nActiveState=inactive\nUnitFileState=masked",
			"not running, does not start at boot; it is masked; systemctl unmask s3apu frees it"},
		{"starting, unit changed", "LoadState=loaded\nActiveState=activating\nSubState=start\nUnitFileState=enabled\nNeedDaemonReload=yes",
			"not running, starts at boot; it is starting; its unit was changed and not yet read; systemctl daemon-reload does it"},
	}
	for _, tt := range tests {
		if got := state(cfg, properties(tt.shown+"\n")).String(); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
	st := state(cfg, properties(tests[1].shown))
	if !st.Running || !st.Enabled || st.PID != 812 || !st.Since.Equal(since) || st.Restarts != 3 {
		t.Errorf("read as %+v", st)
	}
}

// TestConfigurationIsSharedWithTheServiceOnly needs root, because only root can give a file to a group.
func TestConfigurationIsSharedWithTheServiceOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to another group")
	}
	if _, err := exec.LookPath("test"); err != nil {
		t.Skip("no test(1) to ask the kernel with")
	}
	open, err := os.MkdirTemp("/tmp", "s3apu-service-") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(open) })
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(open, "config.toml")
	write(t, file, "")
	s := newSystemd(Config{Name: "s3apu", User: "nobody", ConfigFile: file, Writes: []string{"/var/lib/s3apu", filepath.Join(open, "a/b")}}, "install")
	who, err := s.credential()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.shareConfig(t.Context(), who); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o640 || len(s.report) != 1 {
		t.Errorf("mode %v, report %q, %v", st.Mode(), s.report, err)
	}
	if err := s.shareConfig(t.Context(), who); err != nil || len(s.report) != 1 {
		t.Errorf("shared twice: %q, %v", s.report, err)
	}
	for _, dir := range s.cfg.Writes {
		if err := s.ownFolder(t.Context(), who, dir); err != nil {
			t.Error(err)
		}
	}
	if st, err := os.Stat(filepath.Join(open, "a/b")); err != nil || st.Mode().Perm() != 0o700 || len(s.report) != 2 {
		t.Errorf("%v, report %q, %v", st, s.report, err)
	}
	if _, err := os.Stat("/var/lib/s3apu"); err == nil && len(s.report) != 2 {
		t.Error("the folder that systemd makes was made")
	}
	if err := os.Chmod(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.shareConfig(t.Context(), who); !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "/etc/s3apu/config.toml") {
		t.Errorf("a configuration out of reach: %v", err)
	}
}
