//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers"
	"s3apu/protocol"
)

// sealed returns a content of about n bytes that tells its generation, and whether it is whole.
func sealed(generation, n int) []byte {
	body := bytes.Repeat([]byte(fmt.Sprintf("%08d", generation)), n/8)
	return append(fmt.Appendf(nil, "%08d %x\n", generation, md5.Sum(body)), body...)
}

// unseal returns the generation of a content, or what is wrong with it.
func unseal(b []byte) (string, error) {
	if len(b) == 0 {
		return "empty", nil // a file that was just made, or cut by a rotation
	}
	head, body, ok := bytes.Cut(b, []byte("\n"))
	generation, sum, both := bytes.Cut(head, []byte(" "))
	if got := md5.Sum(body); !ok || !both || string(sum) != hex.EncodeToString(got[:]) {
		return "", fmt.Errorf("%d bytes that begin with %q are no state at rest", len(b), b[:min(len(b), 60)])
	}
	return string(generation), nil
}

// logLines is how many lines a log's writer writes between opening and closing it.
const logLines = 20

// wholeLog checks that a log has whole batches of consecutive lines.
func wholeLog(b []byte) (string, error) {
	lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	if len(b) == 0 {
		return "empty", nil
	}
	first := 0
	for i, line := range lines {
		var n int
		if _, err := fmt.Sscanf(string(line), "line %d", &n); err != nil || i > 0 && n != first+i {
			return "", fmt.Errorf("line %d of a log that begins with %d is %q", i, first, line)
		}
		if i == 0 {
			first = n
		}
	}
	if len(lines)%logLines != 0 {
		return "", fmt.Errorf("a log of %d lines: no state at rest has that many", len(lines))
	}
	return fmt.Sprintf("%d-%d", first, first+len(lines)), nil
}

// writer writes generation after generation of a file in its own way.
type writer struct {
	name  string
	write func(path string, generation int) error
	check func([]byte) (string, error)
	rest  time.Duration // between two generations
}

const tornSize = 200 << 10 // bytes of the small files

var writers = []writer{
	{"slow", func(path string, g int) error {
		f, err := os.Create(path) // cut to nothing first
		return errors.Join(err, slowly(f, sealed(g, tornSize), 20, 10*time.Millisecond))
	}, unseal, 200 * time.Millisecond},
	{"in-place", func(path string, g int) error {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		return errors.Join(err, slowly(f, sealed(g, tornSize), 20, 3*time.Millisecond))
	}, unseal, 150 * time.Millisecond},
	{"truncate and rewrite", func(path string, g int) error {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err == nil {
			err = f.Truncate(0)
		}
		return errors.Join(err, slowly(f, sealed(g, tornSize+1000*(g%7)), 5, 5*time.Millisecond))
	}, unseal, 100 * time.Millisecond},
	{"mmap", writeMapped, unseal, 200 * time.Millisecond},
	{"rename", func(path string, g int) error {
		if err := os.WriteFile(path+".tmp", sealed(g, tornSize), 0o644); err != nil {
			return err
		}
		return os.Rename(path+".tmp", path)
	}, unseal, 20 * time.Millisecond},
	{"copytruncate", writeLog, wholeLog, 60 * time.Millisecond},
	{"in parts", func(path string, g int) error {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		return errors.Join(err, slowly(f, sealed(g, 17<<20), 30, 5*time.Millisecond))
	}, unseal, 3 * time.Second},
}

// slowly writes in pieces with pauses, and closes the file.
func slowly(f *os.File, b []byte, pieces int, gap time.Duration) (err error) {
	for step := len(b)/pieces + 1; len(b) > 0 && err == nil; {
		n := min(step, len(b))
		_, err = f.Write(b[:n])
		b = b[n:]
		<-time.After(gap)
	}
	return errors.Join(err, f.Close())
}

// writeMapped changes the bytes through a shared mapping, slowly, while the descriptor is closed already.
func writeMapped(path string, g int) error {
	want := sealed(g, tornSize)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if fi, err := f.Stat(); err != nil || fi.Size() != int64(len(want)) {
		return errors.Join(err, slowly(f, want, 1, 0))
	}
	m, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for at := 0; at < len(want); at += 16 << 10 {
		copy(m[at:], want[at:min(at+16<<10, len(want))])
		<-time.After(5 * time.Millisecond)
	}
	if err := errors.Join(unix.Msync(m, unix.MS_SYNC), unix.Munmap(m)); err != nil {
		return err
	}
	now := time.Now()
	return os.Chtimes(path, now, now) // writing through a mapping gives no event (inotify(7)); this does
}

// writeLog appends a batch of lines, and now and then rotates the log as logrotate's copytruncate does.
func writeLog(path string, g int) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for i := range logLines {
		if _, err = fmt.Fprintf(f, "line %d\n", g*logLines+i); err != nil {
			break
		}
		if i%5 == 0 {
			<-time.After(time.Millisecond)
		}
	}
	if err := errors.Join(err, f.Close()); err != nil || g%10 != 9 {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".1", b, 0o644); err != nil {
		return err
	}
	return os.Truncate(path, 0)
}

// TestNoObjectIsTorn has files that are written in every way that we know, and a reader that fetches the objects as fast
// as it can: every version it sees is a state in which the file was at rest.
func TestNoObjectIsTorn(t *testing.T) {
	gate(t)
	for _, kind := range realServers {
		t.Run(string(kind), func(t *testing.T) {
			srv := s3servers.Start(t, kind)
			s3 := srv.Bucket(t, "torn")
			b := boxFor(t, srv, "torn")
			b.save(t)
			a := b.startReady(t)
			ctx, stop := context.WithTimeout(t.Context(), either(15*time.Second, time.Minute))
			defer stop()
			var all sync.WaitGroup
			for _, w := range writers {
				path := filepath.Join(b.tree, w.name)
				all.Go(func() {
					for g := 1; ctx.Err() == nil; g++ {
						if err := w.write(path, g); err != nil {
							t.Errorf("%s: %v", w.name, err)
							return
						}
						<-time.After(w.rest)
					}
				})
				all.Go(func() { watchVersions(ctx, t, s3, b.prefix+"/"+w.name, w.check) })
			}
			all.Wait()
			p := &person{}
			if _, err := b.settle(t.Context(), s3, p, settledIn); err != nil {
				t.Error(err)
			}
			a.stop(t)
			b.booksAgree(t, srv, s3)
		})
	}
}

// watchVersions reads an object again and again until ctx ends, checks every version and says how many there were.
func watchVersions(ctx context.Context, t *testing.T, s3 *bucket.Bucket, key string, check func([]byte) (string, error)) {
	seen := make(map[string]bool)
	reads := 0
	for ctx.Err() == nil {
		body, _, err := s3.Get(ctx, protocol.Key(key))
		if err != nil {
			continue // not there yet, or replaced between two steps of the server
		}
		content, err := io.ReadAll(body)
		_ = body.Close() // it was read to its end or is broken
		if err != nil {
			continue
		}
		reads++
		version, err := check(content)
		if err != nil {
			t.Errorf("%q is torn: %v", key, err)
			return
		}
		seen[version] = true
	}
	t.Logf("%q: %d reads, %d versions, all whole", key, reads, len(seen))
	if len(seen) < 2 {
		t.Errorf("%q: only %d versions were seen, which shows nothing", key, len(seen))
	}
}
