package mapping

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/promscope/promscope/mapping/document"
	"github.com/promscope/promscope/mapping/expr"
)

// FuzzRules: whatever a rule file holds, it is either refused at a place within
// it, or its rules can be evaluated without a panic.
func FuzzRules(f *testing.F) {
	for _, pattern := range []string{"presets/*.yml", "testdata/*/*.yml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content)
		}
	}
	store := load(f, `
		x{pid="17",a="b",le="+Inf"} 0+5x20
		x_total{pid="17",a="b"} 0+5x20
		y{pid="17"} {{schema:0 sum:5 count:4 buckets:[1 2 1]}}x20
		node_load1 1x20`)
	f.Fuzz(func(t *testing.T, content []byte) {
		rules, list := parseFile("rules.yml", content, everyFive)
		for _, d := range list {
			if d.Message == "" || d.Line < 0 || d.Column < 0 {
				t.Errorf("diagnostic without place or message: %+v", d)
			}
		}
		for _, r := range rules {
			if r.Query == "" || r.Expr == nil || r.Topology == "" || r.Position == (document.Position{}) {
				t.Errorf("half a rule: %+v", r)
			}
		}
		set, _ := NewSet(rules)
		if set == nil {
			return
		}
		e := NewEvaluator(set, store, nil, nil, nil, limits(EvaluatorOptions{MaxSamples: 10_000, Timeout: time.Second}))
		for i := range set.Rules() {
			if i >= 5 {
				break
			}
			_, err := e.Evaluate(t.Context(), i, start.Add(time.Minute))
			if caught := (*panicError)(nil); errors.As(err, &caught) {
				t.Errorf("%s: %v", set.Rules()[i].Query, err)
			}
		}
	})
}

// FuzzExpression: an expression that is accepted gives what was said about it:
// it wants no sample that is not kept, and no label that is called dropped comes out.
func FuzzExpression(f *testing.F) {
	for _, r := range allPresets(f, everyFive) {
		f.Add(r.Query)
	}
	for _, text := range []string{
		"x", "sum by (pid) (x)", "max_over_time(rate(x_total[25s])[1m:5s] offset 5s)", `label_replace(x, "b", "$1", "a", "(.*)")`,
		`absent(x{pid="1"})`, "x / on (pid) group_left (a) y", "topk(1, x)", "x[1m]", "time()", `count_values("pid", x)`, "-x", "x @ 5",
		"x offset -5s", "rate(x_total[20s] anchored)", `label_join(x, "pid", "", "a")`, "histogram_quantile(0.5, x)", "x > bool 1",
		"x or y", "scalar(x)", "sum without (pid) (x) and on (a) x",
	} {
		f.Add(text)
	}
	store := load(f, `
		x{pid="17",a="b",le="+Inf"} 0+5x20
		x{pid="18",b="b",le="1"} 0+5x20
		x_total{pid="17",a="b"} 0+5x20
		y{pid="17"} {{schema:0 sum:5 count:4 buckets:[1 2 1]}}x20
		node_load1 1x20`)
	at := start.Add(time.Minute)
	f.Fuzz(func(t *testing.T, text string) {
		e, problems := parseExpression(text, everyFive)
		for _, p := range problems {
			if p.offset < 0 || p.offset > len(text) || p.message == "" {
				t.Fatalf("%q: problem at %d: %q", text, p.offset, p.message)
			}
		}
		if len(problems) > 0 {
			return
		}
		lintBuckets(e, func(int, string, string) {})
		passesHundred(e.expr)
		var longest time.Duration
		for _, s := range e.selectors {
			longest = max(longest, s.window)
		}
		mint, maxt := promql.FindMinMaxTime(&parser.EvalStmt{Expr: e.expr, Start: at, End: at, LookbackDelta: e.lookback()})
		if len(e.selectors) > 0 && (maxt > at.UnixMilli() || mint <= at.Add(-longest-e.lookback()).UnixMilli()) {
			t.Errorf("%q looks from %d to %d, kept is %s", text, mint, maxt, longest)
		}
		r := &Rule{Topology: Host, Query: e.text, Expr: e.expr, Interval: e.interval, expression: e, metric: pattern{literals: []string{"m"}}}
		evaluator := NewEvaluator(&Set{rules: []*Rule{r}}, store, nil, nil, nil, limits(EvaluatorOptions{MaxSamples: 10_000, Timeout: time.Second}))
		elements, err := evaluator.Explain(t.Context(), 0, at)
		if caught := (*panicError)(nil); errors.As(err, &caught) {
			t.Fatalf("%q: %v", text, err)
		}
		for _, element := range elements {
			element.Labels.Range(func(l labels.Label) {
				if drop := expr.LabelDropped(e.expr, l.Name); drop != nil {
					t.Errorf("%q gave %s, but %q was called dropped: %s", text, element.Labels, l.Name, drop.Reason)
				}
			})
		}
	})
}
