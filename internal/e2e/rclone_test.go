//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"s3apu/internal/s3servers"
)

// rcloneEntry is what "rclone lsjson --metadata" says of one object.
type rcloneEntry struct {
	Path     string
	Size     int64
	ModTime  time.Time
	IsDir    bool
	Metadata map[string]string
}

// rcloneEnv is the environment in which rclone knows the server as "there".
func (b *box) rcloneEnv(srv *s3servers.Server) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "RCLONE_CONFIG_THERE_TYPE=s3",
		"RCLONE_CONFIG_THERE_PROVIDER=Other", "RCLONE_CONFIG_THERE_ENDPOINT=" + srv.Endpoint,
		"RCLONE_CONFIG_THERE_REGION=" + srv.Region, "RCLONE_CONFIG_THERE_FORCE_PATH_STYLE=true",
		"RCLONE_CONFIG_THERE_ACCESS_KEY_ID=" + srv.AccessKey, "RCLONE_CONFIG_THERE_SECRET_ACCESS_KEY=" + srv.SecretKey}
}

// TestRcloneReadsTheTree lets another program read what we wrote: rclone finds every file equal by its MD5, and its
// modification time and mode as on disk.
func TestRcloneReadsTheTree(t *testing.T) {
	gate(t)
	rclone, err := exec.LookPath("rclone")
	if err != nil {
		t.Skip("rclone is not installed (apt-get install rclone)")
	}
	for _, kind := range realServers {
		t.Run(string(kind), func(t *testing.T) {
			srv := s3servers.Start(t, kind)
			s3 := srv.Bucket(t, "e2e-rclone")
			b := boxFor(t, srv, "e2e-rclone")
			b.save(t)
			b.fill(t)
			a := b.startReady(t)
			b.equalIn(t, s3, "the feed", depth{}, depth{deep: true, folderTimes: true})
			a.stop(t)

			ask := func(args ...string) []byte {
				cmd := exec.CommandContext(t.Context(), rclone, args...)
				cmd.Env = b.rcloneEnv(srv)
				var words strings.Builder
				cmd.Stderr = &words
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("rclone %s: %v\n%s", args[0], err, words.String())
				}
				return out
			}
			remote := fmt.Sprintf("there:%s/%s", b.bucket, b.prefix)
			ask("check", b.tree, remote) // by size and MD5, both ways; it fails if anything differs

			var entries []rcloneEntry
			must(t, json.Unmarshal(ask("lsjson", "--recursive", "--files-only", "--metadata", remote), &entries))
			compared := 0
			for _, e := range entries {
				var st syscall.Stat_t
				if err := syscall.Lstat(filepath.Join(b.tree, e.Path), &st); err != nil {
					t.Errorf("rclone lists %q: %v", e.Path, err)
					continue
				}
				if want := time.Unix(st.Mtim.Unix()); e.Size != st.Size || !e.ModTime.Equal(want) {
					t.Errorf("rclone shows %q with %d bytes of %v, on disk %d of %v", e.Path, e.Size, e.ModTime, st.Size, want)
				}
				if mode, err := strconv.ParseUint(e.Metadata["mode"], 8, 32); err != nil || uint32(mode) != st.Mode {
					t.Errorf("rclone shows %q with the mode %q, on disk 0%o", e.Path, e.Metadata["mode"], st.Mode)
				}
				compared++
			}
			if compared != 6 {
				t.Errorf("%d files were compared, want 6", compared)
			}
			t.Logf("%d files have the same content, size, time and mode in rclone", compared)
		})
	}
}
