package mapping

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/promscope/promscope/mapping/expr"
)

func mustParse(t testing.TB, text string) parser.Expr {
	t.Helper()
	expr, err := newParser().ParseExpr(text)
	if err != nil {
		t.Fatalf("parsing %q: %v", text, err)
	}
	return expr
}

func TestLabelDropped(t *testing.T) {
	for _, tc := range []struct {
		expr, label string
		reason      string // "" if the label survives
	}{
		{`x`, "pid", ""},
		{`x{pid="7"}`, "pid", ""},
		{`x{pid=""}`, "pid", `the matcher pid="" selects series without it`},
		{`x{pid!~".+"}`, "pid", `the matcher pid!~".+" selects series without it`},
		{`x{pid!~"7.+"}`, "pid", ""},
		{`x`, "__name__", ""},
		{`-x`, "__name__", "a negation drops the metric name"},
		{`+x`, "__name__", ""},
		{`-x`, "pid", ""},
		{`1`, "pid", "a number has no labels"},
		{`time() - 1`, "pid", "a number has no labels"},
		{`vector(1)`, "pid", "vector() has no labels"},
		{`scalar(x) * 2`, "pid", "a number has no labels"},
		{`x * scalar(y)`, "pid", ""},
		{`2 * x`, "pid", ""},
		{`2 * x`, "__name__", "* drops the metric name"},
		{`x > 2`, "__name__", ""},
		{`x > bool 2`, "__name__", "> drops the metric name"},
		{`hour()`, "pid", "hour() has no labels"},
		{`hour(x)`, "pid", ""},

		{`sum(x)`, "pid", "sum without a by clause drops all labels"},
		{`sum by () (x)`, "pid", "sum without a by clause drops all labels"},
		{`sum by (mode) (x)`, "pid", "sum by (mode) drops all other labels"},
		{`sum by (mode, pid) (x)`, "pid", ""},
		{`sum by (pid) (sum by (mode) (x))`, "pid", "sum by (mode) drops all other labels"},
		{`sum by (__name__) (x)`, "__name__", ""},
		{`sum without (mode) (x)`, "pid", ""},
		{`sum without (mode, pid) (x)`, "pid", "sum without (mode, pid) drops it"},
		{`sum without () (x)`, "__name__", "sum drops the metric name"},
		{`topk(3, x)`, "pid", ""},
		{`topk by (mode) (3, x)`, "pid", ""},
		{`topk(3, x)`, "__name__", ""},
		{`topk(3, sum(x))`, "pid", "sum without a by clause drops all labels"},
		{`count_values("pid", x)`, "pid", ""},
		{`count_values without (pid) ("pid", x)`, "pid", "count_values without (pid) drops it"},
		{`count_values by (pid) ("v", x)`, "pid", ""},
		{`count_values("v", x)`, "pid", "count_values without a by clause drops all labels"},
		{`quantile by (pid) (0.9, x)`, "pid", ""},

		{`rate(x[1m])`, "pid", ""},
		{`rate(x[1m])`, "__name__", "rate() drops the metric name"},
		{`last_over_time(x[1m])`, "__name__", ""},
		{`sort(x)`, "__name__", ""},
		{`predict_linear(x[1m], 60)`, "pid", ""},
		{`quantile_over_time(0.9, x[1m])`, "pid", ""},
		{`max_over_time(sum by (pid) (x)[1m:5s])`, "pid", ""},
		{`max_over_time(sum(x)[1m:5s])`, "pid", "sum without a by clause drops all labels"},
		{`histogram_quantile(0.9, sum by (pid, le) (rate(x[1m])))`, "pid", ""},
		{`histogram_quantile(0.9, sum by (pid, le) (rate(x[1m])))`, "le", "histogram_quantile() drops it"},
		{`histogram_quantile(0.9, sum by (le) (rate(x[1m])))`, "pid", "sum by (le) drops all other labels"},
		{`absent(x{pid="7"})`, "pid", ""},
		{`absent(x{pid=~"7"})`, "pid", "absent() knows only labels that its selector demands with ="},
		{`absent(x{pid="7", pid="8"})`, "pid", "absent() knows only labels that its selector demands with ="},
		{`absent(sum(x))`, "pid", "absent() of an expression has no labels"},
		{`absent_over_time(x{pid="7"}[1m])`, "pid", ""},

		{`label_replace(x, "pid", "$1", "name", "(.*)")`, "pid", ""},
		{`label_replace(sum(x), "pid", "7", "", "")`, "pid", ""},
		{`label_replace(sum(x), "pid", "$1", "name", "(.*)")`, "pid", `label_replace() sets it to nothing, as there is no "name"`},
		{`label_replace(sum(x), "pid", "$1", "name", "(.+)")`, "pid", "sum without a by clause drops all labels"},
		{`label_replace(sum by (pid) (x), "pid", "$1", "name", "(.+)")`, "pid", ""},
		{`label_replace(x, "pid", "", "mode", "user")`, "pid", ""},
		{`label_replace(x, "pid", "", "mode", ".*")`, "pid", "label_replace() with an empty replacement drops it"},
		{`label_replace(x, "mode", "", "mode", ".*")`, "pid", ""},
		{`label_join(x, "pid", "-", "a", "b")`, "pid", ""},
		{`label_join(sum by (a) (x), "pid", "", "a", "b")`, "pid", ""},
		{`label_join(sum(x), "pid", "", "a", "b")`, "pid", "label_join() joins labels that are not there"},
		{`label_join(sum(x), "pid", "-", "a")`, "pid", "label_join() joins labels that are not there"},
		{`label_join(sum(x), "pid", "-", "a", "b")`, "pid", ""},
		{`label_join(sum(x), "pid", "-")`, "pid", "label_join() joins labels that are not there"},

		{`x / y`, "pid", ""},
		{`x / y`, "__name__", "/ drops the metric name"},
		{`x > y`, "__name__", ""},
		{`x / on (pid) y`, "pid", ""},
		{`x / on (job) y`, "pid", "/ on (job) drops it"},
		{`x / ignoring (pid) y`, "pid", "/ ignoring (pid) drops it"},
		{`x / ignoring (mode) y`, "pid", ""},
		{`x / sum(x)`, "pid", "the right side of / has none (sum without a by clause drops all labels), but a match without on () compares it"},
		{`x / on () group_left () sum(x)`, "pid", ""},
		{`x / on (pid) sum(y)`, "pid", "the right side of / has none (sum without a by clause drops all labels), but on (pid) compares it"},
		{`sum(x) / y`, "pid", "sum without a by clause drops all labels"},
		{`x / on (job) group_left () y`, "pid", ""},
		{`x / on (job) group_right () y`, "pid", ""},
		{`x / on (job) group_right () sum by (job) (y)`, "pid", "sum by (job) drops all other labels"},
		{`sum by (job) (x) / on (job) group_left (pid) y`, "pid", ""},
		{`x / on (job) group_left (pid) sum by (job) (y)`, "pid", "sum by (job) drops all other labels"},
		{`sum by (job) (x) * ignoring (mode) group_left (pid) y`, "pid", "sum by (job) drops all other labels"},
		{`x * ignoring (mode) group_left () y`, "pid", ""},
		{`x * on (job) group_left (__name__) y`, "__name__", ""},

		{`x and sum(y)`, "pid", ""},
		{`sum(x) and y`, "pid", "sum without a by clause drops all labels"},
		{`x unless y`, "pid", ""},
		{`sum(x) or y`, "pid", ""},
		{`sum(x) or vector(0)`, "pid", "sum without a by clause drops all labels"},
	} {
		l := expr.LabelDropped(mustParse(t, tc.expr), tc.label)
		got := ""
		if l != nil {
			got = l.Reason
		}
		if got != tc.reason {
			t.Errorf("labelDropped(%s, %s):\n got %q\nwant %q", tc.expr, tc.label, got, tc.reason)
		}
	}
}

