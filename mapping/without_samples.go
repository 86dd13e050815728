package mapping

import "github.com/prometheus/prometheus/promql/parser"

// NeedsNoSamples reports whether the rule can have values while no series that it selects
// has any, as with absent() or "or vector(0)": it is then to be evaluated also where
// no sample arrives.
func (r *Rule) NeedsNoSamples() bool { return needsNoSamples(r.Expr) }

func needsNoSamples(expr parser.Expr) bool {
	switch e := expr.(type) {
	case *parser.NumberLiteral, *parser.StringLiteral:
		return true
	case *parser.VectorSelector, *parser.MatrixSelector:
		return false
	case *parser.Call:
		switch e.Func.Name {
		case "absent", "absent_over_time":
			return true
		}
		// Without a vector, a function is of the time or of numbers.
		for _, arg := range e.Args {
			if !needsNoSamples(arg) {
				return false
			}
		}
		return true
	case *parser.BinaryExpr:
		switch e.Op {
		case parser.LOR:
			return needsNoSamples(e.LHS) || needsNoSamples(e.RHS)
		case parser.LUNLESS:
			return needsNoSamples(e.LHS)
		}
		return needsNoSamples(e.LHS) && needsNoSamples(e.RHS)
	case *parser.AggregateExpr:
		return needsNoSamples(e.Expr)
	case *parser.SubqueryExpr:
		return needsNoSamples(e.Expr)
	case *parser.ParenExpr:
		return needsNoSamples(e.Expr)
	case *parser.UnaryExpr:
		return needsNoSamples(e.Expr)
	case *parser.StepInvariantExpr:
		return needsNoSamples(e.Expr)
	}
	return false
}
