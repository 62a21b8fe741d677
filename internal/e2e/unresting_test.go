//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"s3apu/internal/s3servers"
	"s3apu/protocol"
)

// numbered is what an appender writes: lines that tell their place, so that a prefix is known by its length.
func numbered(size int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "line %d of a file that is never at rest\n", i)
	}
	return b.Bytes()[:size]
}

// TestAppendersThatNeverStop has logs that are never closed: with unresting = "prefix" every version that a reader of the
// bucket sees is a prefix of the log, in one piece or in parts, at most one a min_interval; with "wait" /healthz names them.
func TestAppendersThatNeverStop(t *testing.T) {
	gate(t)
	whole := numbered(64 << 20)
	appenders := []struct {
		name         string
		start, piece int // bytes
	}{{"small", 0, 100}, {"two MiB", 2 << 20, 5000}, {"in parts", 17 << 20, 50_000}}
	for _, kind := range realServers {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			srv := s3servers.Start(t, kind)
			s3 := srv.Bucket(t, "unresting")
			b := boxFor(t, srv, "unresting")
			b.folder = "unresting = \"prefix\"\nmin_interval = \"1s\""
			b.save(t)
			a := b.startReady(t)
			ctx, stop := context.WithTimeout(t.Context(), either(8*time.Second, time.Minute))
			defer stop()
			var all sync.WaitGroup
			for _, w := range appenders {
				f, err := os.OpenFile(filepath.Join(b.tree, w.name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
				must(t, err)
				all.Go(func() {
					defer f.Close()
					_, err := f.Write(whole[:w.start])
					for at := w.start; err == nil && ctx.Err() == nil && at+w.piece <= len(whole); at += w.piece {
						_, err = f.Write(whole[at : at+w.piece])
						<-time.After(3 * time.Millisecond)
					}
					if err != nil {
						t.Errorf("%s: %v", w.name, err)
					}
				})
				all.Go(func() {
					seen := map[int]bool{}
					for ctx.Err() == nil {
						body, _, err := s3.Get(ctx, protocol.Key(b.prefix+"/"+w.name))
						if err != nil {
							<-time.After(20 * time.Millisecond) // not there yet, or replaced between two steps of the server
							continue
						}
						content, err := io.ReadAll(body)
						_ = body.Close() // it was read to its end or is broken
						if err != nil {
							continue
						}
						if !bytes.HasPrefix(whole, content) {
							t.Errorf("%q of %d bytes was never in the file", w.name, len(content))
							return
						}
						seen[len(content)] = true
						<-time.After(20 * time.Millisecond)
					}
					t.Logf("%s: %d versions, all prefixes", w.name, len(seen))
					if most := int(either(8*time.Second, time.Minute)/time.Second) + 1; len(seen) < 2 || len(seen) > most {
						t.Errorf("%q: %d versions were seen, want 2 to %d", w.name, len(seen), most)
					}
				})
			}
			all.Wait()
			b.equal(t, s3, "the logs were closed")
			a.stop(t)
		})
	}
	t.Run("wait", func(t *testing.T) {
		t.Parallel()
		srv := s3servers.Start(t, s3servers.VersityGW)
		s3 := srv.Bucket(t, "unresting-wait")
		b := boxFor(t, srv, "unresting-wait")
		addr := freeAddr(t)
		b.extra = fmt.Sprintf("[http]\nlisten = %q\n", addr)
		b.save(t)
		a := b.startReady(t)
		f, err := os.Create(filepath.Join(b.tree, "log"))
		must(t, err)
		defer f.Close()
		eventually(t, settledIn, func() error {
			if _, err := f.WriteString("more\n"); err != nil {
				return err
			}
			resp, err := http.Get("http://" + addr + "/healthz")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err == nil && !strings.Contains(strings.ReplaceAll(string(text), " ", ""), `"busiest":"log"`) {
				err = fmt.Errorf("/healthz says %s", text)
			}
			return err
		})
		if _, out, _ := b.run(t, "s3apu-agent", "status"); !strings.Contains(out, `"log" since`) {
			t.Errorf("status says nothing of it: %s", out)
		}
		must(t, f.Close())
		b.equal(t, s3, "the log was closed")
		a.stop(t)
	})
}
