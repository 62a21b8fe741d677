package e2e

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"s3apu/internal/s3servers"
)

// wallClock is the clock that one process takes for the wall's. It stands between the program, which is not changed in
// any way, and the kernel, in the code that the kernel lends each process for asking the time (vdso(7)).
type wallClock struct {
	memory *os.File
	offset int64 // where in the memory stands what is added, in seconds
}

// clockCode asks the kernel (system call 228, clock_gettime) and adds the eight bytes behind it to the seconds of
// CLOCK_REALTIME (0); all other clocks stay as they are. Arguments and what may be overwritten as in the System V ABI.
var clockCode = []byte{
	0xb8, 0xe4, 0x00, 0x00, 0x00, // mov    $228, %eax
	0x0f, 0x05, // syscall
	0x85, 0xff, // test   %edi, %edi
	0x75, 0x0a, // jne    over the next two
	0x48, 0x8b, 0x0d, 0x06, 0x00, 0x00, 0x00, // mov  6(%rip), %rcx
	0x48, 0x01, 0x0e, // add    %rcx, (%rsi)
	0x31, 0xc0, // xor    %eax, %eax
	0xc3, // ret
}

// wallClockOf takes the clock of a process over; it shows the right time until it is stepped. A system that keeps a
// process's memory from its parent skips the test.
func wallClockOf(t *testing.T, pid int) *wallClock {
	t.Helper()
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		t.Skipf("the agent's memory is closed to its parent here: %v", err)
	}
	t.Cleanup(func() { memory.Close() })
	from, to := vdsoOf(t, pid)
	image := make([]byte, to-from)
	if _, err := memory.ReadAt(image, from); err != nil {
		t.Fatal(err)
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	must(t, err)
	symbols, err := file.DynamicSymbols()
	must(t, err)
	for _, s := range symbols {
		if s.Name != "__vdso_clock_gettime" {
			continue
		}
		w := &wallClock{memory: memory, offset: from + int64(s.Value) + int64(len(clockCode))}
		for !w.replace(t, pid, from, to) { // a thread was asking for the time just then
		}
		return w
	}
	t.Skip("the kernel lends no code for asking the time")
	return nil
}

// vdsoOf returns where the lent code lies.
func vdsoOf(t *testing.T, pid int) (from, to int64) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	must(t, err)
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "[vdso]") {
			if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
				t.Fatal(err)
			}
			return from, to
		}
	}
	t.Skip("the kernel lends no code for asking the time")
	return 0, 0
}

// replace puts clockCode in, while the process stands still and unless one of its threads is in that very code.
func (w *wallClock) replace(t *testing.T, pid int, from, to int64) bool {
	t.Helper()
	must(t, syscall.Kill(pid, syscall.SIGSTOP))
	defer func() { must(t, syscall.Kill(pid, syscall.SIGCONT)) }()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	must(t, err)
	for _, task := range tasks {
		eventually(t, 10*time.Second, func() error {
			stat, err := os.ReadFile(filepath.Join(task, "stat"))
			if err == nil && !strings.Contains(string(stat), ") T ") {
				err = errors.New("a thread goes on: " + string(stat))
			}
			return err
		})
		where, err := os.ReadFile(filepath.Join(task, "syscall")) // its last two words: stack pointer, program counter
		must(t, err)
		words := strings.Fields(string(where))
		var at int64
		if _, err := fmt.Sscanf(words[len(words)-1], "0x%x", &at); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		if from <= at && at < to {
			return false
		}
	}
	_, err = w.memory.WriteAt(append(bytes.Clone(clockCode), make([]byte, 8)...), w.offset-int64(len(clockCode)))
	must(t, err)
	return true
}

// step makes the process's clock wrong by d.
func (w *wallClock) step(t *testing.T, d time.Duration) {
	t.Helper()
	_, err := w.memory.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(int64(d/time.Second))), w.offset)
	must(t, err)
}

// TestClockSteps steps the clock of a running agent by hours, to and fro: at rest, with instructions that wait for a
// second attempt, in an outage, and beside a delete. Nothing is stuck, nothing is early, and S3, whose clock is right,
// is answered with signatures that it takes.
func TestClockSteps(t *testing.T) {
	gate(t)
	for _, kind := range realServers {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			stepTheClock(t, s3servers.Start(t, kind))
		})
	}
}

func stepTheClock(t *testing.T, srv *s3servers.Server) {
	const name = "e2e-clock"
	s3 := srv.Bucket(t, name)
	down := &refusal{status: 503, code: "ServiceUnavailable"}
	b := boxFor(t, srv, name)
	b.endpoint = down.serve(t, srv.Endpoint)
	b.save(t)
	b.put(t, "before", []byte("x"))
	a := b.startReady(t)
	b.equal(t, s3, "the feed")
	clock := wallClockOf(t, a.cmd.Process.Pid)
	for i, d := range either([]time.Duration{5 * time.Hour, -5 * time.Hour, 0}, []time.Duration{5 * time.Hour, 0, -5 * time.Hour, 0, 48 * time.Hour, -48 * time.Hour, 0}) {
		clock.step(t, d)
		began := time.Now()
		for n := range 20 {
			b.put(t, fmt.Sprintf("rest %d/%d", i, n), noise(uint64(n), 300))
		}
		b.equal(t, s3, "a step at rest")
		rest := time.Since(began)

		refused := down.requests.Load()
		down.on.Store(true)
		for n := range 20 {
			b.put(t, fmt.Sprintf("outage %d/%d", i, n), noise(uint64(n), 300))
		}
		eventually(t, 30*time.Second, func() error {
			if down.requests.Load() == refused {
				return errors.New("nothing was refused yet")
			}
			return nil
		})
		clock.step(t, d+3*time.Hour)
		clock.step(t, d-3*time.Hour)
		down.on.Store(false)
		began = time.Now()
		b.equal(t, s3, "a step in an outage")
		outage := time.Since(began)

		clock.step(t, d)
		key := fmt.Sprintf("in/rest %d/1", i)
		began = time.Now()
		must(t, os.Remove(filepath.Join(b.tree, fmt.Sprintf("rest %d/1", i))))
		clock.step(t, d+7*time.Hour)
		gone := time.Duration(0)
		eventually(t, time.Minute, func() error {
			if there(t, s3, key) == nil {
				return errors.New("the object of a deleted file is still there")
			}
			gone = time.Since(began)
			return nil
		})
		if gone < time.Second { // a delete waits for 2 s, in case its file turns up elsewhere
			t.Errorf("wrong by %v: the delete came after %v", d, gone)
		}
		clock.step(t, d)
		b.equal(t, s3, "a step beside a delete")
		t.Logf("wrong by %v: files there after %v, after an outage %v, a deleted one gone after %v", d,
			rest.Round(time.Millisecond), outage.Round(time.Millisecond), gone.Round(time.Millisecond))
	}
	clock.step(t, 5*time.Hour)
	a.stop(t)
}
