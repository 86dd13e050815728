package mapping

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
)

// Nodes knows which nodes exist.
type Nodes interface {
	// Alive reports whether the node exists now and did so at the given time: a
	// process whose pid was reused since then did not. It is never asked about hosts.
	Alive(t Topology, id string, at time.Time) bool
}

// EvaluatorOptions bound what rules may do. Zero values stand for the defaults.
type EvaluatorOptions struct {
	MaxNodes          int           // nodes per rule; default 5,000
	MaxMetricsPerRule int           // distinct values of ${label} per rule at a time; default 20
	MaxSamples        int           // samples that an evaluation may hold in memory; default 1,000,000
	Timeout           time.Duration // of one evaluation; default 5 s
}

func (o EvaluatorOptions) withDefaults() EvaluatorOptions {
	if o.MaxNodes <= 0 {
		o.MaxNodes = 5_000
	}
	if o.MaxMetricsPerRule <= 0 {
		o.MaxMetricsPerRule = 20
	}
	if o.MaxSamples <= 0 {
		o.MaxSamples = 1_000_000
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	return o
}

// An Evaluator runs the rules of a set. Its methods are safe for concurrent use;
// evaluations go one after another.
type Evaluator struct {
	set       *Set
	engine    *promql.Engine
	queryable storage.Queryable
	logger    *slog.Logger
	metrics   *evaluatorMetrics

	mu    sync.Mutex // guards what evaluations share: the rules' mappers and fates
	rules []*ruleState
	fates []fate
}

// ruleState is what the evaluator knows of a rule.
type ruleState struct {
	rule   *Rule
	query  string
	opts   promql.QueryOpts
	mapper *mapper
	status atomic.Pointer[Status]
}

// NewEvaluator returns an evaluator of the set's rules over the samples of q.
// Nodes tells the living; if nil, as in tests of rules, every node lives. Logger
// and reg may be nil. Each evaluator needs a registerer of its own.
func NewEvaluator(set *Set, q storage.Queryable, nodes Nodes, logger *slog.Logger, reg prometheus.Registerer, opts EvaluatorOptions) *Evaluator {
	if logger == nil {
		logger = promslog.NewNopLogger()
	}
	opts = opts.withDefaults()
	e := &Evaluator{
		set:       set,
		engine:    newEngine(set.rules, opts),
		queryable: q,
		logger:    logger,
		metrics:   newEvaluatorMetrics(reg),
	}
	names := newNamespace(set.rules)
	for i, r := range set.rules {
		state := &ruleState{
			rule:   r,
			query:  queryOf(i),
			opts:   promql.NewPrometheusQueryOpts(false, r.Lookback(), nil),
			mapper: newMapper(r, nodes, names, opts),
		}
		state.status.Store(&Status{Rule: i})
		e.rules = append(e.rules, state)
	}
	return e
}

// Evaluate evaluates the rule with the given index for the given time, to the
// millisecond. An error concerns this evaluation of this rule alone.
func (e *Evaluator) Evaluate(ctx context.Context, rule int, at time.Time) (Result, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if rule < 0 || rule >= len(e.rules) {
		return Result{}, fmt.Errorf("evaluating rule %d: there are %d", rule, len(e.rules))
	}
	state := e.rules[rule]
	start := time.Now()
	result, stats, err := e.evaluate(ctx, state, at)
	took := time.Since(start)
	if err != nil && ctx.Err() != nil {
		return Result{}, fmt.Errorf("evaluating %s: %w", state.rule, context.Cause(ctx)) // we are to stop; the rule is not to blame
	}
	result.Rule, result.At = rule, at
	e.metrics.observe(state.rule, took, result.Dropped, err)
	state.record(result, stats, took, err)
	if err != nil {
		return Result{}, fmt.Errorf("evaluating %s: %w", state.rule, err)
	}
	return result, nil
}

// queryStats is how much data an evaluation looked at.
type queryStats struct {
	series, samples int64
	elements        int
}

func (e *Evaluator) evaluate(ctx context.Context, state *ruleState, at time.Time) (Result, queryStats, error) {
	var result Result
	var stats queryStats
	err := e.query(ctx, state, at, func(vector promql.Vector) {
		result.Points, e.fates = state.mapper.points(vector, at, e.fates)
		result.Dropped = countDropped(e.fates)
		stats.elements = len(vector)
	}, &result.Warnings, &stats)
	return result, stats, err
}

// query runs a rule's expression and hands its elements to use, which must not
// keep them. A panic, be it the engine's or the store's, becomes an error.
func (e *Evaluator) query(ctx context.Context, state *ruleState, at time.Time, use func(promql.Vector), warnings *[]string, stats *queryStats) (err error) {
	defer func() {
		if p := recover(); p != nil {
			e.logger.Error("Rule evaluation panicked", "rule", state.rule, "panic", p, "stack", string(debug.Stack()))
			err = &panicError{p}
		}
	}()
	query, err := e.engine.NewInstantQuery(ctx, e.queryable, state.opts, state.query, at)
	if err != nil {
		return err
	}
	defer query.Close()
	result := query.Exec(ctx)
	if result.Err != nil {
		return result.Err
	}
	if samples := query.Stats().Samples; samples != nil {
		stats.series, stats.samples = samples.TotalSeries, samples.TotalSamples
	}
	*warnings = remarks(result.Warnings.AsStrings(state.rule.Query, maxRemarks, maxRemarks))
	switch v := result.Value.(type) {
	case promql.Vector:
		use(v)
	case promql.Scalar:
		use(promql.Vector{{Metric: labels.EmptyLabels(), F: v.V, T: v.T}})
	default:
		return fmt.Errorf("unexpected result of type %s", result.Value.Type())
	}
	return nil
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

func countDropped(fates []fate) map[string]int {
	var dropped map[string]int
	for _, f := range fates {
		if f.reason == "" {
			continue
		}
		if dropped == nil {
			dropped = map[string]int{}
		}
		dropped[f.reason]++
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
