package mapping

import "github.com/prometheus/prometheus/promql/parser"

// NeedsNoSamples reports whether the rule can have values while no series that it
// selects has any, as with absent() or "or vector(0)". Such a rule has to be evaluated
// also where no sample arrives.
func (r *Rule) NeedsNoSamples() bool { return needsNoSamples(r.Expr) }

func needsNoSamples(node parser.Node) bool {
	switch n := node.(type) {
	case *parser.VectorSelector:
		return false
	case *parser.AggregateExpr:
		return needsNoSamples(n.Expr)
	case *parser.BinaryExpr:
		switch n.Op {
		case parser.LOR:
			return needsNoSamples(n.LHS) || needsNoSamples(n.RHS)
		case parser.LUNLESS:
			return needsNoSamples(n.LHS)
		}
	case *parser.Call:
		if n.Func.Name == "absent" || n.Func.Name == "absent_over_time" {
			return true
		}
	}
	// Numbers, strings, and functions of them or of the time have no selector below.
	for child := range parser.ChildrenIter(node) {
		if !needsNoSamples(child) {
			return false
		}
	}
	return true
}
