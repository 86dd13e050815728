package exposition

import (
	"bytes"
	"cmp"
	"errors"
	"io"
)

// pieceSize is roughly how much a filter hands to the parser at a time.
const pieceSize = 32 << 10

// eof is the last line of OpenMetrics.
const eof = "# EOF"

// errVerbatim asks for the rest of the body to be parsed as it is.
var errVerbatim = errors.New("exposition has a NUL byte")

// textFilter filters the text format and OpenMetrics by lines, before any lexer sees
// them. Textparse is the judge of what is right. The filter leaves out a line only if
// textparse, where it accepts the exposition, reads exactly this line as one sample of
// an unwanted metric. It hands on all that looks odd.
//
// What textparse knows that a scan for newlines does not:
//   - A newline may stand inside of quotes. To take the rest of a label's value
//     for a line would let whoever controls the label make up series.
//   - A name may stand in quotes, anywhere in the braces: {a="b","name"}.
//   - A # TYPE line holds until the next one, whichever metric it names, and
//     decides how the labels le and quantile are written.
//   - A NUL byte can end an exposition.
//
// One thing is given up: a malformed line that no rule needs does not fail the scrape,
// unless it is in the piece that Options.WholeStart hands on.
type textFilter struct {
	window
	openMetrics bool
	want        func(name []byte) bool                  // nil wants all
	labels      *Preselector                            // nil wants all labels
	take        func(series []byte, value float64) bool // Options.Take
	pieceSize   int                                     // pieceSize if 0

	out      []byte
	typ      []byte // the last # TYPE line
	typSent  bool   // it is in out, or there is none
	ended    bool   // # EOF was seen
	verbatim bool   // the rest is to be parsed as it is
	whole    bool   // Options.WholeStart, until the first piece

	// The verdict on the name of the line before: lines of one metric come
	// together.
	name       []byte
	nameWanted bool
	nameTaken  bool // the last sample of that name that was offered was taken
}

func (f *textFilter) reset(src io.Reader, openMetrics bool, want func(name []byte) bool, labels *Preselector) {
	f.window.reset(src)
	f.openMetrics, f.want, f.labels = openMetrics, want, labels
	f.pieceSize = cmp.Or(f.pieceSize, pieceSize)
	f.out, f.typ, f.name = f.out[:0], f.typ[:0], f.name[:0]
	f.ended, f.verbatim, f.whole, f.take = false, false, false, nil
}

func (f *textFilter) release() {
	f.window.release()
	f.take = nil
	f.out, f.typ, f.name = emptied(f.out), emptied(f.typ), emptied(f.name)
}

// next returns the next piece, and io.EOF after the last. A piece is valid until the
// next call.
func (f *textFilter) next() ([]byte, error) {
	f.out, f.typSent = f.out[:0], len(f.typ) == 0
	if f.whole {
		want := f.want
		f.want, f.whole = nil, false
		defer func() { f.want = want }()
	}
	for len(f.out) < f.pieceSize && !f.verbatim {
		line, err := f.line()
		switch {
		case err == nil:
			f.send(line)
		case errors.Is(err, io.EOF):
			return f.last()
		case errors.Is(err, errVerbatim):
			f.verbatim = true
		default:
			return nil, err
		}
	}
	if len(f.out) == 0 {
		return f.rest()
	}
	return f.piece(), nil
}

func (f *textFilter) send(line []byte) {
	if !f.typSent {
		f.out = append(f.out, f.typ...)
		f.typSent = true
	}
	f.out = append(f.out, line...)
}

// piece makes what was sent an exposition of its own.
func (f *textFilter) piece() []byte {
	if f.openMetrics {
		f.out = append(f.out, "# EOF\n"...)
	}
	return f.out
}

func (f *textFilter) last() ([]byte, error) {
	switch {
	case f.openMetrics && !f.ended && f.size > 0:
		return nil, errNoEOF
	case len(f.out) == 0:
		return nil, io.EOF
	default:
		return f.piece(), nil
	}
}

// rest returns all that was not consumed yet as the last piece.
func (f *textFilter) rest() ([]byte, error) {
	b, err := f.all(maxWhole)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, io.EOF
	}
	f.send(b)
	return f.out, nil
}

