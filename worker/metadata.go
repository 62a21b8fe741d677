package worker

import (
	"path"
	"strconv"
	"strings"
	"time"

	"s3apu/protocol"
)

const folderType = "application/x-directory"

// linkType is what s3fs gives a link's object; it tells one by its mode and reads the target from the body.
const linkType = "application/octet-stream"

// headers returns what an object made of a file or folder in state s carries: mode as octal text with a leading zero
// and the type bits, the one form that s3fs, geesefs and rclone all read; owner and group decimal; mtime in seconds
// with nine digits of fraction.
func (c *Config) headers(contentType string, s protocol.Stat) protocol.Headers {
	mode, uid, gid := s.Mode, s.UID, s.GID
	if c.Mode != nil {
		mode = s.Mode&protocol.ModeType | *c.Mode&^protocol.ModeType
		if s.IsFolder() {
			mode |= mode & 0o444 >> 2 // a folder that may be read but not searched is of no use
		}
	}
	if c.UploadUID != nil {
		uid = *c.UploadUID
	}
	if c.UploadGID != nil {
		gid = *c.UploadGID
	}
	return protocol.Headers{ContentType: contentType, Meta: map[string]string{
		"mode":  "0" + strconv.FormatUint(uint64(mode), 8),
		"uid":   strconv.FormatUint(uint64(uid), 10),
		"gid":   strconv.FormatUint(uint64(gid), 10),
		"mtime": mtimeText(s.MTime),
	}}
}

// mtimeText writes nanoseconds since 1970 as "seconds.nnnnnnnnn". The fraction counts forward, also before 1970.
func mtimeText(ns int64) string {
	sec, frac := ns/1e9, ns%1e9
	if frac < 0 {
		sec, frac = sec-1, frac+1e9
	}
	return strconv.FormatInt(sec, 10) + "." + strconv.FormatInt(frac+1e9, 10)[1:] // with the zeros at its beginning
}

// plainFolder is the state of a folder that is wanted but does not exist on this machine (mkd over the socket).
func (c *Config) plainFolder(now time.Time) protocol.Stat {
	return protocol.Stat{Mode: protocol.ModeFolder | 0o755, UID: defaultUploadOwn, GID: defaultUploadOwn, MTime: now.UnixNano()}
}

// folderKey is the key of the folder object that stands for key.
func (c *Config) folderKey(key protocol.Key) protocol.Key {
	name := strings.TrimRight(string(key), "/")
	if c.FolderObjects == FolderPlain {
		return protocol.Key(name)
	}
	return protocol.Key(name + "/")
}

// contentType finds the type by the extension of the key, else by that of the file: configuration, then S3 APU's
// table, then ours, then text/plain as S3 APU did.
func (c *Config) contentType(key protocol.Key, file string) string {
	for _, name := range [...]string{string(key), strings.ReplaceAll(file, `\`, "/")} {
		ext := strings.ToLower(strings.TrimPrefix(path.Ext(name), "."))
		if ext == "" {
			continue
		}
		if t, ok := c.ContentTypes[ext]; ok {
			return t
		}
		if t := apuType(ext); t != "" {
			return t
		}
		if t := builtinType(ext); t != "" {
			return t
		}
	}
	return "text/plain"
}

// apuType is S3 APU's table as it is, also where the world has moved on.
func apuType(ext string) string {
	switch ext {
	case "jpeg", "jpg", "jpe":
		return "image/jpeg"
	case "gif":
		return "image/gif"
	case "png":
		return "image/x-png"
	case "tiff", "tif":
		return "image/tiff"
	case "html", "htm":
		return "text/html"
	case "css":
		return "text/css"
	case "js":
		return "text/javascript"
	case "pdf":
		return "application/pdf"
	case "rtf":
		return "application/rtf"
	}
	return ""
}
