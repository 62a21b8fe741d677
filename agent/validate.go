package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"s3apu/protocol"
	"s3apu/worker"
)

// Check reports the first fault of the configuration in itself, or nil. It neither looks at the folders nor asks a
// server, so that the utilities work where the folders are not: see [Config.CheckFolders].
func (c *Config) Check() error {
	for _, check := range []func() error{c.checkS3, c.checkFolders, c.checkWorker, c.checkRest} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// fault makes the error for one key of the file.
func (c *Config) fault(key string, hint string, format string, args ...any) error {
	e := usage("check the configuration", strings.TrimPrefix(c.File+": "+key, ": "), fmt.Errorf(format, args...))
	e.Hint = hint
	return e
}

func (c *Config) checkS3() error {
	s := c.S3
	if s.Bucket == "" {
		return c.fault("[s3] bucket", `write bucket = "NAME", or set S3APU_S3_BUCKET`, "no bucket is named")
	}
	for _, b := range c.Buckets() {
		if len(b) < 3 || len(b) > 63 || strings.ContainsAny(b, "/ \t\n?#%") {
			return c.fault("bucket", "bucket names are 3 to 63 letters, digits, dots and hyphens", "%q is not the name of a bucket", b)
		}
	}
	if s.Endpoint != "" {
		u, err := url.Parse(s.Endpoint)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
			return c.fault("[s3] endpoint", `write it like "https://s3.example.net" or "http://127.0.0.1:9000"; leave it empty for AWS`,
				"%q is not the address of a server", redacted(s.Endpoint))
		}
	}
	if (s.AccessKeyID == "") != (s.SecretAccessKey == "") {
		return c.fault("[s3] access_key_id", "set access_key_id and secret_access_key, or neither to use the usual AWS chain", "only one half of the key is set")
	}
	if !slices.Contains([]string{"slash", "plain", "none"}, s.FolderObjects) {
		return c.fault("[s3] folder_objects", `choose "slash", "plain" or "none"`, "%q is not a way to store folders", s.FolderObjects)
	}
	return nil
}

// redacted returns an address without the password that somebody may have written into it.
func redacted(address string) string {
	u, err := url.Parse(address)
	if (err != nil || u.User == nil) && strings.Contains(address, "@") {
		return "…"
	}
	if err != nil {
		return address
	}
	if u.User != nil {
		u.User = url.User("…")
	}
	return u.String()
}

func (c *Config) checkFolders() error {
	if !filepath.IsAbs(c.StateDir) {
		return c.fault("state_dir", "write an absolute path", "%q is not an absolute path", c.StateDir)
	}
	taken := make(map[protocol.ObjectID]string)
	for i := range c.Folders {
		f := &c.Folders[i]
		where := fmt.Sprintf("[[folder]] %d (%s)", i+1, f.Path)
		if err := c.checkFolder(f, where); err != nil {
			return err
		}
		id := protocol.ObjectID{Bucket: c.BucketOf(*f), Key: protocol.Key(f.Prefix)}
		if other, ok := taken[id]; ok {
			return c.fault(where, "give each folder a prefix of its own", "it has the same bucket and prefix %q as %s: their files would replace each other", f.Prefix, other)
		}
		for other, path := range taken {
			if other.Bucket == id.Bucket && (inPrefix(other.Key, id.Key) || inPrefix(id.Key, other.Key)) {
				return c.fault(where, "give them prefixes side by side", "its prefix %q and %q of %s lie within each other: their files could replace each other", f.Prefix, other.Key, path)
			}
		}
		taken[id] = f.Path
	}
	return nil
}

// inPrefix reports whether the keys of prefix p lie among those of prefix q.
func inPrefix(p, q protocol.Key) bool {
	return q == "" || strings.HasPrefix(string(p), string(q)+"/")
}

func (c *Config) checkFolder(f *Folder, where string) error {
	if !filepath.IsAbs(f.Path) {
		return c.fault(where, "write an absolute path", "path %q is not absolute", f.Path)
	}
	f.Path = filepath.Clean(f.Path)
	if f.Prefix != "" {
		if strings.HasSuffix(f.Prefix, "/") {
			return c.fault(where, "write it without the last slash", "prefix %q ends in a slash", f.Prefix)
		}
		if err := protocol.Key(f.Prefix).Check(); err != nil {
			return c.fault(where, "", "prefix %q: %w", f.Prefix, err)
		}
	}
	if f.Recursion < 0 {
		return c.fault(where, "0 is all the way down, 1 this folder only, n that deep", "recursion %d is negative", f.Recursion)
	}
	if f.Marker != "" {
		f.Marker = filepath.ToSlash(filepath.Clean(f.Marker))
		if f.Marker == "." || !filepath.IsLocal(f.Marker) {
			return c.fault(where, "name a file by its path below the folder", "marker %q does not lie below the folder", f.Marker)
		}
	}
	switch f.Symlinks {
	case "", worker.LinksSkip, worker.LinksFollow, worker.LinksStore:
	default:
		return c.fault(where, `write "skip", "follow" or "store"`, "symlinks is %q", f.Symlinks)
	}
	switch f.Unresting {
	case "", unrestingWait, unrestingPrefix:
	default:
		return c.fault(where, `write "wait" or "prefix"`, "unresting is %q", f.Unresting)
	}
	if f.Unresting == unrestingPrefix && f.MinInterval.D() < leastInterval {
		return c.fault(where, "write a length such as \"1m\"", "min_interval %v is less than %v", f.MinInterval.D(), leastInterval)
	}
	if _, err := NewMatch(f.Include, f.Exclude); err != nil {
		return c.fault(where, `"*" and "?" stay within one name, "**" crosses folders, "[a-z]" and "{a,b}" choose`, "%w", err)
	}
	return nil
}

