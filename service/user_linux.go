package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// prepareUser makes the system user if it is missing, and sees to it that it can run the program, read the
// configuration and write its folders. What it cannot read of the watched folders is reported only: whose files they are
// is not ours to change.
func (s *systemd) prepareUser(ctx context.Context) error {
	if err := s.addUser(ctx); err != nil {
		return err
	}
	who, err := s.credential()
	if err != nil {
		return err
	}
	if !allowed(ctx, who, "-x", s.cfg.Executable) {
		return s.fail(fmt.Errorf("%w: the user %s cannot execute %s", ErrPermission, s.cfg.User, s.cfg.Executable),
			fmt.Sprintf("put it where everyone can: sudo install -m 755 %s /usr/local/bin/", s.cfg.Executable))
	}
	if err := s.shareConfig(ctx, who); err != nil {
		return err
	}
	for _, dir := range s.cfg.Writes {
		if err := s.ownFolder(ctx, who, dir); err != nil {
			return err
		}
	}
	for _, dir := range s.cfg.Folders {
		if !s.cfg.ReadAll && (!allowed(ctx, who, "-r", dir) || !allowed(ctx, who, "-x", dir)) {
			s.say("note: the user %s cannot read %s; give it access, for example: sudo setfacl -R -m u:%s:rX,d:u:%s:rX %s",
				s.cfg.User, dir, s.cfg.User, s.cfg.User, dir)
		}
	}
	return nil
}

func (s *systemd) addUser(ctx context.Context) error {
	_, err := user.Lookup(s.cfg.User)
	if err == nil {
		return nil
	}
	if !errors.As(err, new(user.UnknownUserError)) {
		return s.fail(err, "")
	}
	by := fmt.Sprintf("make it yourself: a system user %s without a login shell", s.cfg.User)
	path, err := exec.LookPath("useradd")
	if err != nil { // It lives in sbin, which is not on everybody's PATH.
		path = "/usr/sbin/useradd"
	}
	// The home is the state's folder, which systemd makes (StateDirectory=).
	cmd := exec.CommandContext(ctx, path, "--system", "--user-group", "--no-create-home",
		"--home-dir", "/var/lib/"+s.cfg.Name, "--shell", "/usr/sbin/nologin", s.cfg.User)
	if out, err := cmd.CombinedOutput(); err != nil {
		return s.fail(fmt.Errorf("the user %s could not be made: %w: %s", s.cfg.User, err, strings.TrimSpace(string(out))), by)
	}
	s.say("made the system user %s; it is never removed again", s.cfg.User)
	return nil
}

// credential is the identity the service will have.
func (s *systemd) credential() (*syscall.Credential, error) {
	u, err := user.Lookup(s.cfg.User)
	if err != nil {
		return nil, s.fail(err, "")
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, s.fail(err, "")
	}
	cred := new(syscall.Credential)
	for i, text := range slices.Concat([]string{u.Uid, u.Gid}, groups) {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, s.fail(err, "")
		}
		switch i {
		case 0:
			cred.Uid = uint32(id)
		case 1:
			cred.Gid = uint32(id)
		default:
			cred.Groups = append(cred.Groups, uint32(id))
		}
	}
	return cred, nil
}

// allowed asks the kernel, in a process with that identity, so that every folder above, groups and access lists count
// (test(1): -r, -w, -x). A machine without test(1) gets the benefit of the doubt.
func allowed(ctx context.Context, who *syscall.Credential, what, path string) bool {
	cmd := exec.CommandContext(ctx, "test", what, path)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	err := cmd.Run()
	return err == nil || errors.Is(err, exec.ErrNotFound)
}

// shareConfig lets the service's group read the configuration if nothing else does: it may hold keys, so it is not
// opened to everyone.
func (s *systemd) shareConfig(ctx context.Context, who *syscall.Credential) error {
	path := s.cfg.ConfigFile
	if allowed(ctx, who, "-r", path) {
		return nil
	}
	st, err := os.Stat(path)
	if err != nil {
		return s.fail(err, "")
	}
	if err := os.Chown(path, -1, int(who.Gid)); err != nil {
		return s.fail(err, "")
	}
	mode := st.Mode().Perm() | 0o040
	if err := os.Chmod(path, mode); err != nil {
		return s.fail(err, "")
	}
	s.say("gave %s to the group of %s, mode %04o, so that the service can read it", path, s.cfg.User, mode)
	if !allowed(ctx, who, "-r", path) {
		return s.fail(fmt.Errorf("%w: the user %s cannot reach %s", ErrPermission, s.cfg.User, path),
			fmt.Sprintf("move it to /etc/%s/config.toml", s.cfg.Name))
	}
	return nil
}

// ownFolder makes a folder that the service writes. Those below /var/lib, /run and /var/log that carry its name are made
// by systemd; one that is there already keeps its owner, and is reported if the service could not write to it.
func (s *systemd) ownFolder(ctx context.Context, who *syscall.Credential, dir string) error {
	dir = filepath.Clean(dir)
	for _, root := range []string{"/var/lib/", "/run/", "/var/run/", "/var/log/"} {
		if dir == root+s.cfg.Name || strings.HasPrefix(dir, root+s.cfg.Name+"/") {
			return nil
		}
	}
	_, err := os.Lstat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return s.fail(err, "")
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return s.fail(err, "")
		}
		if err := os.Lchown(dir, int(who.Uid), int(who.Gid)); err != nil {
			return s.fail(err, "")
		}
		s.say("made %s for %s, mode 0700", dir, s.cfg.User)
	case err != nil:
		return s.fail(err, "")
	}
	if !allowed(ctx, who, "-w", dir) || !allowed(ctx, who, "-x", dir) {
		s.say("note: the user %s cannot write to %s; for example: sudo chown -R %s: %s", s.cfg.User, dir, s.cfg.User, dir)
	}
	return nil
}
