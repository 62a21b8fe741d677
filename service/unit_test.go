package service

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files again")

func TestUnitIsTheGoldenOne(t *testing.T) {
	base := Config{Name: "s3apu", Description: "Keeps an S3 bucket equal to local folders", Executable: "/usr/local/bin/s3apu-agent",
		ConfigFile: "/etc/s3apu/config.toml", BadConfigExit: 2}
	user := base
	user.PerUser = true
	user.ConfigFile = "/home/ann/.config/s3apu/config.toml"
	odd := Config{Name: "odd", User: "cams", ReadAll: true, Description: "100% sure",
		Executable: `/opt/my apps/50%/agent`, ConfigFile: `/etc/a "b" $HOME\x %n.toml`}
	for name, cfg := range map[string]Config{"system": base, "user": user, "odd": odd} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".service")
			got := Unit(cfg)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the unit differs from %s; if that is meant: go test ./service -update\n%s", file, got)
			}
			if !strings.HasPrefix(got, marker) {
				t.Error("the unit does not begin with its marker, so it would not be recognised as ours")
			}
			for _, never := range []string{"RestartSec=120", "@", "{{"} {
				if strings.Contains(got, never) {
					t.Errorf("the unit holds %q", never)
				}
			}
		})
	}
}

// TestUnitPleasesSystemd lets systemd itself read the unit: misspelt settings, bad quoting, missing programs.
func TestUnitPleasesSystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not here, so systemd cannot be asked")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, cfg := range []Config{
		{Name: "s3apu", User: "daemon", Executable: program, ConfigFile: "/etc/s3apu/config.toml", BadConfigExit: 2},
		{Name: "s3apu-odd", User: "daemon", ReadAll: true, Executable: program, ConfigFile: `/etc/a "b" $HOME\x %n.toml`, Description: "100% sure"},
		{Name: "s3apu-user", PerUser: true, Executable: program, ConfigFile: "/home/ann/c.toml"},
	} {
		file := filepath.Join(dir, cfg.Name+".service")
		if err := os.WriteFile(file, []byte(Unit(cfg)), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file)
		out, err := cmd.CombinedOutput()
		// Units of the machine itself are checked along; only what names ours counts.
		var ours []string
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, cfg.Name+".service") {
				ours = append(ours, line)
			}
		}
		if len(ours) > 0 || err != nil && strings.Contains(string(out), cfg.Name) {
			t.Errorf("%s: %v\n%s", cfg.Name, err, out)
		}
	}
}

func TestWhatCannotBeAServiceIsRefused(t *testing.T) {
	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := Config{Name: "s3apu", Executable: program, ConfigFile: config}
	tests := []struct {
		name   string
		change func(*Config)
		reason error
		says   string
	}{
		{"as it should be", func(*Config) {}, nil, ""},
		{"no configuration", func(c *Config) { c.ConfigFile += "x" }, ErrNoConfig, "s3apu-agent init --config " + config + "x"},
		{"a folder as configuration", func(c *Config) { c.ConfigFile = dir }, ErrBadConfig, "not a file"},
		{"relative configuration", func(c *Config) { c.ConfigFile = "config.toml" }, ErrBadConfig, "absolute"},
		{"no program", func(c *Config) { c.Executable += "x" }, ErrBadConfig, "no such file"},
		{"a folder as program", func(c *Config) { c.Executable = dir }, ErrBadConfig, "not a program"},
		{"a dollar in the program", func(c *Config) { c.Executable = "/a$b" }, ErrBadConfig, "holds a $"},
		{"a line break", func(c *Config) { c.Description = "a\nExecStart=/bin/evil" }, ErrBadConfig, "control character"},
		{"braces", func(c *Config) { c.ConfigFile = "/{{x}}" }, ErrBadConfig, "{{"},
		{"a bad name", func(c *Config) { c.Name = "../x" }, ErrBadConfig, "cannot be a name"},
		{"a bad user", func(c *Config) { c.User = "-x" }, ErrBadConfig, "cannot be a name"},
	}
	for _, tt := range tests {
		cfg := good
		tt.change(&cfg)
		err := cfg.withDefaults().check()
		switch {
		case tt.reason == nil:
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		case !errors.Is(err, tt.reason), !strings.Contains(err.Error(), tt.says), strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: got %v, want %v with %q", tt.name, err, tt.reason, tt.says)
		}
	}
}
