package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"s3apu/agent"
	"s3apu/protocol"
)

const initHelp = `
Writes a short configuration, and never over one that is there. Keys that are not asked for have the defaults of
config.example.toml; more folders are further [[folder]] sections, each with a prefix of its own. The file can be read by its
owner only, and without --config it is /etc/s3apu/config.toml. Secrets may be left out and given as S3APU_S3_ACCESS_KEY_ID and
S3APU_S3_SECRET_ACCESS_KEY.`

// runInit writes a configuration to start from.
func runInit(_ context.Context, c *call) error {
	if len(c.args) > 0 {
		return usageError("read the arguments", c.args[0], "init takes flags only")
	}
	file := c.config
	if file == "" {
		file = agent.DefaultConfigFile
	}
	text, err := initText(c)
	if err != nil {
		return err
	}
	cfg, err := agent.Parse(file, []byte(text))
	if err != nil {
		return err
	}
	cfg.S3.AccessKeyID, cfg.S3.SecretAccessKey = "", "" // the environment may have the other half
	if err := cfg.Check(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return &protocol.Error{Op: "make", Object: filepath.Dir(file), Kind: protocol.KindLocal, Err: err, Hint: "choose another place with --config FILE"}
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return usageError("write", file, "it is there already and stays as it is; remove it first, or name another with --config FILE")
	case err != nil:
		return &protocol.Error{Op: "write", Object: file, Kind: protocol.KindLocal, Err: err, Hint: "choose another place with --config FILE"}
	}
	_, err = f.WriteString(text)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return &protocol.Error{Op: "write", Object: file, Kind: protocol.KindLocal, Err: err}
	}
	fmt.Fprintf(c.Out, "wrote %s\nnext:  s3apu-agent check --config %s\n", file, file)
	return nil
}

// initText is the configuration that the flags ask for.
func initText(c *call) (string, error) {
	var b strings.Builder
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s = %s\n", key, tomlString(value))
		}
	}
	folder := stringFlag(c, "folder")
	if folder != "" {
		abs, err := filepath.Abs(folder)
		if err != nil {
			return "", usageError("read the arguments", "--folder", "%w", err)
		}
		folder = abs
	}
	if stringFlag(c, "bucket") == "" || folder == "" {
		return "", usageError("read the arguments", "", "--bucket and --folder are needed: what goes where")
	}
	b.WriteString("# s3apu-agent; every key is explained in config.example.toml\n")
	line("state_dir", stringFlag(c, "state-dir"))
	b.WriteString("\n[s3]\n")
	for _, key := range []string{"bucket", "endpoint", "region", "access-key-id", "secret-access-key"} {
		line(strings.ReplaceAll(key, "-", "_"), stringFlag(c, key))
	}
	b.WriteString("\n[[folder]]\n")
	line("path", folder)
	line("prefix", stringFlag(c, "prefix"))
	return b.String(), nil
}

// tomlString quotes a value as a basic string (TOML v1.0.0, "String").
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
