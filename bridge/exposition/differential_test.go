package exposition

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// The differential tests hold the filters against textparse: what a filter
// hands on, parsed piece by piece, must give the wanted samples that parsing
// the whole exposition gives.

// parsed is one sample as text, so that a difference can be read.
type parsed string

// parseAll parses an exposition, and returns its wanted samples up to the
// first error.
func parseAll(b []byte, media string, want func([]byte) bool, options textparse.ParserOptions) (got []parsed, all int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("textparse panicked: %v", r)
		}
	}()
	if len(b) == 0 {
		return nil, 0, nil
	}
	p, err := textparse.New(slices.Clone(b), media, nil, options)
	if err != nil {
		return nil, 0, err
	}
	for {
		kind, err := p.Next()
		if errors.Is(err, io.EOF) {
			return got, all, nil
		}
		if err != nil {
			return got, all, err
		}
		var (
			l    labels.Labels
			line string
			ts   *int64
		)
		switch kind {
		case textparse.EntrySeries:
			var v float64
			_, ts, v = p.Series()
			p.Labels(&l)
			line = fmt.Sprintf("%s %x", l, math.Float64bits(v))
		case textparse.EntryHistogram:
			_, t, h, fh := p.Histogram()
			ts = t
			p.Labels(&l)
			line = fmt.Sprintf("%s %v %v", l, h, fh)
		default:
			continue
		}
		all++
		if ts != nil {
			line += fmt.Sprintf(" @%d", *ts)
		}
		if want([]byte(l.Get(model.MetricNameLabel))) {
			got = append(got, parsed(line))
		}
	}
}

// parseFiltered parses what a filter hands on.
func parseFiltered(next func() ([]byte, error), w *window, media string, want func([]byte) bool, options textparse.ParserOptions) (got []parsed, all int, err error) {
	keep := options.KeepClassicOnClassicAndNativeHistograms
	for {
		piece, err := next()
		if errors.Is(err, io.EOF) {
			return got, all + w.skipped, nil
		}
		if err != nil {
			return got, all, err
		}
		options.KeepClassicOnClassicAndNativeHistograms = keep && !w.bare
		some, n, err := parseAll(piece, media, want, options)
		got, all = append(got, some...), all+n
		if err != nil {
			return got, all, err
		}
	}
}

// agree checks what must hold of a filter on any input.
func agree(t *testing.T, b []byte, next func() ([]byte, error), w *window, media string, want func([]byte) bool, options textparse.ParserOptions) {
	t.Helper()
	whole, wholeCount, wholeErr := parseAll(b, media, want, options)
	kept, keptCount, err := parseFiltered(next, w, media, want, options)
	switch {
	case wholeErr == nil && err != nil:
		t.Fatalf("refused what the parser accepts: %v\n%q", err, b)
	case wholeErr == nil:
		if diff := cmp.Diff(whole, kept); diff != "" {
			t.Fatalf("samples (-parser +filter):\n%s\n%q", diff, b)
		}
		if wholeCount != keptCount && !newlineInQuotes(b, media) {
			t.Fatalf("counted %d samples of %d\n%q", keptCount, wholeCount, b)
		}
	case err == nil:
		// A line that nobody wants was malformed. What came before it must
		// be there.
		if len(kept) < len(whole) || !slices.Equal(whole, kept[:len(whole)]) {
			t.Fatalf("the parser fails with %v after\n%q\nthe filter gives\n%q\nof %q", wholeErr, whole, kept, b)
		}
	}
}

// newlineInQuotes tells whether a string of a text may go over lines. The lines
// of such a text are counted, not its samples.
func newlineInQuotes(b []byte, media string) bool {
	for line := range bytes.Lines(b) {
		if media != MediaProto && (bytes.Count(line, []byte{'"'})%2 != 0 || bytes.IndexByte(line, '\\') >= 0) {
			return true
		}
	}
	return false
}

// wantSome wants a part of all names that an attacker of the test can name.
func wantSome(name []byte) bool { return len(name)%3 == 0 }

// recorded returns a recorded exposition.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// traps are expositions with lines that look like something else to a scan for
// newlines: the lines of testdata/traps.txt that begin with a Go string. The name sel
// is wanted, other is not.
func traps(t testing.TB) (list []string) {
	t.Helper()
	content, err := os.ReadFile("testdata/traps.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if quoted, err := strconv.QuotedPrefix(line); err == nil {
			trap, err := strconv.Unquote(quoted)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, trap)
		}
	}
	return list
}

