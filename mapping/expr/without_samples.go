package expr

import "github.com/prometheus/prometheus/promql/parser"

// NeedsNoSamples reports whether an expression can have values while no series that it
// selects has any, as with absent() or "or vector(0)".
func NeedsNoSamples(node parser.Node) bool {
	switch n := node.(type) {
	case *parser.VectorSelector:
		return false
	case *parser.AggregateExpr:
		return NeedsNoSamples(n.Expr)
	case *parser.BinaryExpr:
		switch n.Op {
		case parser.LOR:
			return NeedsNoSamples(n.LHS) || NeedsNoSamples(n.RHS)
		case parser.LUNLESS:
			return NeedsNoSamples(n.LHS)
		}
	case *parser.Call:
		if n.Func.Name == "absent" || n.Func.Name == "absent_over_time" {
			return true
		}
	}
	// Numbers, strings, and functions of them or of the time have no selector below.
	for child := range parser.ChildrenIter(node) {
		if !NeedsNoSamples(child) {
			return false
		}
	}
	return true
}
