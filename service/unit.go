package service

import (
	_ "embed"
	"strconv"
	"strings"
)

// The units as they are written, with @NAME@ where a value goes: system.unit for the machine, user.unit for PerUser.
var (
	//go:embed system.unit
	systemUnit string
	//go:embed user.unit
	userUnit string
)

// marker begins every unit of ours; a unit without it is somebody else's and is left alone.
const marker = "# Written by s3apu-agent install."

// Unit returns the systemd unit that [Install] writes for cfg, for people who want to see it first or install it by
// other means.
func Unit(cfg Config) string {
	cfg = cfg.withDefaults()
	text := systemUnit
	if cfg.PerUser {
		text = userUnit
	}
	return strings.NewReplacer(
		"@MARKER@", marker,
		"@NAME@", cfg.Name,
		"@DESCRIPTION@", specifiers(cfg.Description),
		"@EXEC@", word(cfg.Executable)+" run --config "+word(cfg.ConfigFile),
		"@USER@", cfg.User,
		"@READ_ALL@", readAll(cfg.ReadAll),
		"@NO_RESTART@", noRestart(cfg.BadConfigExit),
	).Replace(text)
}

// readAll returns the ambient capabilities besides CAP_LEASE.
func readAll(yes bool) string {
	if yes {
		return " CAP_DAC_READ_SEARCH"
	}
	return ""
}

func noRestart(code int) string {
	if code == 0 {
		return "# No exit code keeps the service down."
	}
	return "RestartPreventExitStatus=" + strconv.Itoa(code)
}

// specifiers keeps systemd from expanding % (systemd.unit(5), "Specifiers").
func specifiers(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// word writes s as one word of a command line (systemd.service(5), "Command lines", and systemd.syntax(7), "Quoting"):
// quoted, with %, $, backslash and quote taken literally. The program's own path must be without $, which systemd does not
// treat alike there; Config.check refuses it.
func word(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `$$`, `%`, `%%`).Replace(s) + `"`
}
