//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"s3apu/internal/s3servers"
)

const (
	secretText = "TOP-SECRET" // in every file that must not leave the machine
	swapUses   = 1000         // files touched, and named by a client, at least
	swapPaths  = "S3APU_TEST_SWAP"
)

// TestSwapper exchanges two paths until it is killed: the process of TestNothingLeaksPastASwappedLink, not a test.
func TestSwapper(t *testing.T) {
	a, b, ok := strings.Cut(os.Getenv(swapPaths), ":")
	if !ok {
		t.Skip("it is run by TestNothingLeaksPastASwappedLink")
	}
	for {
		if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
			return // they are gone
		}
	}
}

// TestNothingLeaksPastASwappedLink lets another process exchange a watched folder with a link to a folder of secrets as
// fast as it can, while files in it are touched and a client names them: not a byte of a secret reaches the server, and
// when it is over the bucket equals the tree.
func TestNothingLeaksPastASwappedLink(t *testing.T) {
	gate(t)
	srv := s3servers.Start(t, s3servers.VersityGW)
	const bucketName, files = "e2e-swapped", 20
	s3 := srv.Bucket(t, bucketName)
	b := boxFor(t, srv, bucketName)
	var leaks, bodies atomic.Int64
	proxy := proxyTo(t, srv.Endpoint)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away; it has no answer
		}
		if len(body) > 0 {
			bodies.Add(1)
		}
		if bytes.Contains(body, []byte(secretText)) {
			leaks.Add(1)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	b.endpoint = front.URL
	b.save(t)
	outside := filepath.Join(b.dir, "outside")
	must(t, os.Mkdir(outside, 0o700))
	for i := range files {
		b.put(t, fmt.Sprintf("d/%d", i), noise(uint64(i), 2000))
		must(t, os.WriteFile(filepath.Join(outside, fmt.Sprint(i)), bytes.Repeat([]byte(secretText), 200), 0o600))
	}
	must(t, os.Symlink(outside, filepath.Join(b.tree, "l")))
	a := b.startReady(t)
	client := b.dial(t)

	swapper := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSwapper$")
	swapper.Env = []string{swapPaths + "=" + filepath.Join(b.tree, "d") + ":" + filepath.Join(b.tree, "l")}
	must(t, swapper.Start())
	began, refused, asked := time.Now(), 0, 0
	for i := 0; i < swapUses || time.Since(began) < 3*time.Second; i++ {
		path := filepath.Join(b.tree, "d", fmt.Sprint(i%files))
		now := time.Now()
		_ = os.Chtimes(path, now, now) // whichever it is now
		asked++
		if client.ask(fmt.Sprintf("upl|%s|named/%d", path, i)) != "ok" {
			refused++
		}
	}
	must(t, swapper.Process.Kill())
	_ = swapper.Wait() // it was killed
	took := time.Since(began)
	if st, err := os.Lstat(filepath.Join(b.tree, "d")); err != nil || !st.IsDir() {
		must(t, unix.Renameat2(unix.AT_FDCWD, filepath.Join(b.tree, "d"), unix.AT_FDCWD, filepath.Join(b.tree, "l"), unix.RENAME_EXCHANGE))
	}
	must(t, os.Remove(filepath.Join(b.tree, "l"))) // what was seen in it while it was a folder stays as long as a link has its name
	b.equal(t, s3, "the swaps")
	for o, err := range s3.List(t.Context(), "named/", "", "") {
		must(t, err)
		if o.Size != 2000 {
			t.Errorf("%s has %d bytes", o.Key, o.Size)
		}
	}
	t.Logf("%d files touched and named in %v (%d refused at once), %d bodies, %d with a secret", asked, took.Round(time.Millisecond),
		refused, bodies.Load(), leaks.Load())
	if leaks.Load() > 0 || bodies.Load() < files || refused == asked {
		t.Errorf("%d bodies with a secret of %d; %d of %d names refused", leaks.Load(), bodies.Load(), refused, asked)
	}
	a.stop(t)
}
