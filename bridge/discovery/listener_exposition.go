package discovery

import (
	"bytes"
	"mime"
	"regexp"
	"unicode/utf8"
)

// sample matches the beginning of a line with a sample, in the text format and in
// OpenMetrics.
var sample = regexp.MustCompile(`^(?:[a-zA-Z_:][a-zA-Z0-9_:]*[ \t]*(?:\{.*\})?|\{.+\})[ \t]+[-+]?(?i:[0-9.]|nan|inf)`)

// isExposition reports whether an answer is an exposition, by its content type and its
// first bytes; whole says whether these are all bytes.
func isExposition(contentType string, head []byte, whole bool) bool {
	media, params, err := mime.ParseMediaType(contentType)
	if contentType != "" && err != nil {
		return false
	}
	switch media {
	case "", "text/plain", "application/openmetrics-text":
	default:
		return false
	}
	if !whole { // the last line is cut
		end := bytes.LastIndexByte(head, '\n')
		if end < 0 {
			return false
		}
		head = head[:end]
	}
	if !utf8.Valid(head) || bytes.IndexByte(head, 0) >= 0 {
		return false
	}
	samples, comments := 0, 0
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\n"))
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0:
		case bytes.HasPrefix(line, []byte("# HELP ")), bytes.HasPrefix(line, []byte("# TYPE ")),
			bytes.HasPrefix(line, []byte("# UNIT ")), bytes.Equal(line, []byte("# EOF")):
			comments++
		case line[0] == '#':
		case sample.Match(line):
			samples++
		default:
			return false
		}
	}
	// An exporter may have nothing to say, but then its content type says who it is.
	return samples+comments > 0 || whole && params["version"] != ""
}
