package agent

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Bits of a mode that concern everybody else.
const (
	othersRead  = 0o004
	othersWrite = 0o002
)

// Warnings says what about the configuration is not as safe as it could be, each in one line with its cure. Nothing of it
// keeps the agent from working. env is the environment in which AWS's files are looked for. (There is nothing to say about
// certificates: no setting switches their verification off.)
func (c *Config) Warnings(ctx context.Context, env func(string) string) []string {
	var w []string
	say := func(format string, args ...any) { w = append(w, fmt.Sprintf(format, args...)) }
	if c.holdsSecrets() {
		w = append(w, openFile(c.File, "it holds a secret", othersRead|othersWrite)...)
	} else if c.File != "" {
		w = append(w, openFile(c.File, "it says what is sent where", othersWrite)...)
	}
	if c.Socket.TokenFile != "" {
		w = append(w, openFile(c.Socket.TokenFile, "it is the token of [socket] token_file", othersRead|othersWrite)...)
	}
	if c.S3.AccessKeyID == "" {
		w = append(w, openFile(awsCredentials(env), "it holds keys of AWS", othersRead|othersWrite)...)
	}
	w = append(w, openFile(c.StateDir, "the queue lies in this state_dir", othersWrite)...)
	if c.Log.Folder != "" {
		w = append(w, openFile(c.Log.Folder, "it is [log] folder", othersWrite)...)
	}
	if u, err := url.Parse(c.S3.Endpoint); err == nil && u.Scheme == "http" && !loopback(ctx, u.Hostname()) {
		say("[s3] endpoint %s is not encrypted: who listens on the way can read every file; write https:// if the server has it", c.S3.Endpoint)
	}
	if host, _, err := net.SplitHostPort(c.HTTP.Listen); err == nil && !loopback(ctx, host) {
		say("[http] listen %s can be asked by other machines: it tells names of folders and buckets, and errors; 127.0.0.1 keeps it here", c.HTTP.Listen)
	}
	if host, _, err := net.SplitHostPort(c.Socket.TCP); err == nil && !loopback(ctx, host) {
		say("[socket] tcp %s can be reached by other machines: the token and all else cross the network as they are; 127.0.0.1 keeps it here", c.Socket.TCP)
	}
	return w
}

// openFile warns of a file or folder that others may read or write, if it is there.
func openFile(path, why string, bits fs.FileMode) []string {
	st, err := os.Stat(path)
	if err != nil {
		return nil
	}
	var what, cure []string
	for _, b := range []struct {
		bit          fs.FileMode
		letter, word string
	}{{othersRead, "r", "read"}, {othersWrite, "w", "written"}} {
		if st.Mode().Perm()&bits&b.bit != 0 {
			what, cure = append(what, b.word), append(cure, b.letter)
		}
	}
	if what == nil {
		return nil
	}
	return []string{fmt.Sprintf("%s can be %s by every user (mode %04o), and %s; cure: chmod o-%s %s",
		path, strings.Join(what, " and "), st.Mode().Perm(), why, strings.Join(cure, ""), path)}
}

// holdsSecrets reports whether the file holds the secrets that are in use. Those of the environment are not in it.
func (c *Config) holdsSecrets() bool {
	if c.File == "" {
		return false
	}
	text, err := os.ReadFile(c.File)
	for _, secret := range []string{c.S3.SecretAccessKey, c.S3.SessionToken} {
		if err == nil && secret != "" && strings.Contains(string(text), secret) {
			return true
		}
	}
	return false
}

// awsCredentials is where AWS's own tools keep keys (AWS SDKs and Tools Reference Guide, "Shared config and credentials
// files").
func awsCredentials(env func(string) string) string {
	if file := env("AWS_SHARED_CREDENTIALS_FILE"); file != "" {
		return file
	}
	return filepath.Join(env("HOME"), ".aws", "credentials")
}

// loopback reports whether all that the host stands for is this machine itself. A name is looked up;
// one that nobody knows may stand for anything.
func loopback(ctx context.Context, host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	if host == "" {
		return false // every address
	}
	if host == "localhost" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, host)
	for _, a := range addrs {
		if addr, err := netip.ParseAddr(a); err != nil || !addr.IsLoopback() {
			return false
		}
	}
	return err == nil
}
