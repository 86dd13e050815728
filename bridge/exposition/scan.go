package exposition

import "bytes"

// These functions scan single lines. An end of 0 means that b does not hold all of the
// line. The caller makes sure that b holds a newline.

// endOfSample returns where the line of a sample that begins with its name
// ends: at the first newline that is not inside of a quoted string inside of
// the braces.
func endOfSample(b []byte) int {
	i := 1
	for nameByte(b[i]) {
		i++
	}
	if i = blanks(b, i); b[i] != '{' {
		return lineEnd(b, i)
	}
	for i++; i < len(b); i++ {
		switch b[i] {
		case '"':
			n := endOfString(b[i:])
			if n == 0 {
				return 0
			}
			i += n - 1
		case '}':
			return lineEnd(b, i)
		case '\n': // malformed
			return i + 1
		}
	}
	return 0
}

// endOfQuoted returns where the line ends if a newline inside of a quoted
// string, wherever one stands, does not end it.
func endOfQuoted(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			n := endOfString(b[i:])
			if n == 0 {
				return 0
			}
			i += n - 1
		case '\n':
			return i + 1
		}
	}
	return 0
}

// endOfString returns the length of the quoted string that b begins with.
func endOfString(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			// The parser does not see NUL bytes here.
			for i++; i < len(b) && b[i] == 0; {
				i++
			}
		case '"':
			return i + 1
		}
	}
	return 0
}

// lineEnd returns where the line that b[from] belongs to ends.
func lineEnd(b []byte, from int) int {
	n := bytes.IndexByte(b[from:], '\n')
	if n < 0 {
		return 0
	}
	return from + n + 1
}

func blanks(b []byte, from int) int {
	for isBlank(b[from]) {
		from++
	}
	return from
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// nameStart and nameByte tell what a metric name may begin and go on with.
func nameStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == ':'
}

func nameByte(c byte) bool { return nameStart(c) || c >= '0' && c <= '9' }
