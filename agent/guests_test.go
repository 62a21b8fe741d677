package agent

import (
	"testing"

	"s3apu/protocol"
)

func TestGuestKeys(t *testing.T) {
	cfg := Defaults()
	cfg.S3.Bucket = testBucket
	cfg.Socket.AllowKeys = []string{"incoming/**", "one"}
	rule, err := cfg.guestRule()
	if err != nil {
		t.Fatal(err)
	}
	all, err := (&Config{S3: cfg.S3}).guestRule()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		in   protocol.Instruction
		want bool
		any  bool // where every key is allowed
	}{
		{protocol.Instruction{Verb: protocol.Del, Key: "incoming/a/b"}, true, true},
		{protocol.Instruction{Verb: protocol.Del, Key: "one"}, true, true},
		{protocol.Instruction{Verb: protocol.Mkd, Key: "incoming"}, true, true},
		{protocol.Instruction{Verb: protocol.Del, Key: "incoming"}, false, true},
		{protocol.Instruction{Verb: protocol.Del, Key: "incoming2/a"}, false, true},
		{protocol.Instruction{Verb: protocol.Mkd, Key: "one/a"}, false, true},
		{protocol.Instruction{Verb: protocol.Cpo, Source: "/" + testBucket + "/incoming/x", Key: "one"}, true, true},
		{protocol.Instruction{Verb: protocol.Cpo, Source: "/" + testBucket + "/secret/x", Key: "one"}, false, true},
		{protocol.Instruction{Verb: protocol.Cpo, Source: "/other/incoming/x", Key: "one"}, false, false},
		{protocol.Instruction{Verb: protocol.Upl, Source: "/nowhere/at/all", Key: "one"}, false, false},
	} {
		if err := rule.check("1000:1000", tc.in); (err == nil) != tc.want {
			t.Errorf("%s %s %s: %v", tc.in.Verb, tc.in.Source, tc.in.Key, err)
		}
		if err := all.check("1000:1000", tc.in); (err == nil) != tc.any {
			t.Errorf("every key is allowed, %s %s %s: %v", tc.in.Verb, tc.in.Source, tc.in.Key, err)
		}
	}
	cfg.Socket.AllowKeys = []string{"[a-"}
	if err := cfg.Check(); protocol.KindOf(err) != protocol.KindUsage {
		t.Errorf("a bad glob: %v", err)
	}
}
