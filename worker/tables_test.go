package worker

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"s3apu/protocol"
)

func TestAIMD(t *testing.T) {
	type at struct {
		after time.Duration // since the start
		slow  bool          // a request that began a moment before was answered with 503
		began time.Duration // of that request, if not after-1ms
		limit int
		gap   time.Duration
	}
	const s = time.Second
	for _, tc := range []struct {
		name  string
		max   int
		steps []at
	}{
		{"no complaint", 8, []at{{after: 0, limit: 8}, {after: time.Hour, limit: 8}}},
		{"halved at once, held, then one at a time", 8, []at{{0, true, 0, 4, 0}, {14 * s, false, 0, 4, 0}, {15 * s, false, 0, 5, 0},
			{18 * s, false, 0, 6, 0}, {21 * s, false, 0, 7, 0}, {24 * s, false, 0, 8, 0}, {time.Hour, false, 0, 8, 0}}},
		{"never below one, then pauses", 4, []at{{1 * s, true, 0, 2, 0}, {2 * s, true, 0, 1, 0}, {3 * s, true, 0, 1, firstGap},
			{4 * s, true, 0, 1, 2 * firstGap}, {19 * s, false, 0, 1, firstGap}, {22 * s, false, 0, 1, 0}, {25 * s, false, 0, 2, 0}}},
		{"one worker", 1, []at{{1 * s, true, 0, 1, firstGap}, {16 * s, false, 0, 1, 0}}},
		{"requests of the same moment halve once", 16, []at{{10 * s, true, 0, 8, 0}, {10*s + 5, true, 9 * s, 8, 0}, {11 * s, true, 9 * s, 8, 0},
			{12 * s, true, 11 * s, 4, 0}}},
		{"each complaint holds anew", 8, []at{{0, true, 0, 4, 0}, {10 * s, true, -1 * s, 4, 0}, {20 * s, false, 0, 4, 0}, {25 * s, false, 0, 5, 0}}},
		{"a complaint while growing", 8, []at{{0, true, 0, 4, 0}, {18 * s, true, 0, 3, 0}, {33 * s, false, 0, 4, 0}}},
		{"long quiet takes all steps", 64, []at{{0, true, 0, 32, 0}, {10 * time.Minute, false, 0, 64, 0}}},
		{"the clock steps back", 8, []at{{time.Hour, true, 0, 4, 0}, {0, false, 0, 4, 0}, {15 * s, false, 0, 5, 0}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			a := newAIMD(tc.max, 15*s)
			for i, x := range tc.steps {
				now := start.Add(x.after)
				if began := now.Add(-time.Millisecond); x.slow {
					if x.began != 0 {
						began = start.Add(x.began)
					}
					a.slow(now, began)
				} else {
					a.grow(now)
				}
				if a.limit != x.limit || a.gap != x.gap {
					t.Fatalf("step %d: limit %d gap %v, want %d %v", i, a.limit, a.gap, x.limit, x.gap)
				}
				if n := a.share(4); n < 1 || n > 4 {
					t.Fatalf("step %d: a share of %d", i, n)
				}
			}
		})
	}
	away := func(most int) (a aimd, now time.Time) {
		a, now = newAIMD(most, 15*s), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for range 8 {
			now = now.Add(s)
			a.slow(now, now)
		}
		return a, now
	}
	for most, after := range map[int]int{64: 32, 4: 2, 3: 1, 2: 1} {
		a, now := away(most)
		if began := now.Add(-10 * s); a.served(now, began) || a.limit != 1 || a.gap == 0 {
			t.Errorf("%d: a success from before the first refusal: limit %d gap %v", most, a.limit, a.gap)
		}
		a, now = away(most)
		if began := now.Add(-s / 2); a.served(now, began) || a.limit != 1 || a.gap == 0 {
			t.Errorf("%d: a success that was long under way: limit %d gap %v", most, a.limit, a.gap)
		}
		a, now = away(most)
		if now = now.Add(5 * s); !a.served(now, now.Add(-s)) || a.limit != after || a.gap != 0 {
			t.Errorf("%d: back: limit %d gap %v, want %d", most, a.limit, a.gap, after)
		}
		if a.grow(now.Add(15*s-1)) || !a.grow(now.Add(15*s)) || a.limit != after+1 {
			t.Errorf("%d: limit %d after the hold", most, a.limit)
		}
	}
	a, now := away(1)
	if a.served(now, now); a.limit != 1 || a.gap == 0 {
		t.Errorf("one worker is back: limit %d gap %v", a.limit, a.gap)
	}
	a = newAIMD(16, 15*s)
	a.slow(now, now) // 8
	if a.served(now, now) || a.limit != 8 {
		t.Errorf("limit %d after one halving and a success", a.limit)
	}
	a, now = away(64)
	a.bound(8)
	if a.served(now, now); a.limit != 8 {
		t.Errorf("limit %d where 8 are the most by now", a.limit)
	}
	a = newAIMD(1, time.Second)
	for range 100 {
		a.slow(time.Now(), time.Now())
	}
	if a.gap != maxGap {
		t.Errorf("the pause grew to %v", a.gap)
	}
}

