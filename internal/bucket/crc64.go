package bucket

import (
	"encoding/base64"
	"encoding/binary"

	"github.com/minio/crc64nvme"

	"s3apu/protocol"
)

// crcText is a CRC-64 as S3's headers have it: base64 of its bytes, the highest first.
func crcText(crc uint64) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, crc))
}

// combinedCRC is the CRC-64/NVME of the bytes of all parts, one behind the other.
func combinedCRC(parts []protocol.Part) (crc uint64) {
	for i := range parts {
		crc = times(crc, xToThe(8*uint64(parts[i].Size))) ^ parts[i].CRC64
	}
	return crc
}

// A CRC is the remainder of the bytes, seen as a polynomial over GF(2), by one of degree 64. Bytes that follow multiply
// what came before by x, once for each of their bits; what a CRC does to its beginning and end cancels out (zlib,
// crc32_combine). In a word the highest bit is the coefficient of x⁰.

const x0 = 1 << 63

// times multiplies two polynomials.
func times(a, b uint64) (product uint64) {
	for ; a != 0; a <<= 1 {
		if a&x0 != 0 {
			product ^= b
		}
		carry := b & 1
		b >>= 1
		if carry != 0 {
			b ^= crc64nvme.NVME
		}
	}
	return product
}

// xToThe returns x to the power n.
func xToThe(n uint64) uint64 {
	power, square := uint64(x0), uint64(x0>>1)
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			power = times(power, square)
		}
		square = times(square, square)
	}
	return power
}
