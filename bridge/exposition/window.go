package exposition

import (
	"errors"
	"fmt"
	"io"
)

const (
	// windowSize is how much of a body is in memory at a time.
	windowSize = 64 << 10
	// maxLine is how far the window grows for a line that does not fit, and
	// maxWhole for what can only be parsed as a whole: a protobuf family, or an
	// odd exposition. What is longer fails the scrape.
	maxLine  = 4 << 20
	maxWhole = 64 << 20
)

// window is the part of a body that is in memory: buf[r:w] is read and not yet
// consumed. A filter also keeps here what it tells of the body beside its pieces.
type window struct {
	src  io.Reader
	buf  []byte
	r, w int
	err  error // of src, io.EOF included; nil while there is more
	size int64 // bytes read so far

	skipped int // samples that were left out so far
	// bare: nobody wants the classic series of the piece's histograms beside the
	// native ones. They count as skipped.
	bare bool
}

func (w *window) reset(src io.Reader) {
	if w.buf == nil {
		w.buf = make([]byte, windowSize)
	}
	*w = window{src: src, buf: w.buf}
}

// release lets go of the body, and of what a line out of the ordinary made the
// window grow to.
func (w *window) release() {
	if len(w.buf) > windowSize {
		w.buf = nil
	}
	w.src = nil
}

func (w *window) unread() []byte { return w.buf[w.r:w.w] }

// more reads until the window is full or the body ends. What is unread moves
// to the front; if that fills the window, it doubles, up to limit bytes. It
// returns an error only for a failed read or a window at its limit, and must
// not be called after the body's end.
func (w *window) more(limit int) error {
	n := copy(w.buf, w.unread())
	w.r, w.w = 0, n
	if n == len(w.buf) {
		if n >= limit {
			return fmt.Errorf("%w, more than %d bytes", errTooLong, limit)
		}
		w.buf = append(w.buf, make([]byte, min(n, limit-n))...)
	}
	// Reading on until it is full keeps the work linear however slowly and in
	// however small pieces the bytes come: each is looked at once or twice.
	for w.w < len(w.buf) && w.err == nil {
		var k int
		k, w.err = w.src.Read(w.buf[w.w:])
		w.w += k
	}
	w.size += int64(w.w - n)
	if w.err != nil && !errors.Is(w.err, io.EOF) {
		return w.err
	}
	return nil
}

// all reads the rest of the body, and returns it with what was unread before.
func (w *window) all(limit int) ([]byte, error) {
	for w.err == nil {
		if err := w.more(limit); err != nil {
			return nil, err
		}
	}
	b := w.unread()
	w.r = w.w
	return b, nil
}
