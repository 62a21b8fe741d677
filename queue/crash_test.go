package queue_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"s3apu/protocol"
	"s3apu/queue"
)

var childMode = flag.String("queue.child", "", "for the tests: what this process does as a child, and in which folder")

// child starts this test binary in another role, waits for its first line and returns what kills it.
func child(t *testing.T, mode, dir string) (kill func()) {
	t.Helper()
	cmd, lines := start(t, mode, dir)
	if !lines.Scan() {
		t.Fatal("the child says nothing")
	}
	return func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // killed: an error is expected
	}
}

func start(t *testing.T, mode, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe, "-queue.child", mode+":"+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may have ended
	return cmd, bufio.NewScanner(out)
}

// runChild is the child's side.
func runChild(mode string) {
	mode, dir, _ := strings.Cut(mode, ":")
	q, err := queue.Open(dir, queue.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if mode == "open" {
		fmt.Println("open")
		select {}
	}
	var mu sync.Mutex
	for hand := range 4 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d/%d", hand, i)
				if err := q.Put(context.Background(), upl(key)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				line := "put " + key
				if i%5 == 4 {
					ds, err := q.Lease(context.Background(), bucket, 1, 0, 0)
					if err != nil {
						os.Exit(1)
					}
					for _, d := range ds {
						line += fmt.Sprintf("\nleased %s %d", d.Key, d.Token)
					}
				}
				mu.Lock()
				fmt.Println(line)
				mu.Unlock()
			}
		}()
	}
	select {}
}

// TestDamagedLog: what was acknowledged stands in the middle of a log that is damaged, so the store must not open.
func TestDamagedLog(t *testing.T) {
	dir := t.TempDir() + "/q"
	cmd, lines := start(t, "put", dir)
	for n := 0; lines.Scan(); n++ {
		if n == 2000 {
			must(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait() // killed: an error is expected
	logs, err := filepath.Glob(dir + "/v1/*.log")
	must(t, err)
	must(t, scribble(logs[len(logs)-1], 20_000))
	before := tree(t, dir)
	_, err = queue.Open(dir, queue.Options{})
	wantKind(t, err, protocol.KindDamaged)
	if fmt.Sprint(before) != fmt.Sprint(tree(t, dir)) {
		t.Error("the damaged store was changed")
	}
}

// TestKill kills a process that puts and leases: what it said is there, and its hands come again, marked.
func TestKill(t *testing.T) {
	dir := t.TempDir() + "/q"
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	put, tokens := map[string]bool{}, map[string]bool{}
	for round := range rounds {
		cmd, lines := start(t, "put", dir)
		leased := map[string]bool{}
		for n := 0; lines.Scan(); n++ {
			f := strings.Fields(lines.Text())
			switch {
			case len(f) == 2 && f[0] == "put":
				put[f[1]] = true
			case len(f) == 3 && f[0] == "leased":
				leased[f[1]] = true
				if tokens[f[2]] {
					t.Fatalf("token %s came twice", f[2])
				}
				tokens[f[2]] = true
			}
			if n == 500+round*137 {
				must(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait() // killed: an error is expected
		q := open(t, dir, queue.Options{})
		must(t, queue.CheckFilter(q))
		for key := range put {
			if _, ok, err := q.Pending(protocol.ObjectID{Bucket: bucket, Key: protocol.Key(key)}); !ok || err != nil {
				t.Fatalf("%s was acknowledged and is lost: %v", key, err)
			}
		}
		for key := range leased {
			r, _, err := q.Pending(protocol.ObjectID{Bucket: bucket, Key: protocol.Key(key)})
			must(t, err)
			if r.State != queue.Ready || !r.Again {
				t.Fatalf("%s was in a hand and is %+v", key, r)
			}
		}
		must(t, q.Close())
		t.Logf("round %d: %d put, %d leased", round, len(put), len(leased))
	}
}
