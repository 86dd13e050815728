package mapping

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// newEngine returns Prometheus's PromQL engine for the rules.
//
// The engine takes a query as text and parses it each time, which is half of what
// evaluating a small rule costs. Ours is never given text: the "query" is the
// rule's index, and its parser answers with a copy of the rule's expression. It has
// to be a copy since the engine writes into what it evaluates. What the engine
// could check before (@ and negative offsets) it need not: rules do not have them.
func newEngine(rules []*Rule, opts EvaluatorOptions) *promql.Engine {
	p := ruleParser{Parser: newParser(), exprs: make(map[string]parser.Expr, len(rules))}
	for i, r := range rules {
		p.exprs[queryOf(i)] = r.executable()
	}
	return promql.NewEngine(promql.EngineOpts{
		MaxSamples:           opts.MaxSamples,
		Timeout:              opts.Timeout,
		Parser:               p,
		EnableAtModifier:     true,
		EnableNegativeOffset: true,
		// Subqueries have their step already; the engine wants the function though.
		NoStepSubqueryIntervalFn: func(int64) int64 { return defaultInterval.Milliseconds() },
	})
}

// queryOf is what the engine gets as the text of the rule with the given index.
func queryOf(index int) string { return strconv.Itoa(index) }

// A ruleParser finds expressions instead of parsing them.
type ruleParser struct {
	parser.Parser
	exprs map[string]parser.Expr
}

func (p ruleParser) ParseExpr(query string) (parser.Expr, error) {
	expr, ok := p.exprs[query]
	if !ok {
		return nil, fmt.Errorf("no rule %q", query)
	}
	return copyExpr(expr), nil
}

// executable returns the rule's expression as the engine wants it: as the parser
// left it, which Expr is no more, with all subqueries' steps.
func (r *Rule) executable() parser.Expr {
	expr, err := newParser().ParseExpr(r.Query)
	if err != nil {
		panic(fmt.Sprintf("rule at %s: %v", r.Position, err)) // it was parsed when the rule was made
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.SubqueryExpr:
			if n.Step == 0 && n.StepExpr == nil {
				n.Step = r.Interval.Truncate(time.Millisecond)
			}
		case *parser.AggregateExpr:
			slices.Sort(n.Grouping) // else the engine does, and copies share the slice
		}
		return nil
	})
	return expr
}

// copyExpr copies what the engine writes into: all nodes that have children, and
// the selectors. Literals and durations are shared.
func copyExpr(expr parser.Expr) parser.Expr {
	switch e := expr.(type) {
	case *parser.AggregateExpr:
		c := *e
		c.Expr = copyExpr(e.Expr)
		if e.Param != nil {
			c.Param = copyExpr(e.Param)
		}
		return &c
	case *parser.BinaryExpr:
		c := *e
		c.LHS, c.RHS = copyExpr(e.LHS), copyExpr(e.RHS)
		return &c
	case *parser.Call:
		c := *e
		c.Args = make(parser.Expressions, len(e.Args))
		for i, arg := range e.Args {
			c.Args[i] = copyExpr(arg)
		}
		return &c
	case *parser.MatrixSelector:
		c := *e
		c.VectorSelector = copyExpr(e.VectorSelector)
		return &c
	case *parser.ParenExpr:
		c := *e
		c.Expr = copyExpr(e.Expr)
		return &c
	case *parser.SubqueryExpr:
		c := *e
		c.Expr = copyExpr(e.Expr)
		return &c
	case *parser.UnaryExpr:
		c := *e
		c.Expr = copyExpr(e.Expr)
		return &c
	case *parser.VectorSelector:
		c := *e
		return &c
	}
	return expr
}
