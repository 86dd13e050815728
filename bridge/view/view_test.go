package view

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

func TestLabels(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{Labels{}.String(), "{}"},
		{Labels{"__name__": "up"}.String(), "up"},
		{Labels{"__name__": "a", "z": "1", "b": "x\"\\\n"}.String(), `a{b="x\"\\\n", z="1"}`},
		{Labels{"__name__": "http.requests", "net.peer": "é"}.String(), `{"http.requests", "net.peer"="é"}`},
		{Labels{"a": "b"}.String(), `{a="b"}`},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
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
	evaluated := Rule{LastEvaluation: time.Unix(1, 0)}
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
		{SeriesExplanation{Selected: []Selection{{Nodes: []string{"a"}, More: 3}}}.Verdict(), "Selected by 1 rule, shown on at least 1 node."},
		{ListenerExplanation{Result: "spared", Reason: "it would print"}.Verdict(), "It is no target, and is not asked: it would print."},
		{ListenerExplanation{Result: "other", Reason: "no exposition: not even HTTP"}.Verdict(), "It was asked for an exposition, and is no target: no exposition: not even HTTP."},
		{ListenerExplanation{Result: "asking", Reason: "it has not answered yet"}.Verdict(), "It is being asked for an exposition."},
		{ListenerExplanation{PID: 7, Comm: "app", Container: "3a5c7e9b1d2f4a6c8e"}.Owner(), "app, process 7, container 3a5c7e9b1d2f"},
		{ListenerExplanation{Name: "127.0.0.1:9105"}.Owner(), ""},
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
		{NodeExplanation{Node: Node{Metrics: make([]Metric, 2)}}.Verdict(), "Scope is told 2 metrics of this node."},
		{NodeExplanation{Node: Node{Metrics: make([]Metric, 2), Rows: make([]Row, 1)}}.Verdict(), "Scope is told 2 metrics of this node, and 1 line of its Info section."},
		{NodeExplanation{Node: Node{Rows: make([]Row, 2)}}.Verdict(), "Scope is told 2 lines of this node's Info section."},
		{NodeExplanation{Node: Node{Metrics: make([]Metric, 2), LeftOut: true}}.Verdict(), "Scope is told nothing about this node. It is left out: the report is full (limits.max_report_size)."},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}
