//go:build linux

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"s3apu/internal/s3servers"
)

// TestChurnThroughKillsAndFaults is the churn with an agent that is killed with SIGKILL every second and an endpoint that
// fails in every way that we know. The person that looks after it releases held deletes.
func TestChurnThroughKillsAndFaults(t *testing.T) {
	gate(t)
	kinds := map[s3servers.Kind]time.Duration{
		s3servers.VersityGW: either(45*time.Second, 5*time.Minute),
		s3servers.MinIO:     either(20*time.Second, 5*time.Minute),
	}
	for _, kind := range realServers {
		for _, seed := range seeds(1, 2) {
			t.Run(fmt.Sprintf("%s/%d", kind, seed), func(t *testing.T) {
				t.Parallel()
				churnKilled(t, kind, seed, kinds[kind])
			})
		}
	}
}

// killEvery is how long an agent lives.
const killEvery = time.Second

func churnKilled(t *testing.T, kind s3servers.Kind, seed uint64, long time.Duration) {
	srv := s3servers.Start(t, kind)
	s3 := srv.Bucket(t, "churn")
	b := boxFor(t, srv, "churn")
	bad := newWeather(seed)
	b.endpoint = serveWeather(t, srv.Endpoint, bad)
	b.extra = "[worker]\nslowdown_time = \"1s\"\n[log]\nlevel = \"debug\"\n"
	b.save(t)
	c := newChurn(seed, b.tree, b.outside(t))
	c.rare = true
	b.put(t, keeper, nil)
	churnFor(t, c, 100)

	log := &output{}
	ctx, stop := context.WithTimeout(t.Context(), long)
	defer stop()
	killed := make(chan int)
	go func() { killed <- killAgain(ctx, t, b, log) }()
	n := ops(int(long / (15 * time.Millisecond)))
	for i := 0; i < n || ctx.Err() == nil; i++ {
		must(t, c.step())
		<-time.After(long / time.Duration(n))
	}
	stop()
	kills := <-killed

	a := b.startLogging(t, log)
	p := &person{}
	took, err := b.settle(t.Context(), s3, p, settledIn)
	if err != nil {
		explain(t, seed, c, err, log, bad)
		return
	}
	a.stop(t)
	b.booksAgree(t, srv, s3)
	t.Logf("seed %d on %s: %d operations in %v with %d kills, equal within %v, %d deletes released; %d files renamed; %v",
		seed, kind, len(c.log), long, kills, took.Round(time.Millisecond), p.released, c.renamed, bad)
}

// killAgain starts the agent and kills it, again and again, until ctx ends, and returns how often.
func killAgain(ctx context.Context, t *testing.T, b *box, log *output) (kills int) {
	for ctx.Err() == nil {
		a := b.startLogging(t, log) //nolint:contextcheck // it lives until it is killed
		select {
		case <-time.After(killEvery):
		case <-ctx.Done():
		}
		if a.gone() {
			t.Errorf("the agent ended by itself with %d", a.cmd.ProcessState.ExitCode())
		}
		_ = a.cmd.Process.Kill()
		<-a.ended
		kills++
	}
	return kills
}
