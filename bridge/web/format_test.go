package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestFormats(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{formatSeconds(0), "0 s"},
		{formatSeconds(0.0000004), "0.4 µs"},
		{formatSeconds(0.00031), "310 µs"},
		{formatSeconds(0.0087), "8.7 ms"},
		{formatSeconds(0.9996), "1.0 s"},
		{formatSeconds(5), "5 s"},
		{formatSeconds(61.4), "61 s"},
		{formatSeconds(250), "4.2 min"},
		{formatSeconds(11520), "3.2 h"},
		{formatSeconds(864000), "10 d"},
		{formatAgo(moment, time.Time{}), "never"},
		{formatAgo(moment, moment), "now"},
		{formatAgo(moment, moment.Add(-380*time.Millisecond)), "0.4 s ago"},
		{formatAgo(moment, moment.Add(2*time.Second)), "in 2 s"},
		{formatBytes(0), "0 B"},
		{formatBytes(1023), "1023 B"},
		{formatBytes(1536), "1.5 KiB"},
		{formatBytes(7.5e8), "715 MiB"},
		{formatBytes(-2048), "-2.0 KiB"},
		{formatCount(0), "0"},
		{formatCount(-1234567), "-1,234,567"},
		{formatCount(uint64(math.MaxUint64)), "18,446,744,073,709,551,615"},
		{formatNumber(0), "0"},
		{formatNumber(12288), "12,288"},
		{formatNumber(-98765.4), "-98,765"},
		{formatNumber(4127.61), "4127.6"},
		{formatNumber(3.14159), "3.142"},
		{formatNumber(0.00001234), "1.234e-05"},
		{formatNumber(1e18), "1e+18"},
		{formatNumber(math.NaN()), "NaN"},
		{formatNumber(math.Inf(-1)), "-Inf"},
		// As Scope cuts them.
		{formatMetric("percent", 1.999), "1.99%"},
		{formatMetric("", 0.0042), "0"},
		{formatMetric("", 1099), "1099"},
		{formatMetric("", 1234567), "1.23M"},
		{formatMetric("integer", 42), "42"},
		{formatMetric("filesize", 2048), "2.0 KiB"},
		{plural(1, "series", "series"), "1 series"},
		{plural(1200, "rule", "rules"), "1,200 rules"},
		{Labels{}.String(), "{}"},
		{Labels{"__name__": "up"}.String(), "up"},
		{Labels{"__name__": "a", "z": "1", "b": "x\"\\\n"}.String(), `a{b="x\"\\\n", z="1"}`},
		{Labels{"__name__": "http.requests", "net.peer": "é"}.String(), `{"http.requests", "net.peer"="é"}`},
		{Labels{"a": "b"}.String(), `{a="b"}`},
	} {
		if got := strings.ReplaceAll(test.got, "\u00a0", " "); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestFloatJSON(t *testing.T) {
	for _, v := range []float64{0, -1.5, 1e300, math.Inf(1), math.Inf(-1), math.NaN()} {
		data, err := json.Marshal(Float(v))
		if err != nil {
			t.Fatal(err)
		}
		var back Float
		if err := json.Unmarshal(data, &back); err != nil || math.Float64bits(float64(back)) != math.Float64bits(v) && !(math.IsNaN(v) && math.IsNaN(float64(back))) {
			t.Errorf("%g became %s, then %g (%v)", v, data, back, err)
		}
	}
}

func TestVerdicts(t *testing.T) {
	evaluated := Rule{LastEvaluation: moment}
	rule := func(change func(*Rule)) string {
		r := evaluated
		change(&r)
		return RuleExplanation{Rule: r}.Verdict()
	}
	up, down := &TargetRef{Health: HealthUp}, &TargetRef{Health: HealthDown}
	for _, test := range []struct{ got, want string }{
		{SeriesExplanation{}.Verdict(), "No rule asks for this metric."},
		{SeriesExplanation{Refused: make([]Refusal, 1)}.Verdict(), "No rule selects it: 1 rule asks for the metric, but with matchers that refuse it."},
		{SeriesExplanation{Selected: []Selection{{Error: "x"}}}.Verdict(), "Selected by 1 rule, but evaluation fails."},
		{SeriesExplanation{Selected: make([]Selection, 2), Target: up}.Verdict(), "Selected by 2 rules, but no value comes to a node."},
		{SeriesExplanation{Selected: []Selection{{Nodes: []string{"a", "b"}}, {Nodes: []string{"b"}}}, Target: down}.Verdict(), "Selected by 2 rules, shown on 2 nodes. Its target is down."},
		{SeriesExplanation{Selected: []Selection{{Elements: []Element{{Dropped: "value"}, {Dropped: "dead"}, {Dropped: "value"}}}}}.Verdict(), "Selected by 1 rule, but what comes of it is dropped: dead, value."},
		{SeriesExplanation{Selected: make([]Selection, 1), NotStored: "limit"}.Verdict(), "Selected by 1 rule and exposed, but not stored: limit."},
		{RuleExplanation{}.Verdict(), "Never evaluated: no series that it selects is in the store."},
		{RuleExplanation{Rule: Rule{Series: 1}}.Verdict(), "Not evaluated yet."},
		{rule(func(r *Rule) { r.Error = "x" }), "The last evaluation failed."},
		{rule(func(*Rule) {}), "No series that it selects was in the store at the last evaluation."},
		{rule(func(r *Rule) { r.Series = 2 }), "Matches 2 series, but the expression yields nothing."},
		{rule(func(r *Rule) { r.Elements = 1 }), "Yields 1 element, but none is on a node."},
		{rule(func(r *Rule) { r.Elements, r.Points, r.Dropped = 3, 1, map[string]int{"dead": 1, "value": 1} }), "Puts 1 value on nodes; 2 elements were dropped."},
		{rule(func(r *Rule) { r.Elements, r.Points = 3, 3 }), "Puts 3 values on nodes."},
		{NodeExplanation{}.Verdict(), "Scope is told nothing about this node."},
		{NodeExplanation{Note: "It died."}.Verdict(), "It died."},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}

func TestExplainText(t *testing.T) {
	f := example(moment)
	for name, subject := range map[string]string{
		"explain_series.txt": "node_cpu_seconds_total", "explain_rule.txt": "go_goroutines", "explain_failing.txt": "host/cart_ratio", "explain_node.txt": "vm-03;4127", "explain_unknown.txt": "unheard_of",
	} {
		e, err := exampleExplanation(f, moment, subject)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := e.WriteText(&b, moment); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.Bytes())
	}
}

// A label value must not move the cursor or colour the terminal.
func TestExplainTextIsPrintable(t *testing.T) {
	bad := "\x1b[2J\x1b]0;title\x07\r\u009b31m\u202e"
	e, err := evil(bad).explain("x")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.WriteText(&b, moment); err != nil {
		t.Fatal(err)
	}
	if at := strings.IndexAny(b.String(), "\x1b\x07\r\u009b\u202e"); at >= 0 {
		t.Errorf("a control character at %d of %q", at, b.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestExplainTextError(t *testing.T) {
	if err := (Explanation{Subject: "x"}).WriteText(brokenWriter{}, moment); err == nil {
		t.Error("an error of the writer is lost")
	}
}
