package worker

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"s3apu/protocol"
)

// Stats is the state of a Pool at one moment.
type Stats struct {
	Workers int // configured
	Limit   int // of these, those that may send now (AIMD)
	Active  int // of these, those that are sending or reading a file
	Big     int // big files under way
	Parts   int // parts of theirs under way

	Slowed bool          // a 503 keeps the pace down
	Gap    time.Duration // the pause between requests at the slowest pace, else 0

	Parked    bool      // the target is down: nothing but probes is sent
	Since     time.Time // of the pause
	Reason    string    // of the pause, for a person
	NextProbe time.Time

	Probes   int64
	Requests int64 // to S3 by deliveries, without probes
	Bytes    int64 // of bodies that S3 confirmed
	Done     int64 // deliveries carried out, or found to need nothing
	Idle     int64 // of these, those that needed no request
	Requeued int64 // given back, for whatever reason
	Buried   int64 // given up and listed
	Lost     int64 // settled too late (LeaseLost)
	Foreign  int64 // deletes not carried out because somebody else had written the object since

	Performance Performance
}

// Performance is S3 APU's figures, since New. Only carried-out deliveries count; transfers are those that made a
// request, files those whose content was sent.
type Performance struct {
	Total, Mkd, Cpo, Upl, Del int64
	Uptime                    time.Duration
	Slowest, Fastest, Average time.Duration // transfers; 0 if there was none
	Smallest, Largest         int64         // files, in bytes; 0 if there was none
	AverageSize               float64       // in bytes
	TotalSize                 int64         // in bytes
	Backoff                   bool          // a 503 keeps the pace down, or the target is down
}

// Format writes S3 APU's line of s3_worker_performance: times in seconds, sizes in KB of 1,024 bytes.
func (f Performance) Format() string {
	backoff := 0
	if f.Backoff {
		backoff = 1
	}
	var b strings.Builder
	fmt.Fprintf(&b, "total_cmd:%d|mkd_cmd:%d|cpo_cmd:%d|upl_cmd:%d|del_cmd:%d|uptime:%.1f", f.Total, f.Mkd, f.Cpo, f.Upl, f.Del, f.Uptime.Seconds())
	fmt.Fprintf(&b, "|slow_trans:%.3f|fast_trans:%.3f|avg_trans:%.3f", f.Slowest.Seconds(), f.Fastest.Seconds(), f.Average.Seconds())
	fmt.Fprintf(&b, "|sml_file_size:%.3f|lrg_file_size:%.3f|avg_file_size:%.3f|total_file_size:%.3f|backoff_status:%d",
		float64(f.Smallest)/1024, float64(f.Largest)/1024, f.AverageSize/1024, float64(f.TotalSize)/1024, backoff)
	return b.String()
}

// stats counts. Its methods may be called at the same time.
type stats struct {
	began       time.Time
	active, big atomic.Int64
	probes      atomic.Int64
	foreign     atomic.Int64

	mu        sync.Mutex
	s         Stats
	transfers int64
	spent     time.Duration // in transfers
	files     int64
}

func (s *stats) count(e *Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Requests += int64(e.Requests)
	s.s.Bytes += e.Bytes
	switch {
	case e.Outcome == protocol.LeaseLost:
		s.s.Lost++
	case e.Err != nil && e.Dead:
		s.s.Buried++
	case e.Err != nil:
		s.s.Requeued++
	}
	if e.Err != nil {
		return
	}
	s.s.Done++
	f := &s.s.Performance
	f.Total++
	switch e.Delivery.Verb {
	case protocol.Mkd:
		f.Mkd++
	case protocol.Upl:
		f.Upl++
	case protocol.Cpo:
		f.Cpo++
	case protocol.Del:
		f.Del++
	}
	if e.Requests == 0 {
		s.s.Idle++
		return
	}
	if s.transfers++; s.transfers == 1 {
		f.Fastest = e.Took
	}
	s.spent += e.Took
	f.Slowest, f.Fastest = max(f.Slowest, e.Took), min(f.Fastest, e.Took)
	if e.Delivery.Verb != protocol.Upl || e.Entry == nil || e.Entry.Size > 0 && e.Bytes == 0 {
		return // only its metadata were sent
	}
	if s.files++; s.files == 1 {
		f.Smallest = e.Entry.Size
	}
	f.TotalSize += e.Entry.Size
	f.Smallest, f.Largest = min(f.Smallest, e.Entry.Size), max(f.Largest, e.Entry.Size)
}

// Stats returns the state now. It may be called at any time, also while Run is not running.
func (p *Pool) Stats() Stats {
	p.stats.mu.Lock()
	s := p.stats.s
	f := &s.Performance
	if n := p.stats.transfers; n > 0 {
		f.Average = p.stats.spent / time.Duration(n)
	}
	if n := p.stats.files; n > 0 {
		f.AverageSize = float64(f.TotalSize) / float64(n)
	}
	p.stats.mu.Unlock()

	s.Workers = p.cfg.MaxWorkers
	s.Active, s.Big = int(p.stats.active.Load()), int(p.stats.big.Load())
	s.Parts = p.gate.parts.inUse()
	s.Probes, s.Foreign = p.stats.probes.Load(), p.stats.foreign.Load()
	f.Uptime = time.Since(p.stats.began)
	p.gate.describe(&s)
	f.Backoff = s.Slowed || s.Parked
	return s
}

func (g *gate) describe(s *Stats) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tick(time.Now())
	s.Limit, s.Gap, s.Slowed = g.pace.limit, g.pace.gap, g.pace.slowed()
	if g.parked != nil {
		s.Parked, s.Since, s.Reason, s.NextProbe = true, g.parked.since, g.parked.reason.Error(), g.parked.next
	}
}