// TestLabelDroppedAgreesWithEngine runs random expressions on random series: a label
// that is called dropped must never come out of the engine.
func TestLabelDroppedAgreesWithEngine(t *testing.T) {
	const expressions = 4000
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.Unix(1_700_000_000, 0)
	store := memory{}
	names := []string{"x", "y", "z_total", "h_bucket"}
	for range 60 {
		b := labels.NewScratchBuilder(6)
		b.Add("__name__", names[rng.IntN(len(names))])
		for _, l := range exprLabels {
			if v := rng.IntN(3); v > 0 {
				b.Add(l, fmt.Sprint(v))
			}
		}
		b.Sort()
		l := b.Labels()
		for i := range 10 {
			store.Append(l, start.Add(time.Duration(i)*5*time.Second), parser.SequenceValue{Value: rng.Float64() * 100})
		}
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: 10 * time.Second,
		NoStepSubqueryIntervalFn: func(int64) int64 { return 5000 }})
	var evaluated, nonEmpty, droppedLabels, foundLabels int
	for range expressions {
		text := randomExpr(rng, 4)
		parsed, err := newParser().ParseExpr(text)
		if err != nil {
			t.Fatalf("the generator made %s: %v", text, err)
		}
		query, err := engine.NewInstantQuery(t.Context(), store, nil, text, start.Add(45*time.Second))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		result := query.Exec(t.Context())
		if result.Err != nil {
			continue // a join that finds several partners
		}
		evaluated++
		vector, ok := result.Value.(promql.Vector)
		if !ok || len(vector) == 0 {
			continue
		}
		nonEmpty++
		for _, label := range append([]string{"__name__", "le"}, exprLabels...) {
			l := expr.LabelDropped(parsed, label)
			if l != nil {
				droppedLabels++
			}
			for _, s := range vector {
				if value := s.Metric.Get(label); value != "" {
					foundLabels++
					if l != nil {
						t.Errorf("%s\ndropped %q (%s), but gave %s", text, label, l.Reason, s.Metric)
					}
					break
				}
			}
		}
		query.Close()
	}
	t.Logf("%d of %d expressions evaluated, %d gave something; labels: %d dropped, %d found", evaluated, expressions, nonEmpty, droppedLabels, foundLabels)
	if nonEmpty < expressions/4 || droppedLabels < expressions/4 || foundLabels < expressions/4 {
		t.Error("the generator's expressions prove too little")
	}
}

