package ruletest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/document"
)

// rawExpect is what a test expects at one time. The nodes hold metrics by id.
type rawExpect struct {
	At        model.Duration `yaml:"at"`
	Host      yaml.Node      `yaml:"host"`
	Process   yaml.Node      `yaml:"process"`
	Container yaml.Node      `yaml:"container"`
	Pod       yaml.Node      `yaml:"pod"`
}

// place is a metric on a node.
type place struct {
	topology mapping.Topology
	id       string
	metric   string
}

func (p place) String() string {
	if p.topology == mapping.Host {
		return fmt.Sprintf("metric %q of the host", p.metric)
	}
	return fmt.Sprintf("metric %q of %s %s", p.metric, strings.ToLower(string(p.topology)), p.id)
}

// outcome is what the rules gave at one time.
type outcome struct {
	values  map[place]float64
	rows    map[place]string // of rows; their values are 0
	rules   map[place]*mapping.Rule
	failed  []error  // of the rules that could not be evaluated
	reasons []string // why there may be less than was expected
}

// compare evaluates all rules at a time and compares what they give to an
// expectation.
func (r *runner) compare(ctx context.Context, at time.Time, e *mapping.Evaluator, node *yaml.Node, raw rawExpect) error {
	got, err := r.evaluate(ctx, e, at)
	if err != nil {
		return err
	}
	for _, err := range got.failed {
		r.complain(r.doc.Errorf(node, "at %s: %v", raw.At, err))
	}
	expected := map[place]bool{}
	r.compareMetrics(got, expected, mapping.Host, "", document.Field(node, "host"))
	for _, t := range []mapping.Topology{mapping.Process, mapping.Container, mapping.Pod} {
		for id, metrics := range entries(document.Field(node, strings.ToLower(string(t)))) {
			r.compareMetrics(got, expected, t, id.Value, metrics)
		}
	}
	var extra []string
	for p, value := range got.values {
		if !expected[p] {
			extra = append(extra, fmt.Sprintf("%s is %v at %s, but not expected", p, got.shown(p, value), raw.At))
		}
	}
	slices.Sort(extra)
	for _, message := range extra {
		r.complain(r.doc.Errorf(node, "%s", message))
	}
	return nil
}

func (r *runner) evaluate(ctx context.Context, e *mapping.Evaluator, at time.Time) (outcome, error) {
	got := outcome{values: map[place]float64{}, rows: map[place]string{}, rules: map[place]*mapping.Rule{}}
	for i, rule := range r.set.Rules() {
		result, err := e.Evaluate(ctx, i, at)
		if ctx.Err() != nil {
			return got, fmt.Errorf("testing rules: %w", ctx.Err())
		}
		if err != nil {
			got.failed = append(got.failed, err)
		}
		for _, p := range result.Points {
			at := place{p.Topology, p.ID, p.Template.ID}
			got.values[at], got.rules[at] = p.Value, rule
			if rule.Row {
				got.values[at], got.rows[at] = 0, p.Text
			}
		}
		for _, reason := range sortedKeys(result.Dropped) {
			got.reasons = append(got.reasons, fmt.Sprintf("%s dropped %d: %s", rule, result.Dropped[reason], reason))
		}
	}
	return got, nil
}

// shown is a value as a message quotes it.
func (o outcome) shown(p place, value float64) any {
	if text, row := o.rows[p]; row {
		return strconv.Quote(text)
	}
	return value
}

// compareMetrics compares the expected metrics of one node.
func (r *runner) compareMetrics(got outcome, expected map[place]bool, t mapping.Topology, id string, metrics *yaml.Node) {
	for name, value := range entries(metrics) {
		p := place{t, id, name.Value}
		expected[p] = true
		have, ok := got.values[p]
		if !ok {
			r.complain(r.doc.Errorf(name, "there is no %s", p).WithHint("%s", strings.Join(got.reasons, "\n")))
			continue
		}
		r.report.Expected[got.rules[p].String()]++
		if text, row := got.rows[p]; row {
			if value.Value != text {
				r.complain(r.doc.Errorf(value, "%s is %q", p, text))
			}
			continue
		}
		var want float64
		if list := r.doc.Decode(value, &want); len(list) > 0 {
			r.complain(list...)
			continue
		}
		switch {
		case math.IsNaN(want) || math.IsInf(want, 0):
			r.complain(r.doc.Errorf(value, "%s is %v", p, have).
				WithHint("a value of %s is never shown: expect no metric", value.Value))
		case math.Abs(have-want) > tolerance(value.Value, want):
			r.complain(r.doc.Errorf(value, "%s is %v", p, have))
		}
	}
}

// tolerance is half of the last decimal that was written, or rounding errors if
// there is none.
func tolerance(written string, want float64) float64 {
	rounding := 1e-6 * math.Max(1, math.Abs(want))
	_, decimals, ok := strings.Cut(written, ".")
	if !ok || strings.ContainsAny(decimals, "eE") {
		return rounding
	}
	return math.Max(rounding, 0.5*math.Pow10(-len(decimals)))
}

// entries iterates over the keys and values of a mapping, in their order.
func entries(node *yaml.Node) func(yield func(key, value *yaml.Node) bool) {
	node = document.Resolve(node)
	return func(yield func(key, value *yaml.Node) bool) {
		if node == nil || node.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			if !yield(node.Content[i], document.Resolve(node.Content[i+1])) {
				return
			}
		}
	}
}

func sortedKeys(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
