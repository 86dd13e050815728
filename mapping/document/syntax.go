package document

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// prefixPattern matches what the parser puts before its message. Its line is
// left out: it is often where the surrounding block began.
var prefixPattern = regexp.MustCompile(`^yaml: (?:line \d+: )?`)

// syntaxError turns the parser's error into one with a place.
func (d *Document) syntaxError(content []byte, err error) Diagnostic {
	message := syntaxMessage(err)
	end := firstFailure(content, message)
	before := content[:end]
	if !strings.Contains(message, "character") {
		// The parser notices at the next token, which may be lines below.
		before = bytes.TrimRight(before, " \t\r\n")
	}
	line, column := 1, 1
	if len(before) > 0 {
		lines := splitLines(string(before))
		last := lines[len(lines)-1]
		line, column = len(lines), max(utf8.RuneCountInString(last), 1)
	}
	diagnostic := d.at(Position{Line: line, Column: column}, "%s", message)
	switch {
	case strings.Contains(message, "tab character"):
		return diagnostic.WithHint("YAML is indented with spaces, not with tabs")
	case strings.Contains(message, "mapping values are not allowed"):
		return diagnostic.WithHint(`quote a value that contains ": ", or check the indentation`)
	case strings.Contains(message, "did not find expected key"):
		return diagnostic.WithHint("check the indentation here and of the lines above")
	}
	return diagnostic
}

// firstFailure returns the length of the shortest text from the beginning at
// which the parser fails with the given message. The parser reads ahead by
// one token only, so that this is where the error is.
func firstFailure(content []byte, message string) int {
	n := sort.Search(len(content), func(n int) bool {
		return syntaxMessage(parseAll(content[:n])) == message
	})
	// Do not cut a character.
	for n < len(content) && !utf8.RuneStart(content[n]) {
		n++
	}
	return n
}

// parseAll parses all documents and returns the first error.
func parseAll(content []byte) error {
	for decoder := yaml.NewDecoder(bytes.NewReader(content)); ; {
		var node yaml.Node
		switch err := decoder.Decode(&node); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func syntaxMessage(err error) string {
	if err == nil {
		return ""
	}
	return prefixPattern.ReplaceAllString(err.Error(), "")
}
