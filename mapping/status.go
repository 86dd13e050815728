package mapping

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// Status is a rule's last evaluation. It is a snapshot and never changes.
type Status struct {
	Rule        int       // index in the set's rules
	At          time.Time // the time the rule was last evaluated for; zero if never
	Duration    time.Duration
	Err         error // nil if it succeeded
	Evaluations int   // so far
	Failures    int   // of these

	// The last successful evaluation: series and samples that its selectors matched
	// (one that two selectors match counts twice), elements of the expression's
	// result, what became of them, and PromQL's remarks.
	Series   int64
	Samples  int64
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
		next.Series, next.Samples, next.Elements = stats.series, stats.samples, stats.elements
		next.Points, next.Dropped, next.Warnings = len(r.Points), r.Dropped, r.Warnings
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

// An Explanation tells how a rule comes to its points.
type Explanation struct {
	Rule      *Rule
	Status    Status // of the last regular evaluation
	At        time.Time
	Selectors []SelectorMatch
	Elements  []Element
	Warnings  []string
}

// SelectorMatch is a selector and the number of series that it finds.
type SelectorMatch struct {
	Selector
	Series int
}

// Element is an element of a rule's result and what became of it.
type Element struct {
	Labels  labels.Labels
	Value   float64
	Dropped string // the reason; "" if it became Point
	Point   Point
}

// Explain evaluates a rule once more and tells what became of each element, or what
// would become of it. The zero time stands for that of the last evaluation, whose
// samples are still there. Neither status nor metrics change: values of ${label} that
// no evaluation has seen are mapped as the next one would, but take nothing.
func (e *Evaluator) Explain(ctx context.Context, rule int, at time.Time) (Explanation, error) {
	if rule < 0 || rule >= len(e.rules) {
		return Explanation{}, fmt.Errorf("explaining rule %d: there are %d", rule, len(e.rules))
	}
	state := e.rules[rule]
	x := Explanation{Rule: state.rule, Status: *state.status.Load(), At: at}
	if at.IsZero() {
		if x.At = x.Status.At; x.At.IsZero() {
			x.At = time.Now()
		}
	}
	for _, s := range e.set.selectors {
		if s.Rule != rule {
			continue
		}
		n, err := e.countSeries(ctx, s, x.At)
		if err != nil {
			return x, fmt.Errorf("explaining %s: %w", state.rule, err)
		}
		x.Selectors = append(x.Selectors, SelectorMatch{Selector: s, Series: n})
	}
	stats, err := e.query(ctx, state, x.At, func(vector promql.Vector) {
		state.mu.Lock()
		mapper := state.mapper.copy()
		state.mu.Unlock()
		points, outcomes := mapper.points(vector, x.At)
		for i, s := range vector {
			element := Element{Labels: s.Metric, Value: s.F, Dropped: outcomes[i].reason}
			if element.Dropped == "" {
				element.Point = points[outcomes[i].point]
			}
			x.Elements = append(x.Elements, element)
		}
	})
	x.Warnings = stats.warnings
	if err != nil {
		return x, fmt.Errorf("explaining %s: %w", state.rule, err)
	}
	return x, nil
}

// countSeries returns how many series a selector finds in its window.
func (e *Evaluator) countSeries(ctx context.Context, s Selector, at time.Time) (n int, err error) {
	querier, err := e.queryable.Querier(at.Add(-s.Window).UnixMilli(), at.UnixMilli())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, querier.Close()) }()
	set := querier.Select(ctx, false, nil, s.Matchers...)
	for set.Next() {
		n++
	}
	return n, set.Err()
}
