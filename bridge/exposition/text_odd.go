package exposition

import (
	"bytes"
)

// odd handles a line that does not begin with a name. It returns where the
// line ends, 0 if that is not in b, and whether the parser should have it.
func (f *textFilter) odd(b []byte) (end int, wanted bool, err error) {
	i := blanks(b, 0)
	switch b[i] {
	case 0:
		return 0, false, errVerbatim
	case '\n':
		return i + 1, false, nil
	case '#':
		end, isType := f.comment(b, i+1)
		if bytes.IndexByte(b[:end], 0) >= 0 {
			return 0, false, errVerbatim
		}
		if isType && end > 0 {
			f.typ = append(f.typ[:0], b[:end]...)
			f.typSent = false
		}
		return end, false, nil
	default:
		return endOfQuoted(b), true, nil
	}
}

// comment returns where the comment whose text begins at b[i] ends, and
// whether it is a # TYPE line.
func (f *textFilter) comment(b []byte, i int) (end int, isType bool) {
	word := b[blanks(b, i):]
	isType = bytes.HasPrefix(word, []byte("TYPE"))
	named := isType || bytes.HasPrefix(word, []byte("HELP")) || f.openMetrics && bytes.HasPrefix(word, []byte("UNIT"))
	if named && isBlank(b[i]) && isBlank(word[4]) {
		// A name in quotes may hold newlines.
		if name := word[blanks(word, 4):]; name[0] == '"' {
			closed := endOfString(name)
			if closed == 0 {
				return 0, isType
			}
			return lineEnd(b, len(b)-len(name)+closed), isType
		}
		return lineEnd(b, i), isType
	}
	return lineEnd(b, i), false
}
