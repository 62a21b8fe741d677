//go:build linux

package e2e

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers"
	"s3apu/protocol"
	"s3apu/queue"
)

// here matches a failpoint in the source.
var here = regexp.MustCompile(`failpoint\.Here\(("[^"]+"|[^")]*)\)`)

// failpoints reads the names of all failpoints from the source of the module.
func failpoints(t *testing.T) (names []string) {
	t.Helper()
	root := filepath.Join("..", "..")
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range here.FindAllSubmatch(text, -1) {
			name := strings.Trim(string(m[1]), `"`)
			if len(name)+2 != len(m[1]) {
				t.Errorf("%s: the name of a failpoint is a literal, and %s is none", path, m[1])
			} else if slices.Contains(names, name) {
				t.Errorf("%s: there are two failpoints %q", path, name)
			}
			names = append(names, name)
		}
		return err
	}))
	slices.Sort(names)
	return names
}

// TestKilledBetweenTwoSteps kills the agent at every failpoint, starts it again and expects that the bucket equals the tree,
// that what the socket acknowledged is there, and that nothing foreign is gone.
func TestKilledBetweenTwoSteps(t *testing.T) {
	gate(t)
	names := failpoints(t)
	t.Logf("%d failpoints: %s", len(names), strings.Join(names, " "))
	prog := buildFailpoints(t)
	for _, s := range personSteps {
		if !slices.Contains(names, s.point) {
			t.Errorf("there is no failpoint %s", s.point)
		}
		names = slices.DeleteFunc(names, func(name string) bool { return name == s.point }) // TestKilledBesideAPerson has it
	}
	for _, name := range names {
		for _, n := range either([]int{1}, []int{1, 2, 5}) {
			t.Run(fmt.Sprintf("%s@%d", name, n), func(t *testing.T) {
				t.Parallel()
				killedAt(t, prog, name, n)
			})
		}
	}
}

// buildFailpoints builds the agent with its failpoints.
func buildFailpoints(t *testing.T) (prog string) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	prog = filepath.Join(dir, "s3apu-agent")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "failpoints", "-o", prog, "s3apu/cmd/s3apu-agent").CombinedOutput(); err != nil {
		t.Fatalf("build with failpoints: %v\n%s", err, out)
	}
	return prog
}

// startArmed starts an agent that is killed when it comes to a failpoint for the nth time.
func (b *box) startArmed(t *testing.T, prog, name string, n int, log *output) *agent {
	t.Helper()
	cmd := b.command(t, "s3apu-agent", "run")
	cmd.Path, cmd.Args[0] = prog, prog
	cmd.Env = append(cmd.Env, fmt.Sprintf("S3APU_FAILPOINT=%s=kill@%d", name, n))
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	armed := &agent{cmd: cmd, log: log, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is read from its ProcessState
		close(armed.ended)
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-armed.ended })
	return armed
}

// big is a size that goes in two parts.
const big = 17 << 20

func killedAt(t *testing.T, prog, name string, n int) {
	srv := s3servers.Start(t, s3servers.Folder)
	s3 := srv.Bucket(t, "points")
	b := boxFor(t, srv, "points")
	endpoint, quiet := serveToTheEnd(t, srv.Endpoint)
	b.endpoint = endpoint
	b.extra = "[reconcile]\ninterval = \"1s\"\nlist = \"1s\"\n"
	b.save(t)
	b.put(t, keeper, []byte("stays"))
	b.put(t, "adopt/me", []byte("is in the bucket already"))
	must(t, os.Mkdir(filepath.Join(b.tree, "empty"), 0o755))
	upload(t, s3, b.tree, b.prefix) // by somebody else: to be adopted
	foreign := []byte("nobody's business")
	b.put(t, "contested/0", noise(0, 10))
	_, err := s3.Put(t.Context(), "foreign", protocol.Headers{ContentType: "text/plain"}, bytes.NewReader(foreign), int64(len(foreign)), md5.Sum(foreign))
	must(t, err)
	for i := range 8 {
		b.put(t, fmt.Sprintf("feed/%d", i), noise(uint64(i), 100*i))
	}

	log := &output{}
	armed := b.startArmed(t, prog, name, n, log)
	var acknowledged []int
	for i := 1; !armed.gone(); i++ {
		if i > 40 && n > 1 {
			t.Skipf("the agent does not come here %d times", n)
		}
		if i > 40 {
			t.Fatalf("the agent was not killed: nothing comes to the failpoint\n%s", log.tail(30))
		}
		if b.instruct(t, i) {
			acknowledged = append(acknowledged, i)
		}
		b.everyKindOfChange(t, s3, i)
		select {
		case <-armed.ended:
		case <-time.After(300 * time.Millisecond):
		}
	}
	if code := armed.cmd.ProcessState.ExitCode(); code != -1 {
		t.Fatalf("the agent ended with %d instead of being killed\n%s", code, log.tail(30))
	}

	quiet()
	b.contest(t, s3)
	a := b.startLogging(t, log)
	p := &person{}
	if _, err := b.settle(t.Context(), s3, p, settledIn); err != nil {
		t.Fatalf("%v\n%s", err, log.tail(60))
	}
	a.stop(t)
	for _, i := range acknowledged {
		must(t, there(t, s3, fmt.Sprintf("sent/%d", i)))
		must(t, there(t, s3, fmt.Sprintf("copied/%d", i)))
	}
	must(t, there(t, s3, "foreign"))
	b.booksAgree(t, srv, s3, append(b.foreign, "foreign")...)
	for _, key := range b.foreign {
		if _, o, err := s3.Get(t.Context(), key); err != nil || o.Meta["by"] != "somebody else" {
			t.Errorf("%q, which somebody else put there: %+v, %v", key, o, err)
		}
	}
}

