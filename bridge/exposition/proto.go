package exposition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/prometheus/prometheus/model/textparse"
)

// protoFilter filters the delimited protobuf format by metric families. It passes over
// an unwanted family field by field, to count its samples. It decodes nothing of it, and
// needs no more of it in memory than one metric.
type protoFilter struct {
	window
	options textparse.ParserOptions
	want    func(name []byte) bool // nil wants all

	out  []byte
	name []byte // scratch
}

func (f *protoFilter) reset(src io.Reader, options textparse.ParserOptions, want func(name []byte) bool) {
	f.window.reset(src)
	f.options, f.want = options, want
}

func (f *protoFilter) release() {
	f.window.release()
	f.out, f.name = emptied(f.out), emptied(f.name)
}

// next returns the next piece, and io.EOF after the last. A piece is valid until the
// next call.
func (f *protoFilter) next() ([]byte, error) {
	f.out = f.out[:0]
	for more := true; more && len(f.out) < pieceSize; {
		head, size, err := f.head()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if more, err = f.family(head, size); err != nil {
			return nil, err
		}
	}
	if len(f.out) == 0 {
		return nil, io.EOF
	}
	return f.out, nil
}

// head reads the length of the next family: its own length, and what it says.
// It returns io.EOF after the last family.
func (f *protoFilter) head() (head, size int, err error) {
	for {
		// 32 bits, in 5 bytes, are what textparse takes.
		b := f.unread()
		v, n := binary.Uvarint(b[:min(len(b), binary.MaxVarintLen32)])
		switch {
		case n > 0:
			return n, int(v), nil
		case len(b) >= binary.MaxVarintLen32, len(b) > 0 && f.err != nil:
			return 0, 0, errFamily
		case f.err != nil:
			return 0, 0, io.EOF
		}
		if err := f.more(maxWhole); err != nil {
			return 0, 0, err
		}
	}
}

// hold brings n bytes into the window.
func (f *protoFilter) hold(n int) error {
	for len(f.unread()) < n {
		if f.err != nil {
			return fmt.Errorf("protobuf metric family: %w", io.ErrUnexpectedEOF)
		}
		if err := f.more(maxWhole); err != nil {
			return err
		}
	}
	return nil
}

// family hands on or passes over one family. It returns false, and does neither, if
// the family is for another piece.
func (f *protoFilter) family(head, size int) (bool, error) {
	// The name comes first, though nothing promises it.
	if err := f.hold(min(head+size, len(f.buf))); err != nil {
		return false, err
	}
	b := f.unread()[head:]
	whole := len(b) >= size
	name, found := familyName(b[:min(len(b), size)])
	if found && !f.wants(name) {
		if !whole {
			f.r += head
			return true, f.pass(size)
		}
		if c, ok := f.count(b[:size]); ok {
			f.skipped += c.samples
			f.r += head + size
			return true, nil
		}
		// Odd: let the parser judge.
	}
	if err := f.hold(head + size); err != nil {
		return false, err
	}
	b = f.unread()[:head+size]
	classic := f.unwantedClassic(b[head:])
	if len(f.out) > 0 && f.bare != (classic > 0) {
		return false, nil
	}
	f.bare = classic > 0
	f.skipped += classic
	f.out = append(f.out, b...)
	f.r += head + size
	return true, nil
}

// wants tells whether a series that a family of the name can have is wanted.
func (f *protoFilter) wants(name []byte) bool {
	return f.want == nil || f.want(name) || f.wantsSuffixed(name)
}

// unwantedClassic returns the number of classic series of a family's native histograms,
// if nobody wants any of them.
func (f *protoFilter) unwantedClassic(b []byte) int {
	if f.want == nil || !f.options.KeepClassicOnClassicAndNativeHistograms {
		return 0
	}
	name, found := familyName(b)
	if !found || f.wantsSuffixed(name) {
		return 0
	}
	c, ok := f.count(b)
	if !ok {
		return 0
	}
	return c.classic
}

func (f *protoFilter) wantsSuffixed(name []byte) bool {
	for _, suffix := range [...]string{"_bucket", "_count", "_sum"} {
		f.name = append(append(f.name[:0], name...), suffix...)
		if f.want(f.name) {
			return true
		}
	}
	return false
}

// pass passes over a family of which the window does not hold all. Only here is the
// filter stricter than the parser: it cannot hand on an odd family of which it has
// passed over a part.
func (f *protoFilter) pass(size int) error {
	var c counter
	for size > 0 {
		b := f.unread()
		b = b[:min(len(b), size)]
		num, val, n := field(b)
		if n < 0 {
			if n != truncated || len(b) == size {
				return errFamily
			}
			if err := f.hold(len(b) + 1); err != nil {
				return err
			}
			continue
		}
		f.countField(&c, num, val)
		f.r += n
		size -= n
	}
	if c.names != 1 {
		return errFamily
	}
	f.skipped += c.samples
	return nil
}

func familyName(b []byte) (name []byte, found bool) {
	for len(b) > 0 {
		num, val, n := field(b)
		if n < 0 {
			return nil, false
		}
		if num == familyNameField {
			return val, true
		}
		b = b[n:]
	}
	return nil, false
}
