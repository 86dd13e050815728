package mapping

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/promscope/promscope/mapping/expr"
)

const (
	// lookbackFactor times the scrape interval is how long a sample stands for its
	// series: PromQL's lookback delta. Prometheus's five minutes would show a dead
	// target's values that long.
	lookbackFactor = 3

	// maxSubquerySteps bounds how often a subquery evaluates its inner expression.
	maxSubquerySteps = 1000
)

// A vectorSelector is one selector of an expression, and how far back it looks.
type vectorSelector struct {
	node   *parser.VectorSelector
	window time.Duration // range, offset and enclosing subqueries; without lookback
	rng    time.Duration // range of [] around the selector; 0 for an instant selector
	rngAt  int           // offset of its [
	calls  []string      // functions and aggregations around it, from the outside in
}

// An expression is a checked PromQL expression.
type expression struct {
	text      string        // with variables filled in, of the length of what was written
	expr      parser.Expr   // durations resolved, so that Range and OriginalOffset are what runs
	interval  time.Duration // the longest scrape interval that feeds it
	selectors []vectorSelector
}

// lookback is for how long a sample stands for its series in this expression.
func (e *expression) lookback() time.Duration { return lookbackFactor * e.interval }

// newParser returns PromQL without its experiments, whose meaning may change with
// the next release.
func newParser() parser.Parser { return parser.NewParser(parser.Options{}) }

// parseExpression reads a rule's expression and checks what does not depend on
// its node mapping.
func parseExpression(text string, opts Options) (*expression, []problem) {
	// The windows of variables depend on the selectors, so these are read with any
	// windows first.
	draft, problems := parseAtInterval(text, time.Minute)
	if len(problems) > 0 {
		return nil, problems
	}
	interval, maxWindow := opts.interval(draft), opts.MaxWindow
	windows := interval // the interval that the windows of variables follow
	if opts.preset {
		windows, maxWindow = min(interval, maxWindow/expr.RateIntervals), math.MaxInt64
	}
	e, problems := parseAtInterval(text, windows)
	if len(problems) > 0 {
		return nil, problems
	}
	e.interval = interval
	problems = e.check(maxWindow)
	if len(problems) > 0 {
		return nil, problems
	}
	return e, nil
}

// FillVariables returns a query with windows in place of its variables: those that a rule
// with this expression would have. What is wrong with the query otherwise is for whoever
// parses it.
func FillVariables(query string, opts Options) (string, error) {
	interval := opts.Interval(nil)
	if draft, problems := parseAtInterval(query, time.Minute); len(problems) == 0 {
		interval = opts.interval(draft)
	}
	return expr.FillVariables(query, interval)
}

func parseAtInterval(text string, interval time.Duration) (*expression, []problem) {
	filled, err := expr.FillVariables(text, interval)
	if err != nil {
		v := &expr.VariableError{}
		if errors.As(err, &v) {
			return nil, []problem{{v.Offset, v.Error(), "the variables are $__rate_interval, five scrape intervals, and $__mean_interval, the same but a minute at least"}}
		}
		return nil, []problem{{0, err.Error(), ""}}
	}
	expr, err := newParser().ParseExpr(filled)
	if err != nil {
		return nil, parseProblems(err)
	}
	// What the engine does before it evaluates, as far as it does not depend on
	// when: durations that are computed ([2 * 5m]) become plain ones.
	expr, err = promql.PreprocessExpr(expr, time.Time{}, time.Time{}, 0)
	if err != nil {
		return nil, []problem{{0, err.Error(), ""}}
	}
	e := &expression{text: filled, expr: expr}
	e.collect()
	return e, nil
}

// parseProblems translates the parser's errors, which come in one or several.
func parseProblems(err error) []problem {
	var several parser.ParseErrors
	if !errors.As(err, &several) {
		return []problem{{0, err.Error(), ""}}
	}
	var problems []problem
	for _, e := range several {
		p := problem{offset: max(0, int(e.PositionRange.Start)), message: plainMessage(e.Err.Error())}
		if len(problems) == 0 || problems[len(problems)-1] != p {
			problems = append(problems, p)
		}
	}
	return problems
}

// plainMessage rewrites what the parser says about experimental features, for it
// names flags of Prometheus that are not there to be set.
func plainMessage(message string) string {
	if what, _, ok := strings.Cut(message, " is experimental and must be enabled"); ok {
		return what + " is experimental in PromQL and not available in rules"
	}
	if what, ok := strings.CutSuffix(message, " is not enabled"); ok {
		return what + " is experimental in PromQL and not available in rules"
	}
	return message
}

// collect finds the selectors and their windows.
func (e *expression) collect() {
	parser.Inspect(e.expr, func(node parser.Node, path []parser.Node) error {
		vs, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		s := vectorSelector{node: vs, window: vs.OriginalOffset}
		for _, n := range path {
			switch n := n.(type) {
			case *parser.SubqueryExpr:
				s.window = add(s.window, add(n.Range, n.OriginalOffset))
			case *parser.MatrixSelector:
				s.rng = n.Range
				s.rngAt = expr.FindCode(e.text, int(vs.PosRange.End), "[")
				s.window = add(s.window, n.Range)
			case *parser.Call:
				s.calls = append(s.calls, n.Func.Name)
			case *parser.AggregateExpr:
				s.calls = append(s.calls, n.Op.String())
			}
		}
		e.selectors = append(e.selectors, s)
		return nil
	})
}