// contest is somebody else who puts, while the agent is away, an object under the key of each contested file that the
// agent has no row for yet, however far it came with it. The objects have the files' content and metadata, and the mark
// of another that the agent sent, if there is any. The files then go.
func (b *box) contest(t *testing.T, s3 *bucket.Bucket) {
	t.Helper()
	q, err := queue.Open(filepath.Join(b.state, "queue"), queue.Options{})
	must(t, err)
	defer func() { must(t, q.Close()) }()
	files, err := os.ReadDir(filepath.Join(b.tree, "contested"))
	must(t, err)
	mark := ""
	for o, err := range s3.List(t.Context(), "in/", "", "") {
		must(t, err)
		if strings.HasPrefix(string(o.Key), "in/contested/") {
			continue // the same object with the same mark is the agent's, whoever put it there
		}
		if full, err := s3.Head(t.Context(), o.Key); err == nil && full.Meta["s3apu"] != "" {
			mark = full.Meta["s3apu"]
		}
	}
	begun := 0
	for _, f := range files {
		key := protocol.Key("in/contested/" + f.Name())
		id := protocol.ObjectID{Bucket: b.bucket, Key: key}
		row, err := q.Entry(id)
		must(t, err)
		if row != nil {
			continue
		}
		if rec, ok, err := q.Pending(id); err == nil && ok && rec.Again {
			begun++
		}
		path := filepath.Join(b.tree, "contested", f.Name())
		var st syscall.Stat_t
		must(t, syscall.Lstat(path, &st))
		content, err := os.ReadFile(path)
		must(t, err)
		head := protocol.Headers{ContentType: "text/plain", Meta: map[string]string{
			"mode": "0" + strconv.FormatUint(uint64(st.Mode), 8), "uid": fmt.Sprint(st.Uid), "gid": fmt.Sprint(st.Gid),
			"mtime": fmt.Sprintf("%d.%09d", st.Mtim.Sec, st.Mtim.Nsec), "by": "somebody else"}}
		if mark != "" {
			head.Meta["s3apu"] = mark
		}
		_, err = s3.Put(t.Context(), key, head, bytes.NewReader(content), int64(len(content)), md5.Sum(content))
		must(t, err)
		must(t, os.Remove(path))
		b.foreign = append(b.foreign, key)
	}
	t.Logf("%d contested files, %d foreign objects, %d where the agent had begun", len(files), len(b.foreign), begun)
}

// instruct hands in two instructions over the socket, and reports whether they were acknowledged.
func (b *box) instruct(t *testing.T, i int) bool {
	t.Helper()
	c, err := protocol.Dial(t.Context(), "unix", b.socket, "")
	if err != nil {
		return false
	}
	defer c.Close()
	err = c.Put(t.Context(), []protocol.Instruction{
		{Verb: protocol.Upl, Source: filepath.Join(b.tree, keeper), Key: protocol.Key(fmt.Sprintf("sent/%d", i))},
		{Verb: protocol.Cpo, Source: "/" + b.bucket + "/foreign", Key: protocol.Key(fmt.Sprintf("copied/%d", i))}})
	return err == nil
}

// everyKindOfChange does what leads to every step of the agent: round i.
func (b *box) everyKindOfChange(t *testing.T, s3 *bucket.Bucket, i int) {
	t.Helper()
	at := func(rel string) string { return filepath.Join(b.tree, rel) }
	b.put(t, fmt.Sprintf("new/%d", i), noise(uint64(i), 1000))
	b.put(t, "feed/1", noise(uint64(i), 50)) // another content
	b.put(t, fmt.Sprintf("contested/%d", i), noise(uint64(i), 10*i))
	must(t, os.Chmod(at("feed/2"), 0o600+os.FileMode(i%8)))
	must(t, os.Remove(at(fmt.Sprintf("new/%d", i))))
	names := []string{"feed/4", "other/4"}
	must(t, os.MkdirAll(at("other"), 0o755))
	must(t, os.Rename(at(names[(i+1)%2]), at(names[i%2])))
	if i%3 == 1 {
		b.put(t, "big", noise(uint64(i), big))
	}
	b.put(t, fmt.Sprintf("old %d", i%3), noise(uint64(i), 500))
	if err := os.Rename(at(fmt.Sprintf("old %d", (i+1)%3)), at(fmt.Sprintf("moved/%d", i))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	must(t, os.MkdirAll(at("moved"), 0o755))
	if i > 3 {
		if err := os.Remove(at(fmt.Sprintf("moved/%d", i-2))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		_ = s3.Delete(t.Context(), "in/feed/3") // drift, which a listing finds; that there is nothing yet is fine
	}
}
