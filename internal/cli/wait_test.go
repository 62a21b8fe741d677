package cli

import (
	"regexp"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// waitFor PATTERN COMMAND… runs a command until its stdout matches.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	deadline := time.Now().Add(time.Minute)
	for {
		err := ts.Exec(args[1], args[2:]...)
		out := ts.ReadFile("stdout")
		if err == nil && re.MatchString(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%q did not come: %v\n%s\n%s", args[0], err, out, ts.ReadFile("stderr"))
		}
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // the pace of asking
	}
}