// add adds two durations that are not negative, but stops at the end of what a
// duration can hold: centuries are legal in PromQL.
func add(a, b time.Duration) time.Duration {
	if sum := a + b; sum >= a {
		return sum
	}
	return math.MaxInt64
}

// check refuses what the store cannot serve and what would fail at each evaluation.
func (e *expression) check(maxWindow time.Duration) []problem {
	c := checker{expression: e}
	switch t := e.expr.Type(); t {
	case parser.ValueTypeVector, parser.ValueTypeScalar:
	case parser.ValueTypeMatrix:
		c.complain(0, "the expression gives a range of samples, not one value a series",
			"put it into a function over a window, like rate(…) or max_over_time(…)")
	default:
		c.complain(0, fmt.Sprintf("the expression gives a %s, not values", parser.DocumentedType(t)), "")
	}
	parser.Inspect(e.expr, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			start := int(n.PosRange.Start)
			c.checkTime(start, n.Timestamp, n.StartOrEnd, n.OriginalOffset)
			if n.Smoothed {
				c.complain(expr.FindCode(e.text, start, "smoothed"), "smoothed needs samples from after the evaluation, which do not exist yet", "")
			}
		case *parser.SubqueryExpr:
			c.checkTime(int(n.Expr.PositionRange().End), n.Timestamp, n.StartOrEnd, n.OriginalOffset)
			c.checkSteps(n)
		case *parser.Call:
			c.checkCall(n)
		case *parser.AggregateExpr:
			if name, ok := expr.StringValue(n.Param); ok && n.Op == parser.COUNT_VALUES {
				c.checkLabelName(n.Param, name)
			}
		}
		return nil
	})
	if len(c.problems) > 0 {
		return c.problems
	}
	for _, s := range e.selectors {
		if s.window > maxWindow {
			at := int(s.node.PosRange.Start)
			if s.rng > 0 {
				at = s.rngAt
			}
			c.complain(at, fmt.Sprintf("the expression looks back %s, but samples are kept for at most %s",
				model.Duration(s.window), model.Duration(maxWindow)), "write a shorter window, or raise limits.max_window")
		}
	}
	return c.problems
}

// A checker collects the problems of one expression.
type checker struct {
	*expression
	problems []problem
}

func (c *checker) complain(offset int, message, hint string) {
	c.problems = append(c.problems, problem{offset, message, hint})
}

// checkTime refuses modifiers that take an expression away from the evaluation's
// own time. Its caret goes to the modifier, behind offset from.
func (c *checker) checkTime(from int, timestamp *int64, startOrEnd parser.ItemType, offset time.Duration) {
	if timestamp != nil || startOrEnd != 0 {
		c.complain(expr.FindCode(c.text, from, "@"), "@ is not available: a rule is evaluated when samples arrive, at their time", "")
	}
	if offset < 0 {
		c.complain(expr.FindCode(c.text, from, "offset"), "a negative offset asks for samples from the future", "")
	}
}

// checkSteps bounds a subquery's work, and gives one without a step the scrape
// interval for it, where Prometheus takes its global evaluation interval.
func (c *checker) checkSteps(n *parser.SubqueryExpr) {
	if n.Step == 0 {
		n.Step = c.interval
	}
	if steps := int64(n.Range / n.Step); steps > maxSubquerySteps {
		c.complain(expr.FindCode(c.text, int(n.Expr.PositionRange().End), "["),
			fmt.Sprintf("the subquery takes %d steps, at most %d are evaluated", steps, maxSubquerySteps),
			"give a longer step: [range:step]")
	}
}

// checkCall checks literal arguments over which the engine would fail at run time.
func (c *checker) checkCall(n *parser.Call) {
	switch n.Func.Name {
	case "label_replace":
		if name, ok := expr.StringValue(n.Args[1]); ok {
			c.checkLabelName(n.Args[1], name)
		}
		if regex, ok := expr.StringValue(n.Args[4]); ok {
			if _, err := compileWhole(regex); err != nil {
				c.complain(int(n.Args[4].PositionRange().Start), fmt.Sprintf("label_replace: %v", err), "")
			}
		}
	case "label_join":
		for i, arg := range n.Args {
			if name, ok := expr.StringValue(arg); ok && i != 2 {
				c.checkLabelName(arg, name)
			}
		}
	}
}

func (c *checker) checkLabelName(at parser.Expr, name string) {
	if !model.UTF8Validation.IsValidLabelName(name) {
		c.complain(int(at.PositionRange().Start), fmt.Sprintf("%q is not a label name", name), "")
	}
}

// metricName returns the name that a selector demands, or "" if it demands none,
// or one of several.
func metricName(matchers []*labels.Matcher) string {
	for _, m := range matchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
			return m.Value
		}
	}
	return ""
}