// line consumes the body up to and with the next wanted line, and returns it.
func (f *textFilter) line() ([]byte, error) {
	for {
		found := f.skip()
		b := f.unread()
		var (
			end    int // of the line, 0 if the window does not hold all of it
			wanted bool
		)
		switch {
		case !found:
		case f.offer(b):
			continue
		case nameStart(b[0]):
			end, wanted = endOfSample(b), f.wants(b)
			if end > 0 && wanted && f.want != nil && f.labels != nil {
				wanted = f.labels.text(b[:end], len(f.name))
			}
			if end > 0 && !wanted {
				f.skipped++
			}
		case f.openMetrics && bytes.HasPrefix(b, []byte(eof)):
			return nil, f.finish(len(eof))
		default:
			var err error
			if end, wanted, err = f.odd(b); err != nil {
				return nil, err
			}
		}
		if end == 0 {
			if err := f.refill(); err != nil {
				return nil, err
			}
			continue
		}
		f.r += end
		if wanted {
			return b[:end], nil
		}
	}
}

// skip passes over lines that begin with an unwanted name, as most lines do. It
// returns false if the window holds no whole line any more. It returns true if the line
// at the front of the window is not to be skipped, or not whole.
//
// Lines of one name come together, and are skipped as a block. That makes a series cost
// 2.9 times what the search for its newline costs; line by line it is 3.7 times, and
// with endOfSample for each line 10 times (BenchmarkParse/10k). The bar is 4 times, and
// a scrape that costs an eighth of Prometheus's.
func (f *textFilter) skip() bool {
	for {
		b := f.unread()
		end := bytes.IndexByte(b, '\n') + 1
		if end == 0 {
			return false
		}
		if !nameStart(b[0]) || f.wants(b) {
			return true
		}
		block, lines := f.block(b, end)
		if closed(b[:block]) {
			f.r += block
			f.skipped += lines
		} else if !f.skipEach(block) {
			return true
		}
	}
}

// block returns the length and number of the lines at the front of b that begin with
// the name of the first one, which ends at end.
func (f *textFilter) block(b []byte, end int) (length, lines int) {
	n := len(f.name)
	for lines = 1; len(b)-end > n && !nameByte(b[end+n]) && bytes.Equal(b[end:end+n], f.name); lines++ {
		k := bytes.IndexByte(b[end:], '\n') + 1
		if k == 0 {
			break
		}
		end += k
	}
	return end, lines
}

// closed tells that no quoted string goes on after a block: its quotes come in pairs,
// and nothing escapes one. A string that holds a newline within the block hides nothing
// that is wanted, since what follows begins with the unwanted name too.
func closed(block []byte) bool {
	return bytes.Count(block, []byte{'"'})%2 == 0 && bytes.IndexByte(block, '\\') < 0
}

// skipEach passes over the samples that begin in a block, one by one. It returns false
// if the window does not hold all of a sample.
func (f *textFilter) skipEach(block int) bool {
	for block > 0 {
		end := endOfSample(f.unread())
		if end == 0 {
			return false
		}
		f.r += end
		f.skipped++
		block -= end
	}
	return true
}

// wants tells whether the metric of a line that begins with its name is
// wanted. The line must have a newline.
func (f *textFilter) wants(line []byte) bool {
	if f.want == nil {
		return true
	}
	n := len(f.name)
	if n > 0 && n < len(line) && !nameByte(line[n]) && bytes.Equal(line[:n], f.name) {
		return f.nameWanted
	}
	n = 1
	for nameByte(line[n]) {
		n++
	}
	f.name = append(f.name[:0], line[:n]...)
	f.nameWanted, f.nameTaken = f.want(f.name), true
	return f.nameWanted
}

// refill brings more of the body into the window. It returns io.EOF if all of
// it was consumed.
func (f *textFilter) refill() error {
	if errors.Is(f.err, io.EOF) {
		if f.r == f.w {
			return io.EOF
		}
		return errUnclosed
	}
	if err := f.more(maxLine); err != nil {
		return err
	}
	if errors.Is(f.err, io.EOF) && f.w > f.r && f.buf[f.w-1] != '\n' {
		f.buf = append(f.buf[:f.w], '\n')
		f.buf = f.buf[:cap(f.buf)]
		f.w++
	}
	return nil
}

// finish consumes the # EOF line of n bytes, after which nothing may come.
func (f *textFilter) finish(n int) error {
	f.r += n
	if f.unread()[0] == '\n' {
		f.r++
	}
	if f.r == f.w && f.err == nil {
		if err := f.more(maxLine); err != nil {
			return err
		}
	}
	if f.r < f.w {
		return errAfterEOF
	}
	f.ended = true
	return io.EOF
}
