package agent

import (
	"errors"
	"os"
	"strings"

	"s3apu/protocol"
)

// Token returns the secret that TCP clients must show, or "" if [socket] token_file names none.
func (c *Config) Token() (string, error) {
	if c.Socket.TokenFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(c.Socket.TokenFile)
	if err == nil && strings.TrimSpace(string(text)) == "" {
		err = errors.New("the file is empty")
	}
	if err != nil {
		return "", &protocol.Error{Op: "read the token", Object: c.Socket.TokenFile, Kind: protocol.KindUsage, Err: err,
			Hint: "write a long random line into it, readable by the agent and its clients only"}
	}
	return strings.TrimSpace(string(text)), nil
}
