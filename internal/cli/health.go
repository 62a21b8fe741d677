package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"s3apu/agent"
)

// healthTimeout bounds the question to the agent's own page on this machine; a guess.
const healthTimeout = 5 * time.Second

// printHealth asks the agent's /healthz and prints a line for each folder and bucket. Without [http] listen it prints
// nothing.
func (c *call) printHealth(ctx context.Context, cfg *agent.Config) error {
	if cfg.HTTP.Listen == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+cfg.HTTP.Listen+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return fmt.Errorf("ask the agent's /healthz: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	var h agent.Health
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		return fmt.Errorf("read the agent's /healthz: %w", err)
	}
	if h.Error != "" {
		fmt.Fprintf(c.Out, "queue:   waits: %s\n", c.text(h.Error))
	}
	for _, note := range h.Notes {
		fmt.Fprintf(c.Out, "note:    %s\n", c.text(note))
	}
	for _, b := range h.Buckets {
		fmt.Fprintf(c.Out, "bucket:  %s: %s\n", c.text(b.Name), c.text(b.State))
	}
	for _, f := range h.Folders {
		fmt.Fprintf(c.Out, "folder:  %s: %s\n", c.name(f.Path), c.text(f.State))
	}
	if h.Failed > 0 {
		fmt.Fprintf(c.Out, "failed:  %d, see: s3apu-agent queue failed\n", h.Failed)
	}
	if h.Held > 0 {
		fmt.Fprintf(c.Out, "held:    %s for a person, see: s3apu-agent queue held\n", plural(int(h.Held), "delete"))
		for _, w := range h.Holds {
			fmt.Fprintf(c.Out, "         %s%s, since %s\n", prefixed(c.name(w.Folder)), c.text(w.Why), w.Since.Local().Format(time.DateTime))
		}
	}
	return nil
}

// prefixed is a folder's path with a colon, or nothing.
func prefixed(folder string) string {
	if folder == "" {
		return ""
	}
	return folder + ": "
}
