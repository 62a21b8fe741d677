//go:build linux

package e2e

import (
	"fmt"
	"testing"
	"time"

	"s3apu/internal/s3servers"
)

// TestKillNineLosesAndRepeatsNothing kills the agent in the middle of 2,000 uploads and starts it again: everything
// arrives, and no object whose upload had been acknowledged before the kill is sent a second time.
func TestKillNineLosesAndRepeatsNothing(t *testing.T) {
	gate(t)
	const files, killAt = 2000, 900
	for _, kind := range realServers {
		t.Run(string(kind), func(t *testing.T) {
			srv := s3servers.Start(t, kind)
			s3 := srv.Bucket(t, "e2e-kill")
			counts := newTally("e2e-kill")
			b := boxFor(t, srv, "e2e-kill")
			b.endpoint = serveProxy(t, srv.Endpoint, counts)
			b.save(t)
			for i := range files {
				b.put(t, fmt.Sprintf("%02d/file %04d", i%20, i), noise(uint64(i), 500+i))
			}
			reached := make(chan struct{})
			counts.heard = func(_ string, n int) {
				if n == killAt {
					close(reached)
				}
			}
			a := b.start(t)
			select {
			case <-reached:
			case <-a.ended:
				t.Fatal("the agent ended by itself")
			case <-time.After(settledIn):
				t.Fatalf("after %v only %d uploads were answered", settledIn, counts.answeredKeys())
			}
			// Both before the kill, so that no answer counts that the agent could not have seen.
			before, answered := counts.state()
			killed := time.Now()
			a.kill(t)
			if len(answered) >= files {
				t.Fatalf("all %d uploads were over before the kill", files)
			}
			a = b.startReady(t)
			b.equal(t, s3, "kill -9 in the middle of 2,000 uploads and a restart")
			a.stop(t)
			after, _ := counts.state()
			again := 0
			for key := range answered {
				if after[key] > before[key] {
					again++
					if again <= 3 {
						t.Errorf("%s was acknowledged before the kill at %s and sent again:\n%s", key, killed.Format("15:04:05.000"), counts.told(key))
					}
				}
			}
			total := 0
			for _, n := range after {
				total += n
			}
			t.Logf("%d of %d were acknowledged before the kill, %d of these were sent again; %d PUTs in all for %d objects",
				len(answered), files, again, total, len(after))
		})
	}
}
