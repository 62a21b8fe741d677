//go:build linux

package e2e

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers"
	"s3apu/protocol"
)

// oddNames are file names with every character that S3 APU's wire, URLs, XML and shells treat specially.
var oddNames = []string{
	"pipe|and;semicolon", "percent%41%zz", "hash#question?", "plus+and&amp;", " space in front and behind ", "new\nline",
	"é and 日本", "quote'\"<>`$", "back\\slash", "tab\tinside", "~tilde", "-dash", ".hidden", "a=b,c@d:e*f!", "[x]{y}^(z)",
}

// controlName holds a byte that XML 1.0 cannot carry. Listings of servers that ignore encoding-type=url, as versitygw
// v1.8.0 does, lose it.
const controlName = "bell\ainside"

// TestBucketEqualsTree is the agent's whole life: initial feed, every kind of change while it runs, a copy through its
// socket, changes while it is off, and a restart; the bucket equals the tree after each.
func TestBucketEqualsTree(t *testing.T) {
	gate(t)
	for _, kind := range realServers {
		t.Run(string(kind), func(t *testing.T) {
			srv := s3servers.Start(t, kind)
			life := &life{kind: kind, box: boxFor(t, srv, "e2e-tree"), s3: srv.Bucket(t, "e2e-tree"), other: srv.Bucket(t, "e2e-other")}
			life.save(t)
			life.initialFeed(t)
			life.changes(t)
			life.folders(t)
			life.odd(t)
			life.big(t)
			life.copies(t)
			life.changesWhileOff(t)
			life.running.stop(t)
		})
	}
}

// life is one agent with the bucket that it fills.
type life struct {
	*box
	kind      s3servers.Kind
	s3, other *bucket.Bucket
	running   *agent
}

