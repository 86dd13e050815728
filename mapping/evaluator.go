package mapping

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// Nodes knows which nodes exist. It is safe for concurrent use.
type Nodes interface {
	// Alive reports whether the node exists now and did so at the given time: a
	// process whose pid was reused since then did not. It is never asked about hosts.
	Alive(t Topology, id string, at time.Time) bool
}

// EvaluatorOptions bound what rules may do. All of them must be above 0.
type EvaluatorOptions struct {
	MaxNodes          int           // nodes per rule
	MaxMetricsPerRule int           // distinct values of ${label} per rule at a time
	MaxSamples        int           // samples that an evaluation may hold in memory
	Timeout           time.Duration // of one evaluation
}

// An Evaluator runs the rules of a set.
//
// Its methods are safe for concurrent use, and none waits for another's query. Of one
// rule there should be one Evaluate at a time, else their results may come out of
// order. Explain may run at any time.
type Evaluator struct {
	set       *Set
	queryable storage.Queryable
	logger    *slog.Logger
	metrics   *evaluatorMetrics
	rules     []*ruleState
}

// ruleState is what the evaluator knows of a rule.
type ruleState struct {
	rule   *Rule
	engine *promql.Engine
	opts   promql.QueryOpts
	status atomic.Pointer[Status]

	// mu guards the mapper and changes of the status. It is held while a result is
	// mapped, never during a query.
	mu     sync.Mutex
	mapper *mapper
	told   map[string]bool // reasons for which rivals lost, as logged
}

// NewEvaluator returns an evaluator of the set's rules over the samples of q, which is
// safe for concurrent use. Nodes tells the living; if nil, as in tests of rules, every
// node lives. Logger and reg may be nil. Each evaluator needs a registerer of its own.
func NewEvaluator(set *Set, q storage.Queryable, nodes Nodes, logger *slog.Logger, reg prometheus.Registerer, opts EvaluatorOptions) *Evaluator {
	if logger == nil {
		logger = promslog.NewNopLogger()
	}
	e := &Evaluator{
		set:       set,
		queryable: q,
		logger:    logger,
		metrics:   newEvaluatorMetrics(reg),
	}
	names := newNamespace(set.rules)
	engines := map[time.Duration]*promql.Engine{}
	for _, r := range set.rules {
		if engines[r.Interval] == nil {
			engines[r.Interval] = newEngine(r.Interval, opts)
		}
		state := &ruleState{
			rule:   r,
			engine: engines[r.Interval],
			opts:   promql.NewPrometheusQueryOpts(false, r.Lookback(), nil),
			mapper: newMapper(r, nodes, names, opts),
			told:   map[string]bool{},
		}
		state.status.Store(&Status{})
		e.rules = append(e.rules, state)
	}
	return e
}

// newEngine returns Prometheus's PromQL engine. Its subqueries without a step take the
// interval, and an engine has only one.
func newEngine(interval time.Duration, opts EvaluatorOptions) *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		MaxSamples:               opts.MaxSamples,
		Timeout:                  opts.Timeout,
		Parser:                   newParser(),
		NoStepSubqueryIntervalFn: func(int64) int64 { return interval.Milliseconds() },
	})
}

// Evaluate evaluates the rule with the given index for the given time, to the
// millisecond. An error concerns this evaluation of this rule alone.
func (e *Evaluator) Evaluate(ctx context.Context, rule int, at time.Time) (Result, error) {
	if rule < 0 || rule >= len(e.rules) {
		return Result{}, fmt.Errorf("evaluating rule %d: there are %d", rule, len(e.rules))
	}
	state := e.rules[rule]
	start := time.Now()
	result := Result{Rule: rule, At: at}
	stats, err := e.query(ctx, state, at, func(vector promql.Vector) {
		state.mu.Lock()
		defer state.mu.Unlock()
		var outcomes []outcome
		result.Points, outcomes = state.mapper.points(vector, at)
		result.Dropped = countDropped(outcomes)
		e.tellRivals(state, vector, outcomes)
	})
	took := time.Since(start)
	if err != nil && ctx.Err() != nil {
		return Result{}, fmt.Errorf("evaluating %s: %w", state.rule, context.Cause(ctx)) // we are to stop; the rule is not to blame
	}
	e.metrics.observe(state.rule, took, result.Dropped, err)
	state.record(result, stats, took, err)
	if err != nil {
		return Result{}, fmt.Errorf("evaluating %s: %w", state.rule, err)
	}
	return result, nil
}