func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slots
		s.resize(2)
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				<-time.After(time.Duration(i) * time.Millisecond)
				if err := s.acquire(t.Context()); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				<-time.After(time.Second)
				s.release()
			})
		}
		<-time.After(50 * time.Millisecond) // everybody stands in line
		gone, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := s.acquire(gone); err == nil {
			t.Error("a slot was given out twice")
		}
		if s.inUse() != 2 {
			t.Errorf("%d slots in use", s.inUse())
		}
		s.resize(1)
		<-time.After(1500 * time.Millisecond)
		if s.inUse() != 1 {
			t.Errorf("%d slots in use after there was one only", s.inUse())
		}
		wg.Wait()
		s.resize(10)
		if s.inUse() != 0 || len(order) != 6 {
			t.Errorf("%d in use, order %v", s.inUse(), order)
		}
		for i, n := range order {
			if i != n {
				t.Errorf("not in turn: %v", order)
				break
			}
		}
		cancel()
		if s.acquire(gone) == nil {
			t.Error("an ended context got a slot")
		}
	})
}

func TestHeaders(t *testing.T) {
	u := func(n uint32) *uint32 { return &n }
	file := protocol.Stat{Mode: 0o100644, UID: 1000, GID: 4294967294, MTime: 1700000000_000000007}
	folder := protocol.Stat{Mode: 0o040755, MTime: -1}
	for _, tc := range []struct {
		name                  string
		cfg                   Config
		state                 protocol.Stat
		mode, uid, gid, mtime string
	}{
		{"a file", Config{}, file, "0100644", "1000", "4294967294", "1700000000.000000007"},
		{"a folder, a moment before 1970", Config{}, folder, "040755", "0", "0", "-1.999999999"},
		{"set", Config{UploadUID: u(0), UploadGID: u(5), Mode: u(0o600)}, file, "0100600", "0", "5", "1700000000.000000007"},
		{"set, with type bits", Config{Mode: u(0o100775)}, file, "0100775", "1000", "4294967294", "1700000000.000000007"},
		{"a folder stays one and may be entered", Config{Mode: u(0o100644)}, folder, "040755", "0", "0", "-1.999999999"},
		{"special bits", Config{}, protocol.Stat{Mode: 0o104755}, "0104755", "0", "0", "0.000000000"},
	} {
		m := tc.cfg.headers("", tc.state).Meta
		if m["mode"] != tc.mode || m["uid"] != tc.uid || m["gid"] != tc.gid || m["mtime"] != tc.mtime || len(m) != 4 {
			t.Errorf("%s: %v", tc.name, m)
		}
	}
}

func TestContentTypes(t *testing.T) {
	cfg, err := Config{Bucket: "b", ContentTypes: map[string]string{".JPG": "image/own", "log": "text/x-log"}}.complete()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ key, file, want string }{
		{"a.jpeg", "", "image/jpeg"}, {"a.jpe", "", "image/jpeg"}, {"a.gif", "", "image/gif"}, {"a.png", "", "image/x-png"},
		{"a.tif", "", "image/tiff"}, {"a.tiff", "", "image/tiff"}, {"a.htm", "", "text/html"}, {"a.HTML", "", "text/html"},
		{"a.css", "", "text/css"}, {"a.js", "", "text/javascript"}, {"a.pdf", "", "application/pdf"}, {"a.rtf", "", "application/rtf"},
		{"a.jpg", "", "image/own"}, {"x/a.Log", "", "text/x-log"}, {"a.webp", "", "image/webp"}, {"a.docx", "", ooxmlText},
		{"a.tar.gz", "", "application/gzip"}, {"a.cr2", "", "image/x-canon-cr2"}, {"a.woff2", "", "font/woff2"},
		{"a", "/p/a.mp4", "video/mp4"}, {"a.unheard", "/p/a.mp4", "video/mp4"}, {"a.mp3", "/p/a.mp4", "audio/mpeg"},
		{"a.zst", "", "application/zstd"}, {"dir.zip/a", "/p/b", "text/plain"}, {"a.", "", "text/plain"}, {"é 日本.PDF", "", "application/pdf"},
	} {
		if got := cfg.contentType(protocol.Key(tc.key), tc.file); got != tc.want {
			t.Errorf("%s from %q is %s, not %s", tc.key, tc.file, got, tc.want)
		}
	}
}

