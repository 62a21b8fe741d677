package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"s3apu/protocol"
)

// A long key does not push the other columns off a terminal; what programs read stays as it was.
func TestFailuresOnATerminal(t *testing.T) {
	long := strings.Repeat("long/", 150)
	since := time.Date(2026, 11, 28, 17, 0, 0, 0, time.Local)
	rows := []protocol.Failure{
		{Instruction: protocol.Instruction{Verb: protocol.Upl, Key: "short"}, Dead: true, Attempts: 5, Since: since, Reason: "permission denied"},
		{Instruction: protocol.Instruction{Verb: protocol.Del, Key: protocol.Key(long)}, Held: true, Since: since, Reason: "waits for a person"},
	}
	show := func(terminal bool) []string {
		var out bytes.Buffer
		c := &call{terminal: terminal}
		for i, f := range rows {
			c.listFailure(&out, f, i == 0)
		}
		return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	}
	want := []string{
		"STATE               VERB  ATTEMPTS  SINCE                KEY", "    REASON",
		"gave up             upl          5  2026-11-28 17:00:00  short", "    permission denied",
		"held                del          0  2026-11-28 17:00:00  " + long, "    waits for a person",
	}
	if got := show(true); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the terminal shows\n%s", strings.Join(got, "\n"))
	}
	want = []string{
		"STATE\tVERB\tKEY\tATTEMPTS\tSINCE\tREASON",
		"gave up\tupl\tshort\t5\t2026-11-28 17:00:00\tpermission denied",
		"held\tdel\t" + long + "\t0\t2026-11-28 17:00:00\twaits for a person",
	}
	if got := show(false); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the pipe gets\n%s", strings.Join(got, "\n"))
	}
}