// loggedRivals is how many elements that have one node are logged.
const loggedRivals = 8

// tellRivals logs, once for each rule and reason, that several elements of a result have
// one node.
func (e *Evaluator) tellRivals(state *ruleState, vector promql.Vector, outcomes []outcome) {
	for i, o := range outcomes {
		if o.reason != DropAmbiguous && o.reason != DropDuplicate || state.told[o.reason] {
			continue
		}
		state.told[o.reason] = true
		node := cmp.Or(state.mapper.placed[i].id, "host")
		elements := state.mapper.rivalsOf(vector, i)
		elements = elements[:min(len(elements), loggedRivals)]
		if o.reason == DropAmbiguous {
			e.logger.Warn("Several elements of a rule's result have one node, and nothing says which counts: none is shown",
				"rule", state.rule, "node", node, "elements", elements,
				"remedy", "write sum, max or topk around the expression, or select one target")
			continue
		}
		e.logger.Info("Several elements of a rule's result have one node: one is shown",
			"rule", state.rule, "node", node, "elements", elements)
	}
}

// queryStats is how much data a query looked at, and PromQL's remarks on it.
type queryStats struct {
	series   int64
	elements int
	warnings []string
}

// query runs a rule's expression and hands its elements to use, which must not
// keep them. A panic of the engine, the store or use becomes an error.
//
// The engine parses the text each time. That costs 4 to 35 µs (BenchmarkEvaluateFixed),
// 18 µs on average over the rules of BenchmarkEvaluate, which take 440 µs each.
func (e *Evaluator) query(ctx context.Context, state *ruleState, at time.Time, use func(promql.Vector)) (stats queryStats, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.logger.Error("Rule evaluation panicked", "rule", state.rule, "panic", p, "stack", string(debug.Stack()))
			err = &panicError{p}
		}
	}()
	query, err := state.engine.NewInstantQuery(ctx, e.queryable, state.opts, state.rule.Query, at)
	if err != nil {
		return stats, err
	}
	defer query.Close()
	result := query.Exec(ctx)
	if result.Err != nil {
		return stats, result.Err
	}
	if samples := query.Stats().Samples; samples != nil {
		stats.series = samples.TotalSeries
	}
	// The name says nothing of what is a counter, and lintCounter has remarked on it.
	maps.DeleteFunc(result.Warnings, func(_ string, err error) bool { return errors.Is(err, annotations.PossibleNonCounterInfo) })
	stats.warnings = remarks(result.Warnings.AsStrings(state.rule.Query, maxRemarks, maxRemarks))
	var vector promql.Vector
	switch v := result.Value.(type) {
	case promql.Vector:
		vector = v
	case promql.Scalar:
		vector = promql.Vector{{Metric: labels.EmptyLabels(), F: v.V, T: v.T}}
	default:
		return stats, fmt.Errorf("unexpected result of type %s", result.Value.Type())
	}
	stats.elements = len(vector)
	use(vector)
	return stats, nil
}

// maxRemarks bounds the warnings, and the infos, that an evaluation reports.
const maxRemarks = 5

// remarks joins warnings and infos. They come from a map; the same ones should
// look the same each time.
func remarks(warnings, infos []string) []string {
	if len(warnings)+len(infos) == 0 {
		return nil
	}
	slices.Sort(warnings)
	slices.Sort(infos)
	return append(warnings, infos...)
}

// countDropped counts the reasons; nil if nothing was dropped.
func countDropped(outcomes []outcome) map[string]int {
	var dropped map[string]int
	for _, o := range outcomes {
		if o.reason == "" {
			continue
		}
		if dropped == nil {
			dropped = map[string]int{}
		}
		dropped[o.reason]++
	}
	return dropped
}

// panicError is a panic that was caught.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// failureReason sorts errors for the label reason of
// promscope_rule_evaluation_failures_total.
func failureReason(err error) string {
	var (
		timeout promql.ErrQueryTimeout
		samples promql.ErrTooManySamples
		caught  *panicError
	)
	switch {
	case errors.As(err, &timeout):
		return "timeout"
	case errors.As(err, &samples):
		return "too_many_samples"
	case errors.As(err, &caught):
		return "panic"
	}
	return "execution" // mostly what PromQL refuses to do with this data
}
