package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/mapping/secret"
)

// Document is one parsed YAML document together with its text. It is not
// changed after Parse, and safe for concurrent use.
type Document struct {
	Name string     // as in positions: usually the file's path
	Root *yaml.Node // a mapping or a sequence; nil when the document is empty

	lines []string // without their line breaks
}

// Parse reads one document. The error is a List: of an error of syntax, of a second
// document, or of a root that is only a scalar.
func Parse(name string, content []byte) (*Document, error) {
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	d := &Document{Name: name, lines: splitLines(string(content))}
	if !utf8.Valid(content) {
		return nil, List{d.at(invalidUTF8(d.lines), "the file is not UTF-8")}
	}

	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var stream yaml.Node
	switch err := decoder.Decode(&stream); {
	case errors.Is(err, io.EOF):
		return d, nil
	case err != nil:
		return nil, List{d.syntaxError(content, err)}
	}
	var second yaml.Node
	switch err := decoder.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, List{d.syntaxError(content, err)}
	default:
		return nil, List{d.Errorf(second.Content[0], "a second document begins here").
			WithHint("a file holds one document: move this one to a file of its own")}
	}

	switch root := Resolve(stream.Content[0]); {
	case isNull(root):
	case root.Kind == yaml.ScalarNode:
		return nil, List{d.Errorf(root, "expected a mapping or a list, found %s", describe(root))}
	default:
		d.Root = root
	}
	return d, nil
}

// Errorf returns an error at a node. A nil node, or one that was not read from
// the document, stands for the file as a whole.
func (d *Document) Errorf(node *yaml.Node, format string, args ...any) Diagnostic {
	if node == nil {
		return d.at(Position{}, format, args...)
	}
	return d.at(Position{Line: node.Line, Column: node.Column}, format, args...)
}

// Warnf returns a warning at a node, with nil as for Errorf.
func (d *Document) Warnf(node *yaml.Node, format string, args ...any) Diagnostic {
	w := d.Errorf(node, format, args...)
	w.Severity = Warning
	return w
}

// Remarkf returns a remark at a node, with nil as for Errorf.
func (d *Document) Remarkf(node *yaml.Node, format string, args ...any) Diagnostic {
	r := d.Errorf(node, format, args...)
	r.Severity = Remark
	return r
}

// ErrorAt returns an error at a byte of a scalar's value. It points to the place in
// the text where that byte comes from, in every style of a scalar: plain, quoted,
// literal or folded, over several lines or with escapes.
func (d *Document) ErrorAt(node *yaml.Node, offset int, format string, args ...any) Diagnostic {
	diagnostic := d.Errorf(node, format, args...)
	if node == nil {
		return diagnostic
	}
	if p, ok := d.locate(node, offset); ok {
		return d.at(p, "%s", diagnostic.Message)
	}
	return diagnostic
}

// at returns an error at a line and column of the document.
func (d *Document) at(p Position, format string, args ...any) Diagnostic {
	p.File = d.Name
	if last := len(d.lines); p.Line > last { // something is missing at the end
		p.Line, p.Column = last, utf8.RuneCountInString(d.lines[last-1])+1
	}
	diagnostic := Diagnostic{Position: p, Message: secret.Text(fmt.Sprintf(format, args...))}
	if p.Line >= 1 {
		diagnostic.Source, diagnostic.caret = d.masked(p.Line, p.Column-1)
	}
	return diagnostic
}

// Resolve follows an alias to the node that it names.
func Resolve(node *yaml.Node) *yaml.Node {
	for node != nil && node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

// Field returns the value of a key in a mapping, through aliases and merge
// keys, or nil if the node is no mapping or has no such key.
func Field(node *yaml.Node, key string) *yaml.Node {
	_, value := Entry(node, key)
	return value
}

// Entry is Field that returns the key's node too.
func Entry(node *yaml.Node, key string) (keyNode, value *yaml.Node) {
	for _, e := range entries(Resolve(node)) {
		if e.key.Kind == yaml.ScalarNode && e.key.Value == key {
			return e.key, Resolve(e.value)
		}
	}
	return nil, nil
}

// isNull reports whether a node is an explicit or an implied null.
func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// describe names what a node is, for "expected …, found …". It does not quote
// the node: that may be a secret in the wrong place.
func describe(node *yaml.Node) string {
	switch node = Resolve(node); node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch node.ShortTag() {
		case "!!null":
			return "nothing"
		case "!!int", "!!float":
			return "a number"
		}
		return "a string"
	default:
		return "nothing"
	}
}

// splitLines splits at the line breaks of YAML 1.1, as the parser counts them.
func splitLines(content string) []string {
	content = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(content)
	return strings.Split(content, "\n")
}

// invalidUTF8 returns the place of the first byte that is not UTF-8.
func invalidUTF8(lines []string) Position {
	for i, line := range lines {
		if utf8.ValidString(line) {
			continue
		}
		column := 1
		for rest := line; ; column++ {
			r, size := utf8.DecodeRuneInString(rest)
			if r == utf8.RuneError && size <= 1 {
				return Position{Line: i + 1, Column: column}
			}
			rest = rest[size:]
		}
	}
	return Position{}
}
