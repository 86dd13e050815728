package mapping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/promscope/promscope/mapping/document"
	"github.com/promscope/promscope/mapping/expr"
)

// readExpr reads the expression and checks it against the node mapping and the
// ${label}s.
func (r *Rule) readExpr(text string, opts Options) (list document.List) {
	if strings.TrimSpace(text) == "" {
		return document.List{r.errorf(r.exprAt, "expr is missing")}
	}
	if len(text) > expr.MaxBytes {
		message := fmt.Sprintf("the expression has %d bytes, and may have %d", len(text), expr.MaxBytes)
		return document.List{r.errorIn(r.exprAt, problem{0, message, "make several rules of it"})}
	}
	e, problems := parseExpression(text, opts)
	for _, p := range problems {
		list = append(list, r.errorIn(r.exprAt, p))
	}
	if len(list) > 0 {
		return list
	}
	r.expression = e
	r.Query, r.Expr, r.Interval = e.text, e.expr, e.interval
	survives := func(label, what string) {
		if l := expr.LabelDropped(e.expr, label); l != nil {
			message := fmt.Sprintf("the label %q, which %s, does not survive: %s", label, what, l.Reason)
			list = append(list, r.errorIn(r.exprAt, problem{int(l.At.PositionRange().Start), message, l.Hint}))
		}
	}
	if r.NodeLabel != "" {
		survives(r.NodeLabel, "names the "+r.Topology.keyword())
	}
	for _, name := range slices.Concat(r.metric.labelNames(), r.text.labelNames()) {
		survives(name, "${"+name+"} stands for")
	}
	return list
}
