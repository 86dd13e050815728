package mapping

import (
	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/mapping/document"
)

// A problem is a complaint about a part of a text, such as an expression.
type problem struct {
	offset  int // of the part, in bytes of the text
	message string
	hint    string
}

// errorf returns an error at one of the rule's values, or at the rule if the
// value is missing.
func (r *Rule) errorf(at *yaml.Node, format string, args ...any) document.Diagnostic {
	if at == nil {
		at = r.node
	}
	return r.doc.Errorf(at, format, args...)
}

// errorIn returns an error at a part of one of the rule's values.
func (r *Rule) errorIn(at *yaml.Node, p problem) document.Diagnostic {
	return r.doc.ErrorAt(at, p.offset, "%s", p.message).WithHint("%s", p.hint)
}
