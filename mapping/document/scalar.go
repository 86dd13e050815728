package document

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// locate returns where in the text a byte of a scalar's value comes from, and
// false if value and text cannot be brought together.
//
// Folding, chomping and indentation only ever change white space, so the other
// characters of a value are found in the text in the same order. Only double
// quotes (escapes) and single quotes (doubled quotes) need more than that.
func (d *Document) locate(node *yaml.Node, offset int) (Position, bool) {
	node = Resolve(node)
	if node.Kind != yaml.ScalarNode || node.Line < 1 || node.Line > len(d.lines) || offset < 0 {
		return Position{}, false
	}
	s := scanner{lines: d.lines, line: node.Line - 1, style: node.Style &^ yaml.TaggedStyle}
	s.column = byteOffset(d.lines[s.line], node.Column-1)
	s.skipProperties()
	switch s.style {
	case yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle:
		s.column++
	case yaml.LiteralStyle, yaml.FoldedStyle:
		s.nextLine()
	default: // a plain scalar begins where it stands
	}

	for i, r := range node.Value {
		if i >= offset {
			break
		}
		if !s.match(r) {
			return Position{}, false
		}
	}
	if offset < len(node.Value) && !isBlank(rune(node.Value[offset])) {
		s.skipBlanks()
	}
	return Position{Line: s.line + 1, Column: utf8.RuneCountInString(s.lines[s.line][:s.column]) + 1}, true
}

// scanner walks through the text of one scalar.
type scanner struct {
	lines        []string
	line, column int // column in bytes
	style        yaml.Style
}

func (s *scanner) rest() string { return s.lines[s.line][s.column:] }

// skipBlanks goes to the next character that is not white space, over ends of
// lines and, within double quotes, over escaped ones.
func (s *scanner) skipBlanks() {
	for {
		rest := s.rest()
		trimmed := strings.TrimLeft(rest, " \t")
		s.column += len(rest) - len(trimmed)
		atEnd := trimmed == "" || (s.style == yaml.DoubleQuotedStyle && trimmed == `\`)
		if !atEnd || !s.nextLine() {
			return
		}
	}
}

// nextLine goes to the beginning of the next line, or to the end of the last.
func (s *scanner) nextLine() bool {
	if s.line+1 == len(s.lines) {
		s.column = len(s.lines[s.line])
		return false
	}
	s.line, s.column = s.line+1, 0
	return true
}

// skipProperties goes over a tag and an anchor in front of the scalar.
func (s *scanner) skipProperties() {
	for s.skipBlanks(); ; s.skipBlanks() {
		switch rest := s.rest(); {
		case strings.HasPrefix(rest, "!"):
			s.column += indexOr(rest, isBlank)
		case strings.HasPrefix(rest, "&"):
			s.column += 1 + indexOr(rest[1:], func(r rune) bool { return !isAnchor(r) })
		default:
			return
		}
	}
}

// indexOr returns the first index that satisfies stop, or the length.
func indexOr(s string, stop func(rune) bool) int {
	if i := strings.IndexFunc(s, stop); i >= 0 {
		return i
	}
	return len(s)
}

// isAnchor reports whether a character can be part of an anchor's name.
func isAnchor(r rune) bool {
	return r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// match goes over one character of the value.
func (s *scanner) match(r rune) bool {
	if isBlank(r) {
		if size, ok := s.next(r); ok {
			s.column += size
		}
		return true // else it stands for the end of a line
	}
	s.skipBlanks()
	size, ok := s.next(r)
	s.column += size
	return ok
}

// next returns how many bytes of the text stand for the given character.
func (s *scanner) next(r rune) (int, bool) {
	rest := s.rest()
	switch {
	case s.style == yaml.DoubleQuotedStyle && strings.HasPrefix(rest, `\`):
		value, size := unescape(rest)
		return size, value == r
	case s.style == yaml.SingleQuotedStyle && strings.HasPrefix(rest, "''"):
		return 2, r == '\''
	}
	got, size := utf8.DecodeRuneInString(rest)
	return size, size > 0 && got == r
}

// unescape returns the character of the escape sequence that s begins with,
// and its length.
func unescape(s string) (rune, int) {
	if len(s) < 2 {
		return utf8.RuneError, len(s)
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[1]]
	if digits == 0 {
		return namedEscape(s[1]), 2
	}
	end := min(2+digits, len(s))
	r, _ := strconv.ParseUint(s[2:end], 16, 32) // the parser has read it already
	return rune(r), end
}

// namedEscape returns the character of an escape sequence without digits.
func namedEscape(c byte) rune {
	const names, characters = "0abtnvfreN_LP", "\x00\a\b\t\n\v\f\r\x1b\u0085\u00a0\u2028\u2029"
	if i := strings.IndexByte(names, c); i >= 0 {
		return []rune(characters)[i]
	}
	return rune(c) // a space, a tab, a quote, a slash, a backslash
}

func isBlank(r rune) bool {
	switch r {
	case ' ', '\t', '\n', '\r', '\u0085', '\u2028', '\u2029':
		return true
	}
	return false
}

// byteOffset returns where in s its n-th character begins.
func byteOffset(s string, n int) int {
	for i := range s {
		if n <= 0 {
			return i
		}
		n--
	}
	return len(s)
}
