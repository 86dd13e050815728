package mapping

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/promscope/promscope/mapping/document"
	"github.com/promscope/promscope/mapping/expr"
)

// minIntervals is how many scrape intervals a window should span: fewer, and one
// missed scrape leaves a rate without its second sample.
const minIntervals = 4

// lint finds what is allowed but probably a mistake.
func (r *Rule) lint(opts Options) (list document.List) {
	say := func(severity document.Severity) lintFunc {
		return func(offset int, message, hint string) {
			d := r.errorIn(r.exprAt, problem{offset, message, hint})
			d.Severity = severity
			list = append(list, d)
		}
	}
	warn, remark := say(document.Warning), say(document.Remark)
	for _, s := range r.expression.selectors {
		lintWindow(s, opts, warn)
		lintCounter(s, r.expression, opts, warn, remark)
		lintName(s, warn)
		lintFed(s, opts, warn)
	}
	lintBuckets(r.expression, warn)
	if r.Format == FormatPercent && r.Max <= 100 {
		if node, why := passesHundred(r.expression.expr); node != nil {
			warn(int(node.PositionRange().Start), "the percentage can pass 100: "+why,
				"divide by what is possible, use avg or clamp_max, or give the real max")
		}
	}
	return list
}

type lintFunc func(offset int, message, hint string)

// lintWindow looks for windows that may be without the two samples that a rate needs.
// An extreme or a mean over time needs one only.
func lintWindow(s vectorSelector, opts Options, warn lintFunc) {
	interval := opts.Interval(s.node.LabelMatchers)
	if s.rng == 0 || s.rng >= minIntervals*interval {
		return
	}
	compares := []string{"rate", "irate", "increase", "delta", "idelta", "deriv", "predict_linear", "changes", "resets"}
	if !slices.Contains(compares, s.calls[len(s.calls)-1]) {
		return
	}
	warn(s.rngAt,
		fmt.Sprintf("the window of %s is shorter than %d scrape intervals of %s", model.Duration(s.rng), minIntervals, model.Duration(interval)),
		fmt.Sprintf("write [$__rate_interval], here %s, or at least %s",
			model.Duration(expr.RateWindow(interval)), model.Duration(minIntervals*interval)))
}

// lintCounter looks for rates of what is no counter. Where the TYPE is not known, the
// name is looked at. Many exporters call counters otherwise, so that is no reason to warn.
// Inside a histogram function the name says nothing: native histograms have no suffix.
// Presets know the exporters whose TYPE is wrong, and a copy of a preset's rule is right too.
func lintCounter(s vectorSelector, e *expression, opts Options, warn, remark lintFunc) {
	name := metricName(s.node.LabelMatchers)
	if name == "" || len(s.calls) == 0 {
		return
	}
	function := s.calls[len(s.calls)-1]
	if !slices.Contains([]string{"rate", "irate", "increase", "resets"}, function) {
		return
	}
	if slices.ContainsFunc(s.calls, func(c string) bool { return strings.HasPrefix(c, "histogram_") }) {
		return
	}
	var known model.MetricType
	if opts.Type != nil {
		known = opts.Type(name)
	}
	switch known {
	case model.MetricTypeCounter, model.MetricTypeHistogram, model.MetricTypeSummary:
	case model.MetricTypeGauge, model.MetricTypeGaugeHistogram, model.MetricTypeInfo, model.MetricTypeStateset:
		say, hint := warn, "only counters and histograms have a rate; a gauge takes delta() or deriv()"
		if opts.preset || isPresets(e, opts) {
			say, hint = remark, "all is well: a preset has the same expression, and the exporter's TYPE is wrong"
		}
		say(int(s.node.PosRange.Start), fmt.Sprintf("%s() of %s, whose TYPE is %s", function, name, known), hint)
	default:
		if !isCounterName(name) {
			remark(int(s.node.PosRange.Start), fmt.Sprintf("%s() of %s, which by its name is no counter", function, name),
				"all is well if its TYPE is counter; a gauge takes delta() or deriv()")
		}
	}
}

// isPresets reports whether a rule of a preset has the expression.
func isPresets(e *expression, opts Options) bool {
	return slices.ContainsFunc(Presets(), func(preset string) bool {
		rules, _ := Preset(preset, opts)
		return slices.ContainsFunc(rules, func(r *Rule) bool { return r.Expr.String() == e.expr.String() })
	})
}

