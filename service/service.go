package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/kardianos/service"
)

// Config describes the service. Only Name, Executable and ConfigFile have no default.
type Config struct {
	// Name is that of the unit and of the folders below /var/lib, /run, /var/log and /etc: lower-case letters, digits
	// and dashes.
	Name        string
	DisplayName string // a few words; Name if empty
	Description string // one line; DisplayName if empty

	Executable string // the program; absolute
	ConfigFile string // absolute; handed to the program as "run --config FILE"

	// User is the system user that the service runs as; Name if empty. Install makes it if it is missing. Not used on
	// Windows and with PerUser.
	User string

	// PerUser installs a service of the calling user that needs no root: it runs while that user has a session, or
	// always after "loginctl enable-linger".
	PerUser bool

	// ReadAll lets the service read every file of the machine (CAP_DAC_READ_SEARCH), for folders whose writers do not
	// give read access to anyone. Linux only.
	ReadAll bool

	// Folders are read and Writes are written by the service (watched folders; state, logs). Install makes the missing
	// ones of Writes for User and reports what User has no access to.
	Folders, Writes []string

	// BadConfigExit is the exit code that says that the configuration is wrong: the service is then not started again
	// until a person does it. 0: none.
	BadConfigExit int

	// ExitCode tells the exit code that the process will end with when the function given to Run returns err. Needed on
	// Windows only, where a service that ended with BadConfigExit must stay down.
	ExitCode func(err error) int
}

// Reasons that errors of this package wrap, to be told apart with [errors.Is].
var (
	ErrNoManager    = errors.New("no supported service manager is running here")
	ErrPermission   = errors.New("not permitted")
	ErrNotInstalled = errors.New("the service is not installed")
	ErrForeign      = errors.New("a service of this name was installed by something else")
	ErrNoConfig     = errors.New("the configuration does not exist")
	ErrBadConfig    = errors.New("the service cannot be described")
)

// Error is what every function of this package returns: what was being done, why it did not work, what to do.
type Error struct {
	Op   string // "install", "start", …
	Name string // of the service
	Err  error
	Hint string // may be empty
}

// Error returns one line.
func (e *Error) Error() string {
	s := e.Op + " " + e.Name + ": " + e.Err.Error()
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return strings.ReplaceAll(strings.TrimSpace(s), "\n", " ")
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// State is what the service manager knows about the service.
type State struct {
	Installed bool
	Running   bool
	Enabled   bool // it is started at boot
	PID       int  // 0 if it does not run or the system does not tell
	Since     time.Time
	Restarts  int    // how often the manager has started it again by itself
	Note      string // what a person should know: why it does not run and what to do, what it says of itself; or ""
}

// String returns one line for people: "running since 2026-11-22 17:54:01 (pid 812), starts at boot".
func (s State) String() string {
	var b strings.Builder
	switch {
	case !s.Installed:
		b.WriteString("not installed")
	case s.Running:
		b.WriteString("running")
	default:
		b.WriteString("not running")
	}
	if !s.Since.IsZero() {
		b.WriteString(" since " + s.Since.Local().Format(time.DateTime))
	}
	if s.PID != 0 {
		fmt.Fprintf(&b, " (pid %d)", s.PID)
	}
	switch {
	case s.Installed && s.Enabled:
		b.WriteString(", starts at boot")
	case s.Installed:
		b.WriteString(", does not start at boot")
	}
	if s.Restarts > 0 {
		fmt.Fprintf(&b, ", restarts: %d", s.Restarts)
	}
	if s.Note != "" {
		b.WriteString("; " + s.Note)
	}
	return b.String()
}

// Install makes the service known to the service manager and starts it at every boot from now on; it does not start it
// now. Installed again, it brings the unit up to date. It refuses when ConfigFile does not exist. The report has a line
// for everything that was done and for everything that the caller should know. The context is looked at between steps;
// a step that has begun is finished.
func Install(ctx context.Context, cfg Config) (report []string, err error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return install(ctx, cfg)
}

// Uninstall stops the service and takes it from the service manager. The report says what was left in place.
func Uninstall(ctx context.Context, cfg Config) (report []string, err error) {
	return uninstall(ctx, cfg.withDefaults())
}

// Start starts the service and returns when it has said that it is ready, or why it is not.
func Start(ctx context.Context, cfg Config) error {
	return control(ctx, cfg.withDefaults(), "start", service.Service.Start)
}

// Stop stops the service and returns when its process has ended. A service that does not run is left so.
func Stop(ctx context.Context, cfg Config) error {
	return control(ctx, cfg.withDefaults(), "stop", service.Service.Stop)
}

// Restart stops the service if it runs, and starts it.
func Restart(ctx context.Context, cfg Config) error {
	return control(ctx, cfg.withDefaults(), "restart", service.Service.Restart)
}

// Status asks the service manager; it needs no special rights. A service that is not installed is a State, not an error.
func Status(ctx context.Context, cfg Config) (State, error) {
	return status(ctx, cfg.withDefaults())
}

func (c Config) withDefaults() Config {
	if c.DisplayName == "" {
		c.DisplayName = c.Name
	}
	if c.Description == "" {
		c.Description = c.DisplayName
	}
	if c.User == "" {
		c.User = c.Name
	}
	return c
}

// nameForm is what useradd(8), unit names (systemd.unit(5)), launchd and Windows all take.
var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// check looks at the description only as far as it does not depend on the system.
func (c Config) check() error {
	refuse := func(reason error, text, hint string) error {
		return &Error{Op: "install", Name: c.Name, Err: fmt.Errorf("%w: %s", reason, text), Hint: hint}
	}
	for _, name := range []string{c.Name, c.User} {
		if !nameForm.MatchString(name) {
			return refuse(ErrBadConfig, fmt.Sprintf("%q cannot be a name", name),
				"use up to 31 lower-case letters, digits and dashes, a letter first")
		}
	}
	for _, text := range []string{c.DisplayName, c.Description, c.Executable, c.ConfigFile} {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.Contains(text, "{{") {
			return refuse(ErrBadConfig, fmt.Sprintf("%q holds a control character or {{", text), "use a plainer name")
		}
	}
	for _, path := range []string{c.Executable, c.ConfigFile} {
		if !filepath.IsAbs(path) {
			return refuse(ErrBadConfig, fmt.Sprintf("%q is not an absolute path", path), "")
		}
	}
	if strings.Contains(c.Executable, "$") {
		return refuse(ErrBadConfig, fmt.Sprintf("%q holds a $", c.Executable), "put the program elsewhere")
	}
	if st, err := os.Stat(c.Executable); err != nil {
		return refuse(ErrBadConfig, err.Error(), "")
	} else if !st.Mode().IsRegular() {
		return refuse(ErrBadConfig, c.Executable+" is not a program", "")
	}
	st, err := os.Stat(c.ConfigFile)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return refuse(ErrNoConfig, c.ConfigFile, "write one first: s3apu-agent init --config "+c.ConfigFile)
	case err != nil:
		return refuse(ErrBadConfig, err.Error(), "")
	case !st.Mode().IsRegular():
		return refuse(ErrBadConfig, c.ConfigFile+" is not a file", "")
	}
	return nil
}

// program is what kardianos/service wants to be told about a process that only installs or controls the service.
type program struct{}

func (program) Start(service.Service) error { return nil }
func (program) Stop(service.Service) error  { return nil }
