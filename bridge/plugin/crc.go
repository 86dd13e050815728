package plugin

import "hash/crc32"

// A gzip stream ends with the CRC-32 of its content. The content's parts are
// encoded at different times, so their checksums are combined: with the bits of a
// message read as a polynomial, the checksum is its remainder modulo crc32.IEEE,
// and appending n bytes multiplies by x^8n.

// Bit 31 of a checksum is the coefficient of x^0.
const (
	polynomialOne = 1 << 31       // 1
	polynomialX8  = 1 << (31 - 8) // x^8, a byte's worth
)

// multiply returns the product of two polynomials modulo crc32.IEEE.
func multiply(a, b uint32) uint32 {
	var product uint32
	for bit := uint32(polynomialOne); bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		b = b>>1 ^ crc32.IEEE&-(b&1)
	}
	return product
}

// shiftBy returns x^8n modulo crc32.IEEE, by which a checksum is multiplied when n
// bytes follow.
func shiftBy(n int) uint32 {
	shift, square := uint32(polynomialOne), uint32(polynomialX8)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			shift = multiply(shift, square)
		}
		square = multiply(square, square)
	}
	return shift
}
