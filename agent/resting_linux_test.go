package agent

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"s3apu/protocol"
)

// TestLeftToTheWorkers: what is quiet for long, and what has just changed where the kernel was heard a moment ago.
func TestLeftToTheWorkers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	sys := fi.Sys().(*syscall.Stat_t)
	st := protocol.Stat{Dev: sys.Dev, UID: sys.Uid}
	r := resting{settle: time.Hour}
	aged := func(age time.Duration) protocol.Stat {
		s := st
		s.CTime = time.Now().Add(-age).UnixNano()
		s.MTime = s.CTime - int64(time.Hour) // which anybody can set
		return s
	}
	check := func(when string, age time.Duration, want bool) {
		t.Helper()
		if got := r.mayLeave(aged(age)); got != want {
			t.Errorf("%s, %v old: left %v", when, age, got)
		}
	}
	check("nothing is known", 2*time.Hour, true)
	check("nothing is known", time.Minute, false)
	check("nothing is known", 0, false)
	check("nothing is known", -time.Minute, false)
	if !r.atRest(path, st) {
		t.Fatal("it is not at rest")
	}
	if len(r.told) == 0 {
		t.Skip("the file system of the temporary folder knows no leases")
	}
	told := func(at time.Time) {
		for of := range r.told {
			r.told[of] = answer{true, at}
		}
	}
	told(time.Now().Add(time.Hour)) // however long this takes
	check("the kernel tells", time.Minute, true)
	check("the kernel tells", 0, false)
	check("the kernel tells", -time.Minute, false)
	other := aged(time.Minute)
	if other.UID++; r.mayLeave(other) {
		t.Error("another owner's file is left")
	}
	if other = aged(time.Minute); r.mayLeave(other) != true {
		t.Error("the same owner's is not")
	}
	if other.Dev++; r.mayLeave(other) {
		t.Error("a file on another file system is left")
	}
	told(time.Now().Add(-toldFor))
	check("the kernel told long ago", time.Minute, false)
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if r.atRest(path, st) {
		t.Error("a file that is open for writing is at rest")
	}
	if _, fresh := r.answer(teller{st.Dev, st.UID}); !fresh {
		t.Error("that the kernel told who writes is not remembered")
	}
	far := resting{settle: time.Hour, tells: func(string) bool { return false }}
	if far.atRest(path, st); far.mayLeave(aged(time.Minute)) {
		t.Error("a file is left to the workers where a server grants leases")
	}
}
