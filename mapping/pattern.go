package mapping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/mapping/expr"
)

// A pattern is a metric id or label in which ${name} stands for the value of a
// label of the expression's result: "Disk ${device} busy".
type pattern struct {
	literals []string // one more than names; literals[i] goes before names[i]
	names    []string
}

// parsePattern reads a pattern. An error comes with its byte offset in text.
func parsePattern(text string) (p pattern, offset int, err error) {
	rest, done := text, 0
	for {
		i := strings.Index(rest, "${")
		if i < 0 {
			p.literals = append(p.literals, rest)
			return p, 0, nil
		}
		length := strings.IndexByte(rest[i:], '}')
		if length < 0 {
			return p, done + i, fmt.Errorf("%q is not closed by }", rest[i:])
		}
		name := rest[i+2 : i+length]
		if !model.UTF8Validation.IsValidLabelName(name) {
			return p, done + i, fmt.Errorf("%q is not a label name", name)
		}
		p.literals = append(p.literals, rest[:i])
		p.names = append(p.names, name)
		rest, done = rest[i+length+1:], done+i+length+1
	}
}

// String returns the pattern as it was written.
func (p pattern) String() string {
	var b strings.Builder
	for i, name := range p.names {
		b.WriteString(p.literals[i] + "${" + name + "}")
	}
	return b.String() + p.literals[len(p.names)]
}

// labelNames returns the distinct names in the pattern, sorted.
func (p pattern) labelNames() []string {
	names := slices.Clone(p.names)
	slices.Sort(names)
	return slices.Compact(names)
}

// expand replaces each ${name} by what replace makes of the label's value.
func (p pattern) expand(l labels.Labels, replace func(string) string) string {
	if len(p.names) == 0 {
		return p.literals[0]
	}
	var b strings.Builder
	for i, name := range p.names {
		b.WriteString(p.literals[i])
		b.WriteString(replace(l.Get(name)))
	}
	b.WriteString(p.literals[len(p.names)])
	return b.String()
}

// canBe reports whether the pattern can expand to the text.
func (p pattern) canBe(text string) bool {
	last := len(p.literals) - 1
	if last == 0 {
		return text == p.literals[0]
	}
	text, ok := strings.CutPrefix(text, p.literals[0])
	for _, literal := range p.literals[1:last] {
		_, rest, found := strings.Cut(text, literal)
		text, ok = rest, ok && found
	}
	return ok && strings.HasSuffix(text, p.literals[last])
}

// isID reports whether what stands beside the ${name}s may be part of a metric id.
func (p pattern) isID() bool {
	return !slices.ContainsFunc(p.literals, func(literal string) bool {
		return strings.ContainsFunc(literal, func(r rune) bool { return !expr.IsWord(r) })
	})
}

// idPart makes part of a metric id of a label's value. Scope does not mind what
// an id is made of, but it travels in URLs and keys, so only harmless characters
// stay. Two values may become one id; the evaluator drops the second.
func idPart(value string) string {
	return strings.Map(func(r rune) rune {
		if expr.IsWord(r) || r == '.' || r == '-' || r == ':' {
			return r
		}
		return '_'
	}, value)
}

// labelPart makes part of a metric label of a label's value: what a person reads
// in one line.
func labelPart(value string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(value, "\uFFFD"))
}