// CheckFolders reports the first watched folder that is not there, cannot be read or would have the agent watch its own
// files. Nothing on disk is changed.
func (c *Config) CheckFolders() error { return c.folders(false) }

// CheckRun is CheckFolders for who is about to run: a folder may be away if there is a queue, which may know it from before.
// [New] asks it.
func (c *Config) CheckRun() error {
	_, err := os.Stat(c.QueueDir())
	return c.folders(err == nil)
}

func (c *Config) folders(away bool) error {
	for i, f := range c.Folders {
		where := fmt.Sprintf("[[folder]] %d (%s)", i+1, f.Path)
		if err := folderThere(f.Path); err != nil && !away {
			return c.notThere(f.Path, err)
		}
		for name, inside := range map[string]string{"state_dir": c.StateDir, "[log] folder": c.Log.Folder} {
			if inside != "" && within(f.Path, inside) {
				return c.fault(where, "move it elsewhere", "%s (%s) lies inside this watched folder: the agent would upload its own files for ever", name, inside)
			}
		}
	}
	return nil
}

// notThere is the error for a watched folder that is not there.
func (c *Config) notThere(path string, err error) error {
	i := slices.IndexFunc(c.Folders, func(f Folder) bool { return f.Path == path })
	return &protocol.Error{Op: "check the configuration", Object: fmt.Sprintf("%s: [[folder]] %d (%s)", c.File, i+1, path),
		Kind: protocol.KindLocal, Err: err, Hint: "make the folder, mount its disk, or correct path"}
}

// folderThere reports why path is not a folder that can be read, or nil.
func folderThere(path string) error {
	st, err := os.Stat(path)
	var pe *fs.PathError
	switch {
	case errors.As(err, &pe):
		return fmt.Errorf("the folder cannot be watched: %w", pe.Err)
	case err != nil:
		return err
	case !st.IsDir():
		return errors.New("path is not a folder")
	}
	d, err := os.Open(path)
	if err != nil {
		return errors.New("the folder cannot be read: permission denied")
	}
	if _, err := os.Lstat(path + string(filepath.Separator) + "."); err != nil { // its names can be read, and nothing else
		err = errors.New("the folder cannot be entered: permission denied")
		return errors.Join(err, d.Close())
	}
	return d.Close()
}

// within reports whether path lies in folder or is it, links resolved as far as they exist.
func within(folder, path string) bool {
	folder, path = resolve(folder), resolve(path)
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, string(filepath.Separator))+string(filepath.Separator))
}

// resolve follows the links of the longest part of path that exists.
func resolve(path string) string {
	path = filepath.Clean(path)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(resolve(parent), filepath.Base(path))
	}
	return path
}

func (c *Config) checkWorker() error {
	w := c.Worker
	if w.MaxWorkers < 0 || w.MaxWorkers > 256 {
		return c.fault("[worker] max_workers", "0 leaves all work to others on the socket; 256 is the most", "%d workers", w.MaxWorkers)
	}
	if w.MaxFiles < 1 || w.MaxFiles > 1000 {
		return c.fault("[worker] max_files", "choose 1 to 1000", "%d files at a time", w.MaxFiles)
	}
	if w.MaxRetries < 1 {
		return c.fault("[worker] max_retries", "choose 1 or more", "%d attempts", w.MaxRetries)
	}
	for key, v := range map[string]Override{"upload_uid": w.UploadUID, "upload_gid": w.UploadGID} {
		if _, err := v.number(10); err != nil {
			return c.fault("[worker] "+key, `write a number, or "" for the file's own`, "%w", err)
		}
	}
	if _, err := w.Mode.number(8); err != nil {
		return c.fault("[worker] mode", `write it in octal, as "0644", or "" for the file's own`, "%w", err)
	}
	return nil
}

func (c *Config) checkRest() error {
	for key, addr := range map[string]string{"[socket] tcp": c.Socket.TCP, "[http] listen": c.HTTP.Listen} {
		if addr == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return c.fault(key, `write it like "127.0.0.1:19998", or "" for none`, "%q is not an address", addr)
		}
	}
	if addr := c.HTTP.Listen; addr != "" && addr == c.Socket.TCP && !strings.HasSuffix(addr, ":0") { // 0: any that is free
		return c.fault("[http] listen", `choose another one of the two, or "" for none`, "%s is [socket] tcp as well", addr)
	}
	for _, dir := range c.Socket.AllowSources {
		if !filepath.IsAbs(dir) {
			return c.fault("[socket] allow_sources", "write absolute paths", "%q is not an absolute path", dir)
		}
	}
	if _, err := c.guestRule(); err != nil {
		return err
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(c.Log.Level)) {
		return c.fault("[log] level", `choose "debug", "info", "warn" or "error"`, "%q is not a level", c.Log.Level)
	}
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		return c.fault("[log] format", `choose "text" or "json"`, "%q is not a format", c.Log.Format)
	}
	if c.Log.Folder != "" && !filepath.IsAbs(c.Log.Folder) {
		return c.fault("[log] folder", "write an absolute path", "%q is not an absolute path", c.Log.Folder)
	}
	for ext, typ := range c.ContentTypes {
		if !strings.HasPrefix(ext, ".") || !strings.Contains(typ, "/") || strings.ContainsAny(typ, "\r\n") {
			return c.fault("[content_types]", `write lines like ".webp" = "image/webp"`, "%q = %q", ext, typ)
		}
	}
	return nil
}
