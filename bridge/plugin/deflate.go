package plugin

import (
	"hash/crc32"

	"github.com/klauspost/compress/flate"
)

// chunk is an immutable run of the report's bytes, plain and compressed. Chunks
// are compressed by themselves and end on a byte boundary, so that any sequence of
// them is a valid deflate stream which lacks but its final block.
type chunk struct {
	plain    []byte
	deflated []byte
	sum      uint32 // CRC-32 of plain
	shift    uint32 // shiftBy(len(plain))
}

func newChunk(plain, deflated []byte) chunk {
	return chunk{
		plain:    plain,
		deflated: deflated,
		sum:      crc32.ChecksumIEEE(plain),
		shift:    shiftBy(len(plain)),
	}
}

// deflater compresses pieces that are independent of each other. Publishing is mostly
// this: klauspost/compress makes it a third cheaper than compress/flate, and the
// report no larger.
type deflater struct {
	writer *flate.Writer
	out    sink
}

func newDeflater() *deflater {
	d := &deflater{}
	// A report crosses one socket of this machine, and lives for a second: the
	// fastest level will do.
	d.writer, _ = flate.NewWriter(&d.out, flate.BestSpeed) // fails for an unknown level
	return d
}

// append compresses plain and appends the result to dst.
func (d *deflater) append(dst, plain []byte) []byte {
	d.out = dst
	d.writer.Reset(&d.out)
	_, _ = d.writer.Write(plain) // a sink takes everything
	_ = d.writer.Flush()         // ends on a byte boundary
	dst, d.out = d.out, nil
	return dst
}

// chunk compresses plain, which must not change afterwards.
func (d *deflater) chunk(plain []byte) chunk {
	return newChunk(plain, d.append(nil, plain))
}

// sink is an io.Writer that appends.
type sink []byte

func (s *sink) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}

// separator is a comma as a stored deflate block (RFC 1951, 3.2.4): not final,
// uncompressed, length 1 and its complement. It stands between compressed nodes.
const separator = "\x00\x01\x00\xfe\xff,"
