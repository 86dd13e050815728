package document

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func TestParseEmpty(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "~\n", "\ufeff"} {
		doc, err := Parse("p.yml", []byte(text))
		if err != nil || doc.Root != nil {
			t.Errorf("%q: root %v, error %v", text, doc, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"a colon within a value", "rules:\n  - metric: a\n    label: HTTP: requests\n", `
p.yml:3:16: error: mapping values are not allowed in this context
    3 |     label: HTTP: requests
      |                ^
quote a value that contains ": ", or check the indentation`},
		{"a tab", "scope:\n  host: a\n\tlabel: x\n", `
p.yml:3:1: error: found a tab character that violates indentation
    3 | 	label: x
      | ^
YAML is indented with spaces, not with tabs`},
		{"indentation", "scope:\n    host: a\n  label: x\n", `
p.yml:3:3: error: did not find expected key
    3 |   label: x
      |   ^
check the indentation here and of the lines above`},
		{"an unclosed list", "a: 1\nb: [1, 2\nc: 3\n", `
p.yml:2:8: error: did not find expected ',' or ']'
    2 | b: [1, 2
      |        ^`},
		{"an unknown anchor", "a: 1\nb: *nowhere\n", `
p.yml:2:11: error: unknown anchor 'nowhere' referenced
    2 | b: *nowhere
      |           ^`},
		{"two documents", "a: 1\n---\nb: 2\n", `
p.yml:3:1: error: a second document begins here
    3 | b: 2
      | ^
a file holds one document: move this one to a file of its own`},
		{"a scalar", "just text\n", `
p.yml:1:1: error: expected a mapping or a list, found a string
    1 | just text
      | ^`},
		{"not UTF-8", "a: 1\nb: é\xff\n", `
p.yml:2:5: error: the file is not UTF-8
    2 | b: é�
      |     ^`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("p.yml", []byte(tt.text))
			var list List
			if !errors.As(err, &list) {
				t.Fatalf("got %v, want a List", err)
			}
			if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDiagnosticOfTabsAndLongLines(t *testing.T) {
	doc, err := Parse("p.yml", []byte("a:\t\t1\nb: ["+strings.Repeat("12345678, ", 40)+"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := "p.yml:1:5: error: one\n    1 | a:\t\t1\n      |   \t\t^"
	if diff := cmp.Diff(want, doc.Errorf(Field(doc.Root, "a"), "one").Error()); diff != "" {
		t.Error(diff)
	}

	lines := strings.Split(doc.Errorf(Field(doc.Root, "b").Content[20], "far out").Error(), "\n")
	caret := strings.Index(lines[2], "^")
	if source := []rune(lines[1]); string(source[caret:caret+8]) != "12345678" || len(source) > shownWidth+8 {
		t.Errorf("the caret is off, or the line long:\n%s", strings.Join(lines, "\n"))
	}
}

func TestPositionOfNothing(t *testing.T) {
	doc, err := Parse("p.yml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := doc.Errorf(nil, "no rules").Error(), "p.yml: error: no rules"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestList(t *testing.T) {
	at := func(file string, line int, severity Severity) Diagnostic {
		return Diagnostic{Position: Position{file, line, 1}, Severity: severity, Message: "m"}
	}
	list := List{at("b", 1, Error), at("a", 2, Warning), at("a", 3, Remark), at("a", 1, Error), at("a", 1, Error)}
	want := "a:1:1: error: m\na:2:1: warning: m\na:3:1: remark: m\nb:1:1: error: m"
	if diff := cmp.Diff(want, list.Error()); diff != "" {
		t.Error(diff)
	}
	if err := list.Err(); err == nil || strings.Contains(err.Error(), "warning") {
		t.Errorf("Err() = %v", err)
	}
	if len(list.Warnings()) != 1 {
		t.Errorf("warnings: %v", list.Warnings())
	}
	if err := list.Warnings().Err(); err != nil {
		t.Errorf("warnings alone are the error %v", err)
	}
}

func TestField(t *testing.T) {
	doc, err := Parse("p.yml", []byte("base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\nm:\n  <<: [*b, *o]\n  x: 9\nalias: *b\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := Field(doc.Root, "m")
	for key, want := range map[string]string{"x": "9", "y": "2", "z": "4"} {
		if got := Field(m, key); got == nil || got.Value != want {
			t.Errorf("%s = %v, want %s", key, got, want)
		}
	}
	if got := Field(Field(doc.Root, "alias"), "x"); got == nil || got.Value != "1" {
		t.Errorf("through an alias: %v", got)
	}
	for _, node := range []*yaml.Node{nil, m.Content[0], doc.Root} {
		if got := Field(node, "absent"); got != nil {
			t.Errorf("absent key: %v", got)
		}
	}
}

func TestSuggest(t *testing.T) {
	keys := []string{"scrape_interval", "scrape_timeout", "rules", "host", "http"}
	for word, want := range map[string]string{
		"scrape_intervall": "scrape_interval", "scrapeinterval": "scrape_interval", "RULES": "rules",
		"rlues": "rules", "ruels": "rules", "rle": "", "hsot": "host", "kubernetes_sd_configs": "", "x": "", "": "",
	} {
		if got := Suggest(word, keys); got != want {
			t.Errorf("Suggest(%q) = %q, want %q", word, got, want)
		}
	}
}
