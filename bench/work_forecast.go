//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	forecastFiles  = 100_000_000
	forecastEvents = 10_000 // a second
	pageKeys       = 1000   // objects in a page of a listing (Amazon S3 API Reference, ListObjectsV2)
)

// workForecast calculates what 100 million files, and 10,000 events a second for a day, would take, from what this run has
// measured for each file. It is a calculation: it holds as long as the costs go on as they did up to a million.
func (h *harness) workForecast(ctx context.Context) error {
	s := h.sizes[h.files(million)]
	if s == nil {
		var err error
		if s, err = h.size(ctx, h.files(tenth)); err != nil {
			return err
		}
	}
	cold, restart := s.cold.ours(), s.restart.ours()
	if cold == nil || restart == nil {
		return fmt.Errorf("there are no figures of %d files", s.files)
	}
	n := float64(s.files)
	bytesEach := float64(s.stateBytes) / n
	var w strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&w, format+"\n", args...) }
	days := func(seconds float64) string {
		if d := seconds / (24 * 3600); d >= 1 {
			return fmt.Sprintf("%.1f days", d)
		}
		return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
	}
	p("**Calculated: %s files in one folder** (each line: the figure of %s files × %.0f)\n", group(forecastFiles), group(s.files), forecastFiles/n)
	p("| what | measured, each file | so |\n|---|---:|---:|")
	p("| cold, on this machine with the null server | %.0f µs | %s |", 1e6*cold.wall()/n, days(forecastFiles*cold.wall()/n))
	p("| CPU of it | %.0f µs | %s |", 1e6*cold.cpu()/n, days(forecastFiles*cold.cpu()/n))
	p("| restart: the tree compared with the ledger | %.2f µs | %s |", 1e6*restart.wall()/n, days(forecastFiles*restart.wall()/n))
	p("| state_dir | %.0f bytes | %.1f GiB |", bytesEach, forecastFiles*bytesEach/(1<<30))
	p("| peak memory | %s at %s files | as there, if it stays flat |", mib(int64(max(cold.peak(), restart.peak()))), group(s.files))
	if h.listedFiles > 0 {
		page := h.listed / float64(h.listedFiles) * pageKeys
		p("| the bucket's listing beside it | %.2f ms a page of %d | %s pages, %s; with 100 ms a page from a distant S3, one after another, %s |", 1000*page, pageKeys,
			group(forecastFiles/pageKeys), days(forecastFiles/pageKeys*page), days(forecastFiles/pageKeys*0.1))
	}
	p("\n**Calculated: %s events a second for a day** (%s events)\n", group(forecastEvents), group(forecastEvents*24*3600))
	p("| what | measured | so |\n|---|---:|---:|")
	each := cold.cpu() / n
	p("| CPU, if each is an upload | %.0f µs | %.1f processors |", 1e6*each, forecastEvents*each)
	if h.burst > 0 {
		p("| what this machine drains of a burst | %.0f/s | %.2f of the events; the rest waits on disk: %s after a day |", h.burst, min(1, h.burst/forecastEvents),
			group(int(max(0, forecastEvents-h.burst)*24*3600)))
	}
	if h.accepted > 0 {
		p("| what the socket takes | %.0f/s | %.1f times the events |", h.accepted, h.accepted/forecastEvents)
	}
	p("| state_dir, if each is a new key | %.0f bytes | %.1f GiB a day |", bytesEach, forecastEvents*24*3600*bytesEach/(1<<30))
	h.report.note(w.String())
	return nil
}