const ooxmlText = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"no bucket":        {},
		"negative workers": {Bucket: "b", MaxWorkers: -1},
		"negative retries": {Bucket: "b", MaxRetries: -1},
		"negative time":    {Bucket: "b", SlowdownTime: -1},
		"small parts":      {Bucket: "b", PartSize: 1 << 20},
		"large parts":      {Bucket: "b", PartSize: 6 << 30},
		"no multipart":     {Bucket: "b", MultipartAbove: 6 << 30},
		"layout":           {Bucket: "b", FolderObjects: "slashes"},
		"type":             {Bucket: "b", ContentTypes: map[string]string{".a": "text"}},
		"type of nothing":  {Bucket: "b", ContentTypes: map[string]string{".": "text/plain"}},
		"header splitting": {Bucket: "b", ContentTypes: map[string]string{".a": "text/plain\r\nx: y"}},
	} {
		if _, err := New(c, newSource(), newStore()); protocol.KindOf(err) != protocol.KindUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
	p, err := New(Config{Bucket: "b"}, newSource(), newStore())
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Stats(); s.Workers != 1 || s.Limit != 1 || s.Slowed || s.Parked {
		t.Errorf("a new pool is %+v", s)
	}
}

func TestPerformanceLine(t *testing.T) {
	f := Performance{Total: 10, Mkd: 1, Cpo: 2, Upl: 3, Del: 4, Uptime: 90500 * time.Millisecond, Slowest: 2 * time.Second, Fastest: time.Millisecond,
		Average: 250 * time.Millisecond, Smallest: 512, Largest: 2048, AverageSize: 1280, TotalSize: 3840, Backoff: true}
	const want = "total_cmd:10|mkd_cmd:1|cpo_cmd:2|upl_cmd:3|del_cmd:4|uptime:90.5|slow_trans:2.000|fast_trans:0.001|avg_trans:0.250" +
		"|sml_file_size:0.500|lrg_file_size:2.000|avg_file_size:1.250|total_file_size:3.750|backoff_status:1"
	if got := f.Format(); got != want {
		t.Errorf("\n%s\n%s", got, want)
	}
}

func TestTallyIsBounded(t *testing.T) {
	var ta tally
	now := time.Now()
	one := func(tr *trouble) { tr.item++ }
	id := func(i int) protocol.ObjectID {
		return protocol.ObjectID{Key: protocol.Key(rune('a' + i%26)), Bucket: string(rune(i))}
	}
	for i := range 3 * tallySize {
		ta.note(id(i), now, one)
	}
	if len(ta.rows) > tallySize {
		t.Fatalf("%d rows", len(ta.rows))
	}
	if tr, exact := ta.note(id(0), now, one); !exact || tr.item != 2 {
		t.Errorf("a known one: %+v, %v", tr, exact)
	}
	other := protocol.ObjectID{Key: "new"}
	if tr, exact := ta.note(other, now, one); exact || tr.item != 1 {
		t.Errorf("one without room: %+v, %v", tr, exact)
	}
	if _, exact := ta.note(other, now.Add(2*tallyKeep), one); !exact || len(ta.rows) != 1 {
		t.Errorf("old rows were kept: %d", len(ta.rows))
	}
	if d := doubled(firstBackoff, lastBackoff, math.MaxInt32); d > lastBackoff || d < lastBackoff*3/4 {
		t.Errorf("the longest gap is %v", d)
	}
}

// When there is no room to count, the queue's number of attempts decides.
func TestStrikesWithoutRoom(t *testing.T) {
	p, err := New(Config{Bucket: "b"}, newSource(), newStore())
	if err != nil {
		t.Fatal(err)
	}
	p.tally.rows = make(map[protocol.ObjectID]trouble)
	for i := range tallySize {
		p.tally.rows[protocol.ObjectID{Bucket: string(rune(i)), Key: "x"}] = trouble{seen: time.Now()}
	}
	for attempt, dead := range map[int]bool{1: false, 2: false, 3: true, 9: true} {
		d := upl("k", "/f")
		d.Attempt = attempt
		if r := p.failed(d, writing, s3Error(protocol.KindItem, 400)); r.Dead != dead {
			t.Errorf("attempt %d: %+v", attempt, r)
		}
		if r := p.failed(d, writing, s3Error(protocol.KindVanished, 0)); r.Dead != dead {
			t.Errorf("look %d: %+v", attempt, r)
		}
		if r := p.failed(d, writing, s3Error(protocol.KindTarget, 403)); r.Dead || !r.Uncounted {
			t.Errorf("refusal %d: %+v", attempt, r)
		}
	}
}
