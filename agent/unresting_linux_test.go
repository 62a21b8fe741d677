package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"s3apu/protocol"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// append writes lines to a file in the inbox without ever closing it, until what it returns is called. That closes the
// file and returns all that was written.
func (r *rig) appendTo(rel string) (end func() string) {
	r.t.Helper()
	f, err := os.OpenFile(filepath.Join(r.inbox, rel), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	r.must(err)
	var all bytes.Buffer
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			line := fmt.Sprintf("line %d of what is never at rest\n", i)
			all.WriteString(line)
			_, _ = f.WriteString(line) // what is not written is missed in the end
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	})
	end = sync.OnceValue(func() string {
		close(stop)
		writer.Wait()
		_ = f.Close() // as above
		return all.String()
	})
	r.t.Cleanup(func() { end() })
	return end
}

// With "prefix" a log is in the bucket while it grows, each time as it was once, and whole in the end; with "wait" it is
// said that it waits, and since when.
func TestFilesThatNeverRest(t *testing.T) {
	t.Run("prefix", func(t *testing.T) {
		r := newRig(t)
		r.cfg.Folders[0].Unresting, r.cfg.Folders[0].MinInterval = "prefix", Duration(time.Second)
		r.start()
		end := r.appendTo("log")
		var versions []string
		var times []time.Time
		r.waitFor("three versions", func() bool {
			if text := r.held()["log"]; text != "" && (len(versions) == 0 || text != versions[len(versions)-1]) {
				versions, times = append(versions, text), append(times, time.Now())
			}
			return len(versions) == 3
		})
		all := end()
		for i, v := range versions {
			if !strings.HasPrefix(all, v) {
				t.Errorf("version %d of %d bytes was never what the file held", i, len(v))
			}
		}
		if gap := times[2].Sub(times[0]); gap < 1500*time.Millisecond { // twice a second, but for how late it is seen
			t.Errorf("three versions within %v", gap)
		}
		r.waitFor("the whole file", func() bool { return r.held()["log"] == all })
		r.waitEqual("the log was closed")
	})
	t.Run("wait", func(t *testing.T) {
		r := newRig(t)
		r.start()
		began := time.Now()
		end := r.appendTo("log")
		r.write("beside", "1")
		r.waitFor("the file beside it", func() bool { return r.held()["beside"] == "1" })
		r.waitFor("word of the waiting file", func() bool {
			f := r.agent.Health().Folders[0]
			return f.Busy == 1 && f.Busiest == "log" && f.BusySince.Sub(began).Abs() < 5*time.Second && strings.Contains(f.State, `"log" since`)
		})
		if _, ok := r.held()["log"]; ok {
			t.Error("a file that is being written is in the bucket")
		}
		all := end()
		r.waitFor("the whole file", func() bool { return r.held()["log"] == all })
		r.waitFor("the end of the word", func() bool { return r.agent.Health().Folders[0].Busy == 0 })
	})
}

// TestQuietFileThatIsBeingWritten: a file that somebody has open for writing when the agent starts, and does not touch, is not uploaded;
// nothing of it waits in the queue; and it is uploaded when it is closed, which is no event on every system.
func TestQuietFileThatIsBeingWritten(t *testing.T) {
	r := newRig(t)
	r.cfg.Folders[0].Settle = Duration(time.Millisecond)
	f, err := os.Create(filepath.Join(r.inbox, "open"))
	r.must(err)
	defer f.Close()
	_, err = f.WriteString("half of it")
	r.must(err)
	r.write("beside", "1")
	<-time.After(10 * time.Millisecond) // quiet for longer than settle
	r.start()
	r.waitFor("the file beside it", func() bool { return r.held()["beside"] == "1" })
	r.waitFor("word of the waiting file", func() bool { return r.agent.Health().Folders[0].Busy == 1 })
	r.waitFor("an empty queue", func() bool { return r.agent.Health().Queued == 0 })
	if text, ok := r.held()["open"]; ok {
		t.Errorf("a file that is being written is in the bucket: %q", text)
	}
	closed := time.Now()
	r.must(f.Close())
	r.waitFor("the file", func() bool { return r.held()["open"] == "half of it" })
	if took := time.Since(closed); took > 5*time.Second {
		t.Errorf("it came %v after it was closed", took)
	}
}

// TestClientsGetFilesAtRest: what the feeder has not asked about is asked before a client gets it.
func TestClientsGetFilesAtRest(t *testing.T) {
	r := newRig(t)
	r.cfg.Folders[0].Settle, r.cfg.Worker.MaxWorkers = Duration(time.Millisecond), 0
	f, err := os.Create(filepath.Join(r.inbox, "open"))
	r.must(err)
	defer f.Close()
	r.write("beside", "1")
	<-time.After(10 * time.Millisecond) // quiet for longer than settle
	r.start()
	client := r.agent.server().Handler
	lease := func() (names []string) {
		ds, err := client.Lease(t.Context(), 10, 0, time.Minute)
		r.must(err)
		results := make([]protocol.Result, len(ds))
		for i, d := range ds {
			names = append(names, string(d.Key))
			results[i].Delivery = d
		}
		if len(results) > 0 {
			_, err = client.Settle(t.Context(), results)
			r.must(err)
		}
		return names
	}
	var got []string
	r.waitFor("the file beside it", func() bool { got = append(got, lease()...); return slices.Contains(got, "beside") })
	r.waitFor("word of the waiting file", func() bool { got = append(got, lease()...); return r.agent.Health().Folders[0].Busy == 1 })
	if slices.Contains(got, "open") {
		t.Error("a client got a file that is being written")
	}
	r.must(f.Close())
	r.waitFor("the file", func() bool { return slices.Contains(lease(), "open") })
}

func TestBadUnrestingIsRefused(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		word string
		gap  time.Duration
		good bool
	}{{"", 0, true}, {"wait", 0, true}, {"prefix", time.Minute, true}, {"prefix", time.Millisecond, false}, {"tail", time.Minute, false}} {
		r.cfg.Folders[0].Unresting, r.cfg.Folders[0].MinInterval = c.word, Duration(c.gap)
		if err := r.cfg.Check(); (err == nil) != c.good {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
