package bucket

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/minio/crc64nvme"

	"s3apu/protocol"
)

// TestCRCOfTheWhole: the sums of the parts make that of the whole, whatever their sizes; and the algorithm is S3's: the
// check value is that of the catalogue (CRC-64/NVME of "123456789").
func TestCRCOfTheWhole(t *testing.T) {
	if got := crc64nvme.Checksum([]byte("123456789")); got != 0xae8b14860a799888 {
		t.Fatalf("%x", got)
	}
	if got := crcText(0xae8b14860a799888); got != "rosUhgp5mIg=" {
		t.Error(got)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var whole []byte
		var parts []protocol.Part
		for range r.IntN(6) {
			data := make([]byte, r.IntN(5000)*r.IntN(2))
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			whole = append(whole, data...)
			parts = append(parts, protocol.Part{Size: int64(len(data)), CRC64: crc64nvme.Checksum(data)})
		}
		if got, want := combinedCRC(parts), crc64nvme.Checksum(whole); got != want {
			t.Fatalf("%d parts, %d bytes: %x, not %x", len(parts), len(whole), got, want)
		}
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	parts := []protocol.Part{{Size: 5 << 20, CRC64: crc64nvme.Checksum(big[:5<<20])}, {Size: 11 << 20, CRC64: crc64nvme.Checksum(big[5<<20:])}}
	if combinedCRC(parts) != crc64nvme.Checksum(big) {
		t.Error("two large parts")
	}
}
