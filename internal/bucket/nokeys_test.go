package bucket_test

import (
	"strings"
	"testing"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

// Who has set no keys at all is told of those first that are ours, and not of an instance that there is none.
func TestNoKeysAnywhere(t *testing.T) {
	alone(t)
	b, err := bucket.Open(t.Context(), bucket.Config{Bucket: "bucket", Endpoint: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	e := failed(t, b.Probe(t.Context()), protocol.KindTarget)
	t.Log(e)
	ours, theirs := strings.Index(e.Error(), "S3APU_S3_ACCESS_KEY_ID"), strings.Index(e.Error(), "AWS_")
	if ours < 0 || theirs < ours || strings.Contains(e.Error(), "IMDS") {
		t.Errorf("it says %q", e)
	}
}
