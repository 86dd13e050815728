package scrape

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/promscope/promscope/bridge/exposition"
)

const fixtures = "../exposition/testdata"

// recorded returns a recorded exposition.
func recorded(tb testing.TB, name string) []byte {
	tb.Helper()
	f, err := os.Open(filepath.Join(fixtures, name+".gz"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// traps returns labels and lines that a filter may misread.
func traps(tb testing.TB) (list []string) {
	tb.Helper()
	content, err := os.ReadFile(filepath.Join(fixtures, "traps.txt"))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if quoted, err := strconv.QuotedPrefix(line); err == nil {
			trap, err := strconv.Unquote(quoted)
			if err != nil {
				tb.Fatal(err)
			}
			list = append(list, trap)
		}
	}
	if len(list) == 0 {
		tb.Fatal("no traps")
	}
	return append(list, labelTraps...)
}

// newlineInQuotes tells whether a string of a text may go over lines. The lines
// of such a text are counted, not its samples.
func newlineInQuotes(b []byte, mediaType string) bool {
	for line := range bytes.Lines(b) {
		if mediaType != exposition.MediaProto && (bytes.Count(line, []byte{'"'})%2 != 0 || bytes.IndexByte(line, '\\') >= 0) {
			return true
		}
	}
	return false
}
