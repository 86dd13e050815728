package mapping

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// Status is a rule's last evaluation. It is a snapshot and never changes.
type Status struct {
	At          time.Time // the time the rule was last evaluated for; zero if never
	Duration    time.Duration
	Err         error // nil if it succeeded
	Evaluations int   // so far
	Failures    int   // of these

	// The last successful evaluation: the series that its selectors matched (one that
	// two selectors match counts twice), elements of the expression's result, what
	// became of them, and PromQL's remarks on the data.
	Series   int64
	Elements int
	Points   int
	Dropped  map[string]int
	Warnings []string
}

// record replaces the status. After a failure it tells of the last success still.
func (s *ruleState) record(r Result, stats queryStats, took time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := *s.status.Load()
	next.At, next.Duration, next.Err = r.At, took, err
	next.Evaluations++
	if err != nil {
		next.Failures++
	} else {
		next.Series, next.Elements, next.Warnings = stats.series, stats.elements, stats.warnings
		next.Points, next.Dropped = len(r.Points), r.Dropped
	}
	s.status.Store(&next)
}

// Status returns the state of each rule, in the set's order. It does not wait for
// an evaluation that is going on.
func (e *Evaluator) Status() []Status {
	all := make([]Status, len(e.rules))
	for i, state := range e.rules {
		all[i] = *state.status.Load()
	}
	return all
}

// Element is an element of a rule's result and what became of it.
type Element struct {
	Labels  labels.Labels
	Value   float64
	Dropped string // the reason; "" if it became Point
	Point   Point
	// Rivals are the labels of all elements that have the same node and metric, this
	// one's included; none if it is the only one.
	Rivals []labels.Labels
}

// Explain evaluates a rule once more and tells what becomes of each element. The zero
// time stands for that of the last evaluation, whose samples are still there.
//
// Neither status nor metrics change: values of ${label} that no evaluation has seen are
// mapped as the next one would, but take nothing.
func (e *Evaluator) Explain(ctx context.Context, rule int, at time.Time) ([]Element, error) {
	if rule < 0 || rule >= len(e.rules) {
		return nil, fmt.Errorf("explaining rule %d: there are %d", rule, len(e.rules))
	}
	state := e.rules[rule]
	if at.IsZero() {
		at = state.status.Load().At
	}
	if at.IsZero() {
		at = time.Now()
	}
	var elements []Element
	_, err := e.query(ctx, state, at, func(vector promql.Vector) {
		state.mu.Lock()
		mapper := state.mapper.copy()
		state.mu.Unlock()
		points, outcomes := mapper.points(vector, at)
		for i, s := range vector {
			element := Element{Labels: s.Metric, Value: s.F, Dropped: outcomes[i].reason}
			if element.Dropped == "" {
				element.Point = points[outcomes[i].point]
			}
			element.Rivals = mapper.rivalsOf(vector, i)
			elements = append(elements, element)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("explaining %s: %w", state.rule, err)
	}
	return elements, nil
}
