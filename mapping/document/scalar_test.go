package document

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

func TestErrorAt(t *testing.T) {
	for _, tt := range []struct {
		name, text, mark string // the error is at mark in the value of "expr"
		line, column     int
	}{
		{"plain", "expr: sum(rate(x[5s]))", "rate", 1, 11},
		{"plain over lines", "expr: sum(\n    rate(x)\n\n  )", "rate", 2, 5},
		{"plain with an anchor", "expr: &a sum(x)", "x", 1, 14},
		{"plain with a tag on a line of its own", "expr: !!str\n  sum(x)", "x", 2, 7},
		{"single quotes", "expr: 'a{b=''c''} + d'", "d", 1, 21},
		{"double quotes", `expr: "a{b=\"c\"} + d"`, "d", 1, 21},
		{"double quotes with codes", `expr: "a\x41\u0042\U00000043 + d"`, "d", 1, 32},
		{"double quotes over lines", "expr: \"a +\\\n   b +\n   d\"", "d", 3, 4},
		{"escaped newline", `expr: "a +\n d"`, "d", 1, 14},
		{"literal", "expr: |\n    sum(\n      rate(x)\n    )\n", "rate", 3, 7},
		{"literal with indicator and comment", "expr: |2- # why\n    a\n\n    d", "d", 4, 5},
		{"folded", "expr: >-\n  a +\n  b\n\n  + d\n", "d", 5, 5},
		{"folded with deeper lines", "expr: >\n  a\n     b\n  d\n", "d", 4, 3},
		{"after wide characters", "expr: 'ä😀 + d'", "d", 1, 13},
		{"literal after CR LF", "expr: |\r\n  a\r\n  d\r\n", "d", 3, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc, err := Parse("p.yml", []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			node := Field(doc.Root, "expr")
			got := doc.ErrorAt(node, strings.LastIndex(node.Value, tt.mark), "here").Position
			if want := (Position{"p.yml", tt.line, tt.column}); got != want {
				t.Errorf("got %s, want %s; value %q", got, want, node.Value)
			}
		})
	}
}

func TestErrorAtTheEnd(t *testing.T) {
	for text, want := range map[string]Position{
		"expr: sum(":      {"p.yml", 1, 11},
		"expr: 'sum('":    {"p.yml", 1, 12},
		"expr: |\n  sum(": {"p.yml", 2, 7},
		"expr: ''":        {"p.yml", 1, 8},
	} {
		doc, err := Parse("p.yml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		node := Field(doc.Root, "expr")
		if got := doc.ErrorAt(node, len(node.Value), "unclosed").Position; got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// checkScalars fails if a character of any scalar is not found at its place.
func checkScalars(t *testing.T, doc *Document, node *yaml.Node) {
	for _, child := range node.Content {
		checkScalars(t, doc, child)
	}
	if node.Kind != yaml.ScalarNode || node.Line == 0 || node.Line > len(doc.lines) || node.Tag == "!!binary" {
		return
	}
	for i, r := range node.Value {
		p, ok := doc.locate(node, i)
		if !ok {
			t.Fatalf("byte %d of %q (line %d) is not found", i, node.Value, node.Line)
		}
		if isBlank(r) {
			continue
		}
		line := []rune(doc.lines[p.Line-1])
		if p.Column > len(line) {
			t.Fatalf("byte %d of %q is beyond the end of line %d", i, node.Value, p.Line)
		}
		if got := line[p.Column-1]; got != r && got != '\\' {
			t.Fatalf("byte %d of %q is %q, found %q at %s", i, node.Value, r, got, p)
		}
	}
	if _, ok := doc.locate(node, len(node.Value)); !ok {
		t.Fatalf("the end of %q is not found", node.Value)
	}
}

func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		"a: b\n", "expr: |2-\n   a\n\n    b\n", "e: >\n  a\n   b\n  c\n", `e: "\x41\n\` + "\n  b\"", "e: 'it''s'\n",
		"a: &a [*b]\nb: &b {<<: *a}\n", "job_name: x\nstatic_configs: [{targets: [a]}]\n", "params: {a: [b, ~]}\n",
		"nested: {port: x}\nlimit: -1\nlimit: 2\nrules: [a]\n", "? [a]\n: b\n", "a: !!str &x\n  y\n", "\ufeffa: \u00851",
		"password: hunter2\nx: y\n", "- a\n- ? b\n", "a: &a {<<: [*a, *a], b: c}\n", "a: \"\\u00e9\\U0001f600é\"\n", "a:\r\n  b: |+\r\n    c\r\n\r\n", "---\na\n...\n---\nb\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		doc, err := Parse("p.yml", content)
		if err != nil {
			var list List
			if !errors.As(err, &list) {
				t.Fatalf("no List: %v", err)
			}
			checkPositions(t, splitLines(string(content)), list)
			return
		}
		if doc.Root == nil {
			return
		}
		var j job
		checkPositions(t, doc.lines, doc.Decode(doc.Root, &j))
		var n tree
		checkPositions(t, doc.lines, doc.Decode(doc.Root, &n))
		checkScalars(t, doc, doc.Root)
	})
}

// checkPositions fails if a diagnostic points outside the document.
func checkPositions(t *testing.T, lines []string, list List) {
	for _, d := range list {
		if d.Error() == "" || d.Line < 1 || d.Line > len(lines) {
			t.Fatalf("line %d of %d: %s", d.Line, len(lines), d)
		}
		if width := utf8.RuneCountInString(lines[d.Line-1]) + 2; d.Column < 1 || d.Column > width {
			t.Fatalf("column %d of %d: %s", d.Column, width, d)
		}
	}
}