var exprLabels = []string{"a", "b", "c", "d"}

// randomExpr writes an expression that gives an instant vector.
func randomExpr(rng *rand.Rand, depth int) string {
	pick := func(options ...string) string { return options[rng.IntN(len(options))] }
	label := func() string { return exprLabels[rng.IntN(len(exprLabels))] }
	some := func() string {
		var list []string
		for _, l := range exprLabels {
			if rng.IntN(3) == 0 {
				list = append(list, l)
			}
		}
		return strings.Join(list, ", ")
	}
	matcher := func() string {
		if rng.IntN(2) == 0 {
			return ""
		}
		return "{" + label() + pick(`="1"`, `!="1"`, `=""`, `!=""`, `=~"1|2"`, `=~".*"`, `!~".+"`) + "}"
	}
	selector := func() string { return pick("x", "y", "z_total", "h_bucket") + matcher() }
	if depth == 0 {
		return selector()
	}
	sub := func() string { return randomExpr(rng, rng.IntN(depth)) }
	switch rng.IntN(16) {
	case 0, 1:
		return fmt.Sprintf("%s %s (%s) (%s)", pick("sum", "avg", "max", "count", "group", "stddev"), pick("by", "without"), some(), sub())
	case 2:
		return fmt.Sprintf("%s %s (%s) (%s, %s)", pick("topk", "bottomk"), pick("by", "without"), some(), pick("1", "3"), sub())
	case 3:
		return fmt.Sprintf("count_values %s (%s) (%q, %s)", pick("by", "without"), some(), label(), sub())
	case 4:
		return fmt.Sprintf("%s(%s[%s])", pick("rate", "increase", "last_over_time", "max_over_time", "absent_over_time"), selector(), pick("20s", "1m"))
	case 5:
		return fmt.Sprintf("%s((%s)[20s:5s])", pick("max_over_time", "last_over_time", "rate"), sub())
	case 6:
		return fmt.Sprintf("label_replace(%s, %q, %q, %q, %q)", sub(), label(), pick("", "$1", "v"), label(), pick(".*", "(.*)", "(.+)", "1", ""))
	case 7:
		return fmt.Sprintf("label_join(%s, %q, %q, %q, %q)", sub(), label(), pick("", "-"), label(), label())
	case 8:
		return fmt.Sprintf("%s(%s)", pick("abs", "-", "absent", "sort", "timestamp", "+"), sub())
	case 9:
		return fmt.Sprintf("(%s) %s %s", sub(), pick("*", "+", "> bool", ">", "<"), pick("2", "50"))
	case 10:
		return fmt.Sprintf("(%s) %s %s (%s) (%s)", sub(), pick("and", "or", "unless"), pick("on", "ignoring"), some(), sub())
	case 11, 12:
		return fmt.Sprintf("(%s) %s (%s)", sub(), pick("*", "/", ">", "> bool", "and", "or"), sub())
	case 13:
		return fmt.Sprintf("(%s) %s %s (%s) (%s)", sub(), pick("*", "-", ">"), pick("on", "ignoring"), some(), sub())
	case 14:
		on, include := label(), label()
		for include == on {
			include = label()
		}
		return fmt.Sprintf("(%s) %s on (%s) %s (%s) sum by (%s, %s) (%s)", sub(), pick("*", "<"), on, pick("group_left", "group_right"),
			pick("", include, "__name__"), on, pick(include, label()), sub())
	default:
		return fmt.Sprintf("histogram_quantile(0.5, label_replace(%s, \"le\", \"%s\", \"\", \"\"))", sub(), pick("1", "+Inf"))
	}
}
