package worker

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"s3apu/protocol"
)

// settlements is a Source that notes when how many results were settled.
type settlements struct {
	Source
	began time.Time
	at    []time.Duration
	sizes []int
}

func (s *settlements) Settle(_ context.Context, results []protocol.Result) ([]protocol.Outcome, error) {
	s.at, s.sizes = append(s.at, time.Since(s.began)), append(s.sizes, len(results))
	return make([]protocol.Outcome, len(results)), nil
}

// TestResultsComeTogether: a result that comes alone is settled at once, those behind it share a commit, and the end waits for none.
func TestResultsComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &settlements{began: time.Now()}
		p, err := New(Config{Bucket: testBucket}, src, newStore())
		if err != nil {
			t.Fatal(err)
		}
		p.record, p.results = t.Context(), make(chan finished, unsettled)
		ended := make(chan struct{})
		go func() { defer close(ended); p.settle() }()

		p.results <- finished{}
		for range 4 { // 1 to 4 ms behind it
			<-time.After(time.Millisecond)
			p.results <- finished{}
		}
		<-time.After(time.Second) // 1.004 s
		p.results <- finished{}
		synctest.Wait()
		for range 2*unsettled - 1 { // more than one commit takes
			p.results <- finished{}
		}
		close(p.results)
		<-ended
		late := time.Second + 4*time.Millisecond
		if want := []int{1, 4, 1, unsettled, unsettled - 1}; !slices.Equal(src.sizes, want) {
			t.Errorf("settled were %v, not %v", src.sizes, want)
		}
		if want := []time.Duration{0, settleGap, late, late, late}; !slices.Equal(src.at, want) {
			t.Errorf("settled was at %v, not %v", src.at, want)
		}
	})
}
