package exposition

import "io"

// wholeFilter skips nothing and hands on all in one piece.
type wholeFilter struct{ window }

func (*wholeFilter) bare() bool { return false }

func (*wholeFilter) skipped() int { return 0 }

func (f *wholeFilter) reset(src io.Reader) { f.window.reset(src) }

func (f *wholeFilter) next() ([]byte, error) {
	if f.err != nil {
		return nil, io.EOF
	}
	b, err := f.all(maxWhole)
	if err == nil && len(b) == 0 {
		err = io.EOF
	}
	return b, err
}