func isCounterName(name string) bool {
	for _, suffix := range []string{"_total", "_sum", "_count", "_bucket"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// lintName looks for selectors that do not narrow down the metric: each series
// of the targets has to be parsed and kept for them.
func lintName(s vectorSelector, warn lintFunc) {
	for _, m := range s.node.LabelMatchers {
		if m.Name == model.MetricNameLabel && !m.Matches("") && m.Value != ".+" {
			return
		}
	}
	warn(int(s.node.PosRange.Start), "the selector names no metric, so all series of its targets are parsed, and those it matches kept",
		"name the metric, or some by {__name__=~\"…\"}")
}

// lintFed looks for selectors that nothing feeds.
func lintFed(s vectorSelector, opts Options, warn lintFunc) {
	if opts.Fed == nil {
		return
	}
	if fed, hint := opts.Fed(s.node.LabelMatchers); !fed {
		warn(int(s.node.PosRange.Start), fmt.Sprintf("no job and no collector has series for %s", s.node), hint)
	}
}

// lintBuckets looks for quantiles of classic histograms whose buckets were summed
// into one: nothing would ever come out.
func lintBuckets(e *expression, warn lintFunc) {
	parser.Inspect(e.expr, func(node parser.Node, _ []parser.Node) error {
		call, ok := node.(*parser.Call)
		if !ok || call.Func.Name != "histogram_quantile" && call.Func.Name != "histogram_fraction" {
			return nil
		}
		vector := call.Args[len(call.Args)-1]
		l := expr.LabelDropped(vector, labels.BucketLabel)
		if l == nil || !selectsBuckets(vector) {
			return nil
		}
		warn(int(l.At.PositionRange().Start), fmt.Sprintf("%s() needs the label le: %s", call.Func.Name, l.Reason),
			cmp.Or(l.Hint, "it says which bucket a series is: keep it up to there"))
		return nil
	})
}

func selectsBuckets(expr parser.Expr) bool {
	for _, matchers := range parser.ExtractSelectors(expr) {
		if strings.HasSuffix(metricName(matchers), "_bucket") {
			return true
		}
	}
	return false
}

// passesHundred finds what makes an expression that is drawn as a percentage grow
// with the number of its series. It returns nil where it cannot tell.
func passesHundred(expr parser.Expr) (parser.Node, string) {
	switch e := expr.(type) {
	case *parser.ParenExpr:
		return passesHundred(e.Expr)
	case *parser.StepInvariantExpr:
		return passesHundred(e.Expr)
	case *parser.AggregateExpr:
		switch e.Op {
		case parser.SUM:
			return e, "it is a sum over series"
		case parser.AVG, parser.MIN, parser.MAX, parser.TOPK, parser.BOTTOMK, parser.QUANTILE:
			return passesHundred(e.Expr)
		}
	case *parser.BinaryExpr:
		return passesHundredBinary(e)
	case *parser.Call:
		switch e.Func.Name {
		case "rate", "irate":
			for _, matchers := range parser.ExtractSelectors(e) {
				if name := metricName(matchers); isCPUTime(name) {
					return e, name + " counts the time of all threads"
				}
			}
		case "abs", "label_replace", "label_join", "sort", "sort_desc":
			return passesHundred(e.Args[0])
		}
	}
	return nil, ""
}

func passesHundredBinary(e *parser.BinaryExpr) (parser.Node, string) {
	left, right := e.LHS.Type() == parser.ValueTypeVector, e.RHS.Type() == parser.ValueTypeVector
	switch e.Op {
	case parser.MUL:
		switch {
		case left && !right:
			return passesHundred(e.LHS)
		case right && !left:
			return passesHundred(e.RHS)
		}
	case parser.ADD, parser.LOR:
		if node, why := passesHundred(e.LHS); node != nil {
			return node, why
		}
		return passesHundred(e.RHS)
	case parser.GTR, parser.LSS, parser.GTE, parser.LTE, parser.LAND, parser.LUNLESS:
		if !e.ReturnBool {
			return passesHundred(e.LHS)
		}
	}
	return nil, "" // a quotient is what a percentage should be
}

// isCPUTime reports whether the counter holds the CPU seconds of something with
// threads, which may run on several CPUs at once. (node_cpu_seconds_total counts
// each CPU by itself.)
func isCPUTime(name string) bool {
	return strings.HasSuffix(name, "process_cpu_seconds_total") ||
		strings.HasSuffix(name, "container_cpu_usage_seconds_total") ||
		name == "namedprocess_namegroup_cpu_seconds_total"
}
