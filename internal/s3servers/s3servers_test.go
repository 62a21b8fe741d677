package s3servers_test

import (
	"net/http"
	"testing"

	"go.uber.org/goleak"

	"s3apu/internal/s3servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStart starts every server, sees that it answers and that it is gone when its test is.
func TestStart(t *testing.T) {
	for _, kind := range s3servers.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			var endpoint string
			t.Run("run", func(t *testing.T) {
				s := s3servers.Start(t, kind)
				endpoint = s.Endpoint
				b := s.Bucket(t, "first")
				if err := b.Probe(t.Context()); err != nil {
					t.Error(err)
				}
				s.Bucket(t, "first") // again
				for _, f := range b.Check(t.Context(), "") {
					if !f.OK {
						t.Errorf("%+v", f)
					}
				}
			})
			if endpoint == "" {
				t.Skip("it was not started")
			}
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			if resp, err := client.Get(endpoint); err == nil {
				_ = resp.Body.Close()
				t.Errorf("it still answers: %s", resp.Status)
			}
		})
	}
}
