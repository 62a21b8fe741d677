package protocol

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDecodeInstruction(t *testing.T) {
	long := strings.Repeat("k", MaxKeyBytes)
	for _, tc := range []struct {
		text string
		want Instruction
	}{
		{"mkd|path/for/newfolder", Instruction{Verb: Mkd, Key: "path/for/newfolder"}},
		{"mkd|folder/", Instruction{Verb: Mkd, Key: "folder"}},
		{"upl|/path/to/source|key/for/destination", Instruction{Verb: Upl, Source: "/path/to/source", Key: "key/for/destination"}},
		{"cpo|/bucket/object/path|new/object/path", Instruction{Verb: Cpo, Source: "/bucket/object/path", Key: "new/object/path"}},
		{"del|key/to/delete", Instruction{Verb: Del, Key: "key/to/delete"}},
		{"del|folder/", Instruction{Verb: Del, Key: "folder/"}},
		{"del|a%20b%7c%3B%25", Instruction{Verb: Del, Key: "a b|;%"}},
		{"del|%E6%97%A5%e6%9c%ac", Instruction{Verb: Del, Key: "日本"}},
		{"del|é 日本?#+&", Instruction{Verb: Del, Key: "é 日本?#+&"}},
		{"del|a%0Ab", Instruction{Verb: Del, Key: "a\nb"}},
		{"del|%61", Instruction{Verb: Del, Key: "a"}},
		{"del|a%2Fb", Instruction{Verb: Del, Key: "a/b"}},
		{"upl|/a%FF|k", Instruction{Verb: Upl, Source: "/a\xff", Key: "k"}},
		{"upl|C%3A%5Ca|k", Instruction{Verb: Upl, Source: `C:\a`, Key: "k"}},
		{"upl|/s|" + long, Instruction{Verb: Upl, Source: "/s", Key: Key(long)}},
		{"cpo|/b/a%20b|k", Instruction{Verb: Cpo, Source: "/b/a b", Key: "k"}},
	} {
		got, err := DecodeInstruction(tc.text)
		if err != nil || got != tc.want {
			t.Errorf("%.60q: %+v, %v", tc.text, got, err)
		}
	}
}

func TestDecodeInstructionInvalid(t *testing.T) {
	for text, want := range map[string]error{
		"":                errEmpty,
		"xyz|a":           errVerb,
		"MKD|a":           errVerb,
		"|a":              errVerb,
		" mkd|a":          errVerb,
		"mkd":             errMissing,
		"upl|/s":          errMissing,
		"cpo|/b/k":        errMissing,
		"mkd|a|b":         errExtra,
		"upl|/s|k|x":      errExtra,
		"mkd|":            ErrKeyEmpty,
		"mkd|/":           ErrKeyEmpty,
		"del|":            ErrKeyEmpty,
		"mkd|a//":         errSlashes,
		"mkd|/a":          ErrKeySlash,
		"upl|/s|/k":       ErrKeySlash,
		"cpo|/b/k|/k":     ErrKeySlash,
		"del|/k":          ErrKeySlash,
		"del|%2Fk":        ErrKeySlash,
		"del|../k":        ErrKeyDots,
		"del|%2e%2E/k":    ErrKeyDots,
		"del|a;b":         errSep,
		"del|a%":          errPercent,
		"del|%%%":         errPercent,
		"del|a%2":         errPercent,
		"del|a%zz":        errPercent,
		"del|a%2\xc3\xa9": errPercent,
		"del|a\x00b":      errControl,
		"del|a\nb":        errControl,
		"del|a\x7fb":      errControl,
		"del|a%00b":       ErrKeyNUL,
		"del|a\xff":       errUTF8,
		"del|a%FF":        ErrKeyUTF8,
		"upl|/\xff|k":     errUTF8,
		"del|" + strings.Repeat("k", MaxKeyBytes+1):              ErrKeyLong,
		"upl|/" + strings.Repeat("s", MaxSourceBytes) + "|k":     errSource,
		"cpo|/bad%20bucket/k|k":                                  errBucket,
		"cpo|/../k|k":                                            errBucket,
		"cpo|/" + strings.Repeat("b", maxBucketBytes+1) + "/k|k": errBucket,
	} {
		in, err := DecodeInstruction(text)
		if !errors.Is(err, want) || KindOf(err) != KindItem || in != (Instruction{}) {
			t.Errorf("%.60q: %+v, %v; want %v", text, in, err, want)
		}
	}
	for _, text := range []string{"upl|s|k", "upl||k", "upl|/a/../b|k", "upl|/a/%2e./b|k", "upl|/a%00|k", "upl|/s|k/", "cpo|b/k|k", "cpo|/b/|k", "cpo|//k|k"} {
		if in, err := DecodeInstruction(text); err == nil {
			t.Errorf("%q was taken as %+v", text, in)
		}
	}
}

