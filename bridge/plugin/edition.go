package plugin

import (
	"encoding/binary"
	"slices"
	"strconv"
)

const (
	// gzipHeader is RFC 1952's: deflate, no name, no time, fastest, unknown system.
	gzipHeader = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"

	// finalBlock is a deflate block of fixed codes with nothing in it.
	finalBlock = "\x03\x00"
)

// edition is a published report. It never changes.
type edition struct {
	plain, gzipped encoding
}

// encoding is a report's bytes, in pieces, with what goes into its header.
type encoding struct {
	pieces        [][]byte
	bytes         int
	contentLength []string
}

func (e *encoding) add(piece []byte) {
	if len(piece) > 0 {
		e.pieces = append(e.pieces, piece)
		e.bytes += len(piece)
	}
}

// press puts an edition together.
type press struct {
	edition edition
	sum     uint32 // CRC-32 of all that is plain
}

// newPress returns a press for about that many chunks.
func newPress(chunks int) *press {
	p := &press{}
	p.edition.plain.pieces = make([][]byte, 0, chunks)
	p.edition.gzipped.pieces = make([][]byte, 0, chunks+2)
	p.edition.gzipped.add([]byte(gzipHeader))
	return p
}

func (p *press) add(c chunk) {
	p.edition.plain.add(c.plain)
	p.edition.gzipped.add(c.deflated)
	p.sum = multiply(c.shift, p.sum) ^ c.sum
}

func (p *press) finish() *edition {
	e := &p.edition
	trailer := append(make([]byte, 0, len(finalBlock)+8), finalBlock...)
	trailer = binary.LittleEndian.AppendUint32(trailer, p.sum)
	trailer = binary.LittleEndian.AppendUint32(trailer, uint32(e.plain.bytes))
	e.gzipped.add(trailer)
	e.plain.contentLength = []string{strconv.Itoa(e.plain.bytes)}
	e.gzipped.contentLength = []string{strconv.Itoa(e.gzipped.bytes)}
	return e
}

// json returns the whole report.
func (e *edition) json() []byte { return slices.Concat(e.plain.pieces...) }
