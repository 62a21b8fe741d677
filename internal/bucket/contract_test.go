package bucket_test

import (
	"testing"

	"go.uber.org/goleak"

	"s3apu/internal/bucket"
	"s3apu/internal/bucket/buckettest"
	"s3apu/internal/s3servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestContract runs the contract against every server there is.
func TestContract(t *testing.T) {
	lacks := map[s3servers.Kind]map[string]string{
		s3servers.Memory: {
			"Multipart":        "gofakes3 forgets the number of parts in the ETag of an object made of parts",
			"MultipartByCRC64": "gofakes3 knows nothing of checksums of uploads in parts, so that this one is by MD5",
			"CopyByParts":      "gofakes3 forgets the number of parts in the ETag of an object made of parts",
			"List":             "gofakes3's store skips a key if a listing begins behind one that is not there",
			"ListDelimiter":    "gofakes3's store lists a folder object as an object and not as a common prefix",
		},
	}
	for _, kind := range s3servers.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := s3servers.Start(t, kind)
			buckettest.Run(t, buckettest.Target{
				Config: func(t *testing.T, name string) bucket.Config {
					s.Bucket(t, name)
					return s.Config(name)
				},
				Lacks: lacks[kind],
			})
		})
	}
}