func TestEncodeInstruction(t *testing.T) {
	for want, in := range map[string]Instruction{
		"mkd|a/b":                        {Verb: Mkd, Key: "a/b/"},
		"mkd|a":                          {Verb: Mkd, Key: "a", Source: "/path/of/it"},
		"upl|/s%20t|k%7C%3B%25%0A%C3%A9": {Verb: Upl, Source: "/s t", Key: "k|;%\né"},
		"del|-_.~/Az09%2B":               {Verb: Del, Key: "-_.~/Az09+"},
	} {
		if got, err := EncodeInstruction(in); got != want || err != nil {
			t.Errorf("%+v: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []Instruction{
		{}, {Verb: Mkd, Key: "a//"}, {Verb: Del, Bucket: "b", Key: "k"}, {Verb: Upl, Key: "k", Source: "s"},
		{Verb: Upl, Key: "k", Source: "/" + strings.Repeat("s", MaxSourceBytes)}, {Verb: Cpo, Key: "k", Source: "/b b/k"},
	} {
		dst, err := AppendInstruction([]byte("kept"), in)
		if KindOf(err) != KindItem || string(dst) != "kept" {
			t.Errorf("%+v: %q, %v", in, dst, err)
		}
	}
}

// genKey draws keys that pass Check, with every kind of byte a file's name may hold.
func genKey() *rapid.Generator[Key] {
	seg := rapid.OneOf(
		rapid.StringMatching(`[a-zA-Z0-9_.~-]{1,20}`),
		rapid.StringMatching(`[|;%# ?+&\n"'é日本a]{1,12}`),
		rapid.StringN(1, 12, 40),
	)
	return rapid.Custom(func(t *rapid.T) Key {
		return Key(strings.Join(rapid.SliceOfN(seg, 1, 5).Draw(t, "segments"), "/"))
	}).Filter(func(k Key) bool { return k.Check() == nil })
}

func genInstruction() *rapid.Generator[Instruction] {
	return rapid.Custom(func(t *rapid.T) Instruction {
		in := Instruction{Verb: rapid.SampledFrom([]Verb{Mkd, Upl, Cpo, Del}).Draw(t, "verb"), Key: genKey().Draw(t, "key")}
		switch in.Verb {
		case Upl:
			in.Source = "/" + string(rapid.SliceOfN(rapid.Byte(), 1, 60).Draw(t, "source"))
		case Cpo:
			in.Source = "/" + rapid.StringMatching(`[a-z0-9][a-z0-9.-]{2,20}`).Draw(t, "bucket") + "/" + string(genKey().Draw(t, "from"))
		}
		return in
	}).Filter(func(in Instruction) bool { return checkWire(in) == nil })
}

func TestInstructionRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := genInstruction().Draw(t, "instruction")
		text, err := EncodeInstruction(in)
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(text) {
			if c := text[i]; !isPlain(c) && c != '%' && c != '|' {
				t.Fatalf("%q holds %q, which clients of S3 APU do not know", text, c)
			}
		}
		if got, err := DecodeInstruction(text); err != nil || got != in {
			t.Fatalf("%q came back as %+v, %v", text, got, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"mkd|a/", "upl|/s%20|k", "cpo|/b/k|k", "del|é%", "get|1", "", "upl|C%3A%5Ca|k", "del|%2e%2e", "mkd|//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		in, err := DecodeInstruction(text)
		if err != nil {
			return
		}
		if err := in.Check(); err != nil {
			t.Fatalf("%q was taken as %+v, which can never be carried out: %v", text, in, err)
		}
		again, err := EncodeInstruction(in)
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", in, err)
		}
		if back, err := DecodeInstruction(again); err != nil || back != in {
			t.Fatalf("%+v came back as %+v, %v", in, back, err)
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add("qsize:0|th_count:1|uptime:0.0")
	f.Add("1.1.1.upl.YQ")
	f.Add("dead|1|2|3|upl|b|k|/s|r")
	f.Fuzz(func(t *testing.T, text string) {
		if i, err := DecodeInfo(text); err == nil {
			if back, err := DecodeInfo(EncodeInfo(i)); err != nil || back != i {
				t.Fatalf("%+v came back as %+v, %v", i, back, err)
			}
		}
		if d, err := decodeLeaseID(text); err == nil {
			if id := string(appendLeaseID(nil, &d)); id != text {
				t.Fatalf("%q came back as %q", text, id)
			}
		}
		if v, err := decodeFailure(text); err == nil {
			v.Reason = clipReason(v.Reason)
			if back, err := decodeFailure(string(appendFailure(nil, &v))); err != nil || !sameFailure(back, v) {
				t.Fatalf("%+v came back as %+v, %v", v, back, err)
			}
		}
		if id, err := decodeID(text); err == nil {
			if back, err := decodeID(encodeID(id)); err != nil || back != id {
				t.Fatalf("%+v came back as %+v, %v", id, back, err)
			}
		}
	})
}

func sameFailure(a, b Failure) bool {
	if !a.Since.Equal(b.Since) || !a.Next.Equal(b.Next) {
		return false
	}
	a.Since, a.Next, b.Since, b.Next = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return a == b
}

func TestInfoLine(t *testing.T) {
	if got := EncodeInfo(Info{ThCount: 1}); got != "qsize:0|th_count:1|total_cmd:0|mkd_cmd:0|upl_cmd:0|cpo_cmd:0|del_cmd:0|get_cmd:0|uptime:0.0" {
		t.Error(got)
	}
	full := Info{1, 2, 3, 4, 5, 6, 7, 8, 9*time.Second + 250*time.Millisecond}
	line := "qsize:1|th_count:2|total_cmd:3|mkd_cmd:4|upl_cmd:5|cpo_cmd:6|del_cmd:7|get_cmd:8|uptime:9.25"
	if got := EncodeInfo(full); got != line {
		t.Error(got)
	}
	if got, err := DecodeInfo(line); got != full || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	// As in S3 APU's description: without cpo_cmd.
	got, err := DecodeInfo("qsize:5|th_count:1|total_cmd:0|mkd_cmd:0|upl_cmd:0|del_cmd:0|get_cmd:0|uptime:0.0|later:x")
	if err != nil || got != (Info{QSize: 5, ThCount: 1}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "x", "qsize:x", "uptime:", "uptime:NaN", "uptime:-1", "uptime:1e300", "qsize:1|"} {
		if _, err := DecodeInfo(bad); KindOf(err) != KindDamaged {
			t.Errorf("%q: %v", bad, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		i := Info{QSize: rapid.Int64().Draw(t, "q"), GetCmd: rapid.Int64().Draw(t, "g"),
			Uptime: time.Duration(rapid.Int64Range(0, 3e12).Draw(t, "ms")) * time.Millisecond} // 95 years
		if back, err := DecodeInfo(EncodeInfo(i)); err != nil || back != i {
			t.Fatalf("%+v came back as %+v, %v", i, back, err)
		}
	})
}

func TestLeaseIDRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Delivery{Instruction: Instruction{Verb: rapid.SampledFrom([]Verb{Mkd, Upl, Cpo, Del}).Draw(t, "verb"), Key: genKey().Draw(t, "key")},
			Token: rapid.Uint64().Draw(t, "token"), Gen: rapid.Uint64().Draw(t, "gen"), Attempt: rapid.IntRange(0, 1<<30).Draw(t, "attempt")}
		id := string(appendLeaseID(nil, &d))
		for i := range len(id) {
			if !isPlain(id[i]) || id[i] == '~' {
				t.Fatalf("%q holds %q", id, id[i])
			}
		}
		if back, err := decodeLeaseID(id); err != nil || back != d {
			t.Fatalf("%q came back as %+v, %v", id, back, err)
		}
	})
	for _, bad := range []string{"", "1.1.1.upl", "1.1.1.upl.", "1.1.1.xxx.YQ", "-1.1.1.upl.YQ", "1.1.1.upl.YQ=", "1.1.1.upl.Y", "1.1.1.upl.YQ.x", "01.1.1.upl.YQ",
		"1.1.1.upl.Li4", "A.1.1.upl.YQ", "1.1.99999999999.upl.YQ"} {
		if d, err := decodeLeaseID(bad); err == nil {
			t.Errorf("%q was taken as %+v", bad, d)
		}
	}
}

func TestFailureRoundTrip(t *testing.T) {
	now := time.UnixMilli(1_790_000_000_123)
	for _, f := range []Failure{
		{Instruction: Instruction{Verb: Upl, Bucket: "b", Key: "k|;", Source: "/s\xff"}, Dead: true, Attempts: 3, Since: now, Reason: "permission denied; look | there\n"},
		{Instruction: Instruction{Verb: Del, Key: "k"}, Attempts: 1, Since: now, Next: now.Add(time.Second)},
		{Instruction: Instruction{Key: "/not/a key\xff"}, Dead: true},
	} {
		text := string(appendFailure(nil, &f))
		if got, err := decodeFailure(text); err != nil || !sameFailure(got, f) {
			t.Errorf("%q came back as %+v, %v", text, got, err)
		}
	}
	f := Failure{Reason: strings.Repeat("é", maxReason)}
	if got, err := decodeFailure(string(appendFailure(nil, &f))); err != nil || got.Reason != strings.Repeat("é", maxReason/2) {
		t.Errorf("a long reason: %d bytes, %v", len(got.Reason), err)
	}
	for _, bad := range []string{"", "dead", "odd|1|2|3|upl|b|k|s|r", "dead|x|2|3|upl|b|k|s|r", "dead|1|2|3|upl|b|k|s|r|x", "dead|1|2|3|upl|b|%|s|r"} {
		if _, err := decodeFailure(bad); KindOf(err) != KindDamaged {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestObjectNames(t *testing.T) {
	for want, id := range map[string]ObjectID{
		"k": {"", "k"}, "a/b%20c": {"", "a/b c"}, "/b/k": {"b", "k"}, "%2A": {"", "*"}, "///k": {"", "//k"}, "//%0A": {"", "/\n"},
	} {
		if want == "///k" || want == "//%0A" {
			want = "/" + "/" + escape(string(id.Key))
		}
		if got := encodeID(id); got != want {
			t.Errorf("%+v: %q, want %q", id, got, want)
		}
		if got, err := decodeID(encodeID(id)); got != id || err != nil {
			t.Errorf("%+v came back as %+v, %v", id, got, err)
		}
	}
	for _, bad := range []string{"", "/b", "/b/", "%", "a;b"} {
		if id, err := decodeID(bad); err == nil {
			t.Errorf("%q was taken as %+v", bad, id)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"a b": "a b", "a\nb\x1b[31m": `a\nb\x1b[31m`, "é\xff": `é\xff`, `"q"`: `"q"`, "\u202e": `\u202e`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := printable(strings.Repeat("x", 5000)); len(got) > maxPrinted+8 {
		t.Errorf("%d bytes", len(got))
	}
}
