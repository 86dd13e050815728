package exposition

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/textparse"
)

// Known series are taken in their order, and everything else goes to the parser. Both
// together are what is exposed.
func TestTake(t *testing.T) {
	known := map[string]bool{`a{x="1"}`: true, `a{x="2"}`: true, "b": true, `c{x="}} 3"}`: true, `e{x="1"}`: true, "f": true, "g": true}
	for _, test := range []struct {
		name, body    string
		taken, parsed []string
	}{
		{"known", "a{x=\"1\"} 1\na{x=\"2\"} 2.5e-3\nb -7\n", []string{`a{x="1"} 1`, `a{x="2"} 0.0025`, "b -7"}, nil},
		{"no newline at the end", "b 1", []string{"b 1"}, nil},
		{"not finite", "a{x=\"1\"} NaN\na{x=\"2\"} +Inf\n", []string{`a{x="1"} NaN`, `a{x="2"} +Inf`}, nil},
		{"a brace and a blank in quotes", "c{x=\"}} 3\"} 4\n", []string{`c{x="}} 3"} 4`}, nil},
		{"of another metric", "d 1\nb 2\n", nil, []string{"d 1", "b 2"}}, // in the piece that has begun
		{"unknown ones of a metric", "a{x=\"1\"} 1\na{x=\"3\"} 3\na{x=\"2\"} 2\n", []string{`a{x="1"} 1`}, []string{`a{x="3"} 3`, `a{x="2"} 2`}},
		{"a timestamp", "b 1 1000\n", nil, []string{"b 1"}},
		{"a timestamp, and then again", "b 1 1000\nb 2\n", nil, []string{"b 1", "b 2"}},
		{"two blanks, tabs", "b  1\nf\t2\ng 3\t\n", nil, []string{"b 1", "f 2", "g 3"}},
		{"a comment before", "# HELP b text\n# TYPE b counter\nb 1\n", []string{"b 1"}, nil},
		{"a newline in quotes", "e{x=\"\nb 5\"} 1\n", nil, []string{"e{x=\"\nb 5\"} 1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r Reader
			var taken, parsed []string
			r.Reset(strings.NewReader(test.body), MediaText, Options{
				WantName: func([]byte) bool { return true },
				Take: func(series []byte, value float64) bool {
					if !known[string(series)] {
						return false
					}
					taken = append(taken, fmt.Sprintf("%s %v", series, value))
					return true
				},
			})
			for {
				p, err := r.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				parsed = append(parsed, samplesOf(t, p)...)
			}
			if diff := cmp.Diff(test.taken, taken); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.parsed, parsed); diff != "" {
				t.Errorf("parsed (-want +got):\n%s", diff)
			}
		})
	}
}

func samplesOf(t *testing.T, p textparse.Parser) (list []string) {
	for {
		kind, err := p.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		if kind == textparse.EntrySeries {
			series, _, value := p.Series()
			list = append(list, fmt.Sprintf("%s %v", series, value))
		}
	}
}

// A value that textparse refuses is left to it.
func TestTakeNoBadValue(t *testing.T) {
	for _, value := range []string{"0x1p4", "1_000", "1p3", "", "one", "1e999", "1#", "{1"} {
		var r Reader
		r.Reset(strings.NewReader("b "+value+"\n"), MediaText, Options{
			WantName: func([]byte) bool { return true },
			Take: func(series []byte, v float64) bool {
				t.Errorf("%q was offered as %s %v", value, series, v)
				return true
			},
		})
		p, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if kind, err := p.Next(); err == nil {
			t.Errorf("%q: textparse takes it as %v", value, kind)
		}
	}
}