// put writes a file of the tree, and the folders above it.
func (b *box) put(t *testing.T, rel string, content []byte) {
	t.Helper()
	path := filepath.Join(b.tree, rel)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// noise returns n bytes that look random and are the same for the same seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b) // never fails
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (l *life) path(rel string) string { return filepath.Join(l.tree, rel) }

func (l *life) initialFeed(t *testing.T) {
	for i := range 40 {
		l.put(t, fmt.Sprintf("first/%d/file %d.jpg", i%4, i), noise(uint64(i), i*700))
	}
	l.put(t, "top.txt", []byte("top"))
	must(t, os.MkdirAll(l.path("empty/folder"), 0o750))
	must(t, os.Chmod(l.path("top.txt"), 0o600))
	l.running = l.startReady(t)
	l.equal(t, l.s3, "the initial feed")
	for _, program := range []struct {
		name string
		args []string
	}{{"util_q_status", nil}, {"s3apu-agent", []string{"queue", "status"}}} {
		code, out, errs := l.run(t, program.name, program.args...)
		if code != 0 || !strings.HasPrefix(out, "qsize:") || !strings.Contains(out, "|uptime:") {
			t.Errorf("%s %q ended with %d and printed %q, %q", program.name, program.args, code, out, errs)
		}
	}
}

func (l *life) changes(t *testing.T) {
	l.put(t, "new.css", []byte("body {}"))
	l.equal(t, l.s3, "a new file")

	l.put(t, "new.css", []byte("body { color: red }"))
	l.equal(t, l.s3, "a change of the content")

	f, err := os.OpenFile(l.path("new.css"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString("\nh1 {}")
	must(t, errors.Join(err, f.Close()))
	l.equal(t, l.s3, "an append")

	must(t, os.Chmod(l.path("new.css"), 0o640))
	l.equal(t, l.s3, "a chmod")

	must(t, os.Remove(l.path("first/1/file 1.jpg")))
	l.equal(t, l.s3, "a delete")

	must(t, os.Rename(l.path("first/2/file 2.jpg"), l.path("first/3/renamed.jpg")))
	l.equal(t, l.s3, "a rename of a file")

	temp := filepath.Join(l.tree, ".top.txt.tmp") // the way editors save
	must(t, os.WriteFile(temp, []byte("saved"), 0o644))
	must(t, os.Rename(temp, l.path("top.txt")))
	l.equal(t, l.s3, "an atomic save")
}

func (l *life) folders(t *testing.T) {
	l.put(t, "deep/a/b/c/d/e/file", []byte("deep"))
	l.equal(t, l.s3, "new nested folders")

	must(t, os.Rename(l.path("deep/a"), l.path("deep/z")))
	l.equal(t, l.s3, "a rename of a folder")
	l.put(t, "deep/z/b/c/d/e/file", []byte("written under the new name"))
	l.equal(t, l.s3, "a write in the renamed folder")

	must(t, os.Rename(l.path("deep/z"), filepath.Join(l.dir, "outside")))
	l.equal(t, l.s3, "a folder moved out of the tree")
	must(t, os.Rename(filepath.Join(l.dir, "outside"), l.path("back")))
	l.equal(t, l.s3, "and back in")

	must(t, os.RemoveAll(l.path("back")))
	l.equal(t, l.s3, "a removed folder")

	l.put(t, "swap", []byte("a file"))
	l.equal(t, l.s3, "a file")
	must(t, os.Remove(l.path("swap")))
	l.put(t, "swap/inside", []byte("now a folder"))
	l.equal(t, l.s3, "a file that became a folder")
	must(t, os.RemoveAll(l.path("swap")))
	l.put(t, "swap", []byte("a file again"))
	l.equal(t, l.s3, "a folder that became a file")
}

func (l *life) odd(t *testing.T) {
	names := oddNames
	if l.kind != s3servers.VersityGW {
		names = append(slices.Clone(names), controlName)
	}
	for i, name := range names {
		l.put(t, "odd/"+name, noise(uint64(i), 100+i))
		l.put(t, "odd folders/"+name+"/file", noise(uint64(i), 50+i))
	}
	l.put(t, "odd/empty file", nil)
	must(t, syscall.Mkfifo(l.path("odd/fifo"), 0o644))
	listener, err := net.Listen("unix", l.path("odd/so"))
	must(t, err)
	defer listener.Close()
	l.put(t, "odd/after the fifo", []byte("the rest goes on"))
	l.equal(t, l.s3, "odd names, an empty file, a FIFO and a socket")
	must(t, os.Rename(l.path("odd"), l.path("odd & renamed;")))
	l.equal(t, l.s3, "a rename of a folder of odd names")
}

// bigSize is above the size from which the agent sends files in parts.
const bigSize = 64 << 20

func (l *life) big(t *testing.T) {
	l.put(t, "big.bin", noise(7, bigSize))
	l.put(t, "small beside the big.txt", []byte("small"))
	l.equal(t, l.s3, "64 MiB")
	o, err := l.s3.Head(t.Context(), "in/big.bin")
	must(t, err)
	if !strings.Contains(o.ETag, "-") || o.Size != bigSize {
		t.Errorf("64 MiB went up as ETag %q, %d bytes; want one of a multipart upload, with a -", o.ETag, o.Size)
	}
}

// copies asks through the socket for a copy from another bucket and within the own one, as a client of 2010 would.
func (l *life) copies(t *testing.T) {
	content := noise(8, 5000)
	_, err := l.other.Put(t.Context(), "from/é ü.bin", protocol.Headers{ContentType: "image/x-png", Meta: map[string]string{"mark": "yes"}},
		bytes.NewReader(content), int64(len(content)), md5.Sum(content))
	must(t, err)
	c := l.dial(t)
	for _, instruction := range []string{"cpo|/e2e-other/from/%C3%A9%20%C3%BC.bin|copied/object", "cpo|/e2e-tree/in/top.txt|copied/top"} {
		if answer := c.ask(instruction); answer != "ok" {
			t.Fatalf("%s: %q", instruction, answer)
		}
	}
	want, err := sumFile(l.path("top.txt"))
	must(t, err)
	first := md5.Sum(content)
	for key, md5 := range map[protocol.Key]string{"copied/object": hex.EncodeToString(first[:]), "copied/top": want} {
		eventually(t, settledIn, func() error {
			body, _, err := l.s3.Get(t.Context(), key)
			if err != nil {
				return err
			}
			got, err := sum(body)
			if err := errors.Join(err, body.Close()); err != nil {
				return err
			}
			if got != md5 {
				return fmt.Errorf("%s has the MD5 %s, its source %s", key, got, md5)
			}
			return nil
		})
	}
	if answer := c.ask("inf"); !strings.Contains(answer, "|cpo_cmd:2|") {
		t.Errorf("inf after two cpo: %q", answer)
	}
	l.equal(t, l.s3, "copies through the socket")
}

func (l *life) changesWhileOff(t *testing.T) {
	l.running.stop(t)
	l.put(t, "off/new.txt", []byte("new"))
	l.put(t, "top.txt", []byte("changed while off"))
	must(t, os.RemoveAll(l.path("first/0")))
	must(t, os.Remove(l.path("small beside the big.txt")))
	must(t, os.Rename(l.path("first/3"), l.path("first/moved")))
	must(t, os.Rename(l.path("new.css"), l.path("renamed.css")))
	must(t, os.Chmod(l.path("renamed.css"), 0o600))
	must(t, os.Remove(l.path("swap")))
	l.put(t, "swap/inside", []byte("a folder while off"))
	l.running = l.startReady(t)
	l.equal(t, l.s3, "a restart with changes made while it was off")

	// A second restart with nothing changed sends nothing.
	l.running.stop(t)
	counts := newTally("e2e-tree")
	endpoint := l.endpoint
	l.endpoint = serveProxy(t, endpoint, counts)
	l.save(t)
	l.running = l.startReady(t)
	l.equal(t, l.s3, "a restart with nothing changed")
	if puts, _ := counts.state(); len(puts) != 0 {
		t.Errorf("a restart with nothing changed sent %d objects: %v", len(puts), puts)
	}
	l.put(t, "last.txt", []byte("through the other endpoint"))
	l.equal(t, l.s3, "a file sent after that")
}