func TestTextFilterAgreesOnTraps(t *testing.T) {
	for _, trap := range traps(t) {
		for _, media := range []string{MediaText, MediaOpenMetrics} {
			checkText(t, []byte(trap), media)
		}
	}
}

func TestTextFilterAgreesOnRecorded(t *testing.T) {
	for _, name := range []string{"node_exporter.txt", "node_exporter.om", "prometheus.txt"} {
		b := recorded(t, name)
		checkText(t, b, MediaText)
		checkText(t, b, MediaOpenMetrics)
		for i := range 50 { // truncated
			checkText(t, b[:len(b)*i/50], MediaText)
		}
	}
}

// checkText runs the filter over windows, pieces and reads of several sizes:
// a line can be cut anywhere.
func checkText(t *testing.T, b []byte, media string) {
	t.Helper()
	for _, size := range []struct{ window, piece, read int }{{1, 1, 1}, {7, 50, 3}, {windowSize, pieceSize, math.MaxInt}} {
		f := &textFilter{pieceSize: size.piece}
		f.buf = make([]byte, size.window)
		f.reset(&slowReader{b, size.read}, media == MediaOpenMetrics, wantSome, nil)
		agree(t, b, f.next, &f.window, media, wantSome, textparse.ParserOptions{})
	}
}

// slowReader reads at most n bytes at a time.
type slowReader struct {
	b []byte
	n int
}

func (r *slowReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.n)], r.b)
	r.b = r.b[n:]
	return n, nil
}

func FuzzText(f *testing.F) {
	for _, trap := range traps(f) {
		f.Add([]byte(trap), false)
		f.Add([]byte(trap), true)
	}
	for _, name := range []string{"node_exporter.txt", "prometheus.txt"} {
		b := recorded(f, name)
		f.Add(b[:8000], false)
		f.Add(b[len(b)-8000:], false)
	}
	om := recorded(f, "node_exporter.om")
	f.Add(om[len(om)-8000:], true)
	f.Fuzz(func(t *testing.T, b []byte, openMetrics bool) {
		media := MediaText
		if openMetrics {
			media = MediaOpenMetrics
		}
		checkText(t, b, media)
	})
}

// TestBadLines tells which malformed lines fail a scrape. In a piece that is handed on as a
// whole all of them do.
func TestBadLines(t *testing.T) {
	for _, c := range []struct {
		body string
		ok   bool
	}{
		{"other nonsense\nsel 1\n", true}, // a value
		{"other{a=1} 1\nsel 1\n", true},   // a label
		{"# TYPE other nonsense\nother 1\n# TYPE sel gauge\nsel 1\n", true},
		{"sel nonsense\nother 1\n", false},
		{"# TYPE sel nonsense\nsel 1\n", false},
		{"other 1\n<html>\nsel 1\n", false}, // not a name: the parser has its say
		{"other{a=\"open\nsel 1\n", false},
	} {
		f := &textFilter{}
		f.reset(strings.NewReader(c.body), false, wantSome, nil)
		_, _, err := parseFiltered(f.next, &f.window, MediaText, wantSome, textparse.ParserOptions{})
		if (err == nil) != c.ok {
			t.Errorf("%q: %v", c.body, err)
		}
		f.reset(strings.NewReader(c.body), false, wantSome, nil)
		f.whole = true
		if _, _, err := parseFiltered(f.next, &f.window, MediaText, wantSome, textparse.ParserOptions{}); err == nil {
			t.Errorf("%q, as a whole, is no error", c.body)
		}
	}
}

func TestLineTooLong(t *testing.T) {
	body := "other{a=\"" + strings.Repeat("x", maxLine) + "\"} 1\nsel 1\n"
	f := &textFilter{}
	f.reset(strings.NewReader(body), false, wantSome, nil)
	if _, _, err := parseFiltered(f.next, &f.window, MediaText, wantSome, textparse.ParserOptions{}); !errors.Is(err, errTooLong) {
		t.Errorf("error %v", err)
	}
	f.release()
	f.reset(bytes.NewReader([]byte("sel 1\n")), false, wantSome, nil)
	if len(f.buf) != windowSize {
		t.Errorf("the window stays at %d bytes", len(f.buf))
	}
}
