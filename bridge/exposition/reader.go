package exposition

import (
	"io"

	"github.com/prometheus/prometheus/model/textparse"
)

// A Reader hands on those parts of an exposition that somebody may want, in pieces
// that textparse can parse each on its own, and skips the rest. Its memory does not
// grow with the exposition, and can be used for another one. The zero value is ready
// for Reset.
type Reader struct {
	text  textFilter
	proto protoFilter

	next      func() ([]byte, error) // of one of these: returns the next piece, or io.EOF
	window    *window                // of the same
	mediaType string
	options   Options
}

// Options tell how an exposition is parsed, and what of it is wanted.
type Options struct {
	Parser textparse.ParserOptions
	// WantName tells whether a series of the metric name may be wanted. It does not
	// keep the name. Nil wants all series.
	WantName func(name []byte) bool
	// Labels narrows that down by the labels of the series, if it is not nil.
	Labels *Preselector
	// WholeStart hands on all lines of the first piece of a text, wanted or not: what is no
	// exposition at all may have none that is wanted. Protobuf shows it by its lengths.
	WholeStart bool
	// Take, if it is not nil, is offered samples of wanted names before they are parsed: the
	// series, in the bytes by which a parser would name it, and its value. It returns false
	// for a series that it does not know, which is parsed then. It keeps nothing of it.
	Take func(series []byte, value float64) bool
}

// Reset begins an exposition of a media type that [MediaType] returned.
func (r *Reader) Reset(body io.Reader, mediaType string, options Options) {
	r.mediaType, r.options = mediaType, options
	if mediaType == MediaProto {
		r.proto.reset(body, options.Parser, options.WantName)
		r.next, r.window = r.proto.next, &r.proto.window
		return
	}
	r.text.reset(body, mediaType == MediaOpenMetrics, options.WantName, options.Labels)
	if mediaType == MediaText {
		r.text.take = options.Take
	}
	// Buckets are converted together, however many lines they take.
	r.text.verbatim = options.Parser.ConvertClassicHistogramsToNHCB
	r.text.whole = options.WholeStart
	r.next, r.window = r.text.next, &r.text.window
}

// Next returns a parser of the next piece, and io.EOF after the last. The parser is
// valid until the next call. An error is that of reading the body, or has a method Reason.
func (r *Reader) Next() (textparse.Parser, error) {
	piece, err := r.next()
	if err != nil {
		return nil, err
	}
	options := r.options.Parser
	if r.window.bare {
		options.KeepClassicOnClassicAndNativeHistograms = false
	}
	return textparse.New(piece, r.mediaType, nil, options)
}

// Wants tells whether a series, in the bytes by which a parser names it, may be
// wanted. Families of protobuf are skipped by their names only; this is the look at
// the labels of the series in them. And it is the look at what WholeStart hands on.
func (r *Reader) Wants(series []byte) bool {
	if r.mediaType == MediaProto {
		return r.options.Labels == nil || r.options.Labels.proto(series)
	}
	if !r.options.WholeStart || r.options.WantName == nil {
		return true
	}
	n := 0
	for n < len(series) && nameByte(series[n]) {
		n++
	}
	return n == 0 || r.options.WantName(series[:n]) // it is in quotes, or known
}

// Skipped returns how many samples were left out so far.
func (r *Reader) Skipped() int { return r.window.skipped }

// Size returns how many bytes of the exposition were read so far.
func (r *Reader) Size() int64 { return r.window.size }

// Release lets go of the body, and of the memory that an unusual exposition took
// beyond the usual: the pool of readers is used each second and never emptied.
func (r *Reader) Release() {
	r.text.release()
	r.proto.release()
	r.options = Options{}
}

// maxKept is how much of a buffer for pieces is kept from one exposition to the next,
// in bytes. A piece goes over its size by a line or a family.
const maxKept = 4 * pieceSize

// emptied returns a buffer without its content, and without its memory if it grew
// beyond what is kept.
func emptied(b []byte) []byte {
	if cap(b) > maxKept {
		return nil
	}
	return b[:0]
}
