package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"s3apu/protocol"
)

// A folder is exchanged with a link to a folder of secrets, as fast as one thread can, while 2,000 instructions are carried
// out: uploads of every size that were hinted at or named by a client, folders, and deletes of what is there all the time.
func TestSwappedFoldersLeakNothing(t *testing.T) {
	r := newRig(t)
	outside, root := t.TempDir(), filepath.Join(r.dir, "root")
	must(t, os.MkdirAll(filepath.Join(root, "d/sub"), 0o750))
	must(t, os.Mkdir(filepath.Join(outside, "sub"), 0o700))
	sizes := []int{5, 40_000, 2 << 20, 9 << 20} // in one piece from memory, from the file, in parts
	secrets := map[string]bool{}
	for i, size := range sizes {
		secret := content(size, byte(100+i))
		secrets[md5Hex(secret)], secrets[wantETag(secret, mib5)] = true, true
		must(t, os.WriteFile(filepath.Join(root, fmt.Sprintf("d/sub/%d", i)), content(size, byte(i)), 0o600))
		must(t, os.WriteFile(filepath.Join(outside, fmt.Sprintf("sub/%d", i)), secret, 0o600))
	}
	secretMode := "0" + fmt.Sprintf("%o", protocol.ModeFolder|0o700)
	must(t, os.Symlink(outside, filepath.Join(root, "l")))
	var leaks, sent atomic.Int64
	r.store.after = func(_ context.Context, op string, key protocol.Key) error {
		o := r.store.object(key)
		if op != "put" && op != "finish" || o == nil {
			return nil
		}
		sent.Add(1)
		if secrets[o.ETag] || key.IsFolder() && o.Meta["mode"] == secretMode {
			leaks.Add(1)
		}
		return nil
	}
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(root, "d"), unix.AT_FDCWD, filepath.Join(root, "l"), unix.RENAME_EXCHANGE)
			}
		}
	})
	defer swapper.Wait()
	defer close(stop)
	r.run(Config{MaxWorkers: 4, MaxRetries: 1, MultipartAbove: 8 << 20, PartSize: mib5, Sources: []string{root},
		Folders: []Folder{{Path: root}, {Path: root, Prefix: "p"}}})
	const all = 2000
	for i := range all {
		name := fmt.Sprintf("d/sub/%d", min(i%50/16, 3))
		source := filepath.Join(root, name)
		d := upl(fmt.Sprintf("named/%d", i), source)
		switch i % 4 {
		case 1:
			d = hint(upl(name, source)) // the key of the folder without a prefix
		case 2:
			d = hint(order(protocol.Mkd, "p/d/sub/", filepath.Dir(source)))
		case 3:
			d = hint(order(protocol.Del, "p/"+name, ""))
			r.src.remember("p/"+name, source)
		}
		r.src.put(d)
		waitFor(t, time.Minute, func() bool { pending, _ := r.src.left(); return pending < 20 })
	}
	r.src.drain(t, time.Minute)
	t.Logf("%d objects were made", sent.Load())
	if leaks.Load() > 0 || sent.Load() == 0 {
		t.Errorf("%d of %d objects are secrets", leaks.Load(), sent.Load())
	}
	if n := r.store.count("delete"); n > 0 {
		t.Errorf("%d deletes of what was never gone", n)
	}
}

// What a client names must lie below a source folder in the end; what is hinted at, below its watched folder without a link.
func TestNamedAndHintedSources(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		root, outside := filepath.Join(r.dir, "root"), filepath.Join(r.dir, "outside")
		must(t, os.MkdirAll(filepath.Join(root, "d"), 0o750))
		must(t, os.Mkdir(outside, 0o750))
		r.file("root/d/f", 5, 1)
		r.file("outside/f", 5, 2)
		for name, to := range map[string]string{"in": "d", "out": outside, "file": "d/f"} {
			must(t, os.Symlink(to, filepath.Join(root, name)))
		}
		must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o600))
		at := func(name string) string { return filepath.Join(root, name) }
		r.src.put(upl("direct", at("d/f")), upl("inside", at("in/f")),
			upl("outside", at("out/f")), upl("elsewhere", filepath.Join(outside, "f")), upl("link", at("file")), upl("fifo", at("fifo")),
			upl("environ", "/proc/self/environ"), upl("null", "/dev/null"),
			hint(upl("p/d/f", at("d/f"))), hint(upl("p/in/f", at("in/f"))), hint(upl("p/out/f", at("out/f"))), hint(upl("p/file", at("file"))))
		r.run(Config{MaxRetries: 1, Folders: []Folder{{Path: root, Prefix: "p"}}, Sources: []string{root, "/proc", "/dev"}})
		r.src.drain(t, time.Minute)
		for key, want := range map[protocol.Key]bool{"direct": true, "inside": true, "p/d/f": true} {
			if o := r.store.object(key); o == nil || o.ETag != md5Hex(content(5, 1)) {
				t.Errorf("%s: %+v, want %v", key, o, want)
			}
		}
		for key, why := range map[protocol.Key]string{"outside": "outside", "elsewhere": "outside", "link": "symbolic link", "fifo": "FIFO",
			"environ": "not a regular file", "null": "device"} {
			e := r.src.deadReason(key)
			if e == nil || e.Kind != protocol.KindItem || !strings.Contains(e.Error(), why) || r.store.object(key) != nil {
				t.Errorf("%s: %v, want %q", key, e, why)
			}
		}
		for _, key := range []protocol.Key{"p/in/f", "p/out/f", "p/file"} { // the file that was meant has gone
			if o, e := r.store.object(key), r.src.deadReason(key); o != nil || e != nil {
				t.Errorf("%s: %+v, %v", key, o, e)
			}
		}
	})
}

// While a link lies on the way nobody has seen the file gone, so its object stays.
func TestNoDeleteBehindALink(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		must(t, os.Mkdir(filepath.Join(r.dir, "elsewhere"), 0o750))
		must(t, os.Symlink("elsewhere", filepath.Join(r.dir, "d")))
		for key, source := range map[string]string{"d/f": "d/f", "gone": "gone"} {
			r.src.remember(key, filepath.Join(r.dir, source))
			r.src.put(hint(order(protocol.Del, key, "")))
		}
		r.run(Config{Folders: []Folder{{Path: r.dir}}})
		r.src.drain(t, time.Minute)
		if r.store.count("delete d/f") != 0 || r.store.count("delete gone") != 1 {
			t.Errorf("%d deletes behind the link, %d of what is gone", r.store.count("delete d/f"), r.store.count("delete gone"))
		}
	})
}

// remember writes a row of an upload into the ledger.
func (s *memorySource) remember(key, source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &protocol.Entry{Bucket: testBucket, Key: protocol.Key(key), Verb: protocol.Upl, Source: source}
	s.ledger[e.ID()] = e
}

func TestFileErrorsOfLinks(t *testing.T) {
	e := fileError("/p", &os.PathError{Op: "open", Path: "/p", Err: unix.ELOOP})
	if e.Kind != protocol.KindItem || !errors.Is(e, unix.ELOOP) || !linked(e) {
		t.Errorf("%v", e)
	}
}
