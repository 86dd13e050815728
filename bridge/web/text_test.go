package web

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/promscope/promscope/bridge/view"
)

func TestExplainText(t *testing.T) {
	f := example(moment)
	for name, subject := range map[string]string{
		"explain_series.txt": "node_cpu_seconds_total", "explain_rule.txt": "go_goroutines", "explain_failing.txt": "host/cart_ratio", "explain_node.txt": "vm-03;4127", "explain_unknown.txt": "unheard_of",
	} {
		e, err := exampleExplanation(f, moment, subject)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := e.WriteText(&b, moment); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.Bytes())
	}
}

// A label value must not move the cursor or colour the terminal.
func TestExplainTextIsPrintable(t *testing.T) {
	bad := "\x1b[2J\x1b]0;title\x07\r\u009b31m\u202e\u202a\u2069\u200f"
	e, err := evil(bad).explain("x")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.WriteText(&b, moment); err != nil {
		t.Fatal(err)
	}
	if at := strings.IndexAny(b.String(), "\x1b\x07\r\u009b\u202e\u202a\u2069\u200f"); at >= 0 {
		t.Errorf("a control character at %d of %q", at, b.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestExplainTextError(t *testing.T) {
	if err := (view.Explanation{Subject: "x"}).WriteText(brokenWriter{}, moment); err == nil {
		t.Error("an error of the writer is lost")
	}
}
