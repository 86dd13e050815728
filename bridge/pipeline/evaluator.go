package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/promql"

	"github.com/promscope/promscope/bridge/attribution"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/store"
	"github.com/promscope/promscope/mapping"
)

const (
	// pruneInterval is how often the report is looked through for nodes that are gone
	// and samples that are too old. Scope's probe polls at the same interval.
	pruneInterval = time.Second

	// settle is how long an evaluation waits for samples that come at the same time as
	// the first ones. What several targets brought goes through the rules together.
	settle = 10 * time.Millisecond

	// publishInterval is the shortest time between two publications. The probe sees
	// one report a second.
	publishInterval = 200 * time.Millisecond
)

// evaluator is the task between the store and the report. It evaluates the rules
// that are due, gives the report their points, and publishes it. A rule that is slow
// keeps neither the others nor the publication waiting.
type evaluator struct {
	schedule *schedule
	store    *store.Store
	rules    *mapping.Evaluator
	set      *mapping.Set
	report   *plugin.Report
	pods     *Pods
	nodes    attribution.Nodes
	logger   *slog.Logger
	lanes    *lanes
	// pruneNow has room for one: the caller of prune must not wait.
	pruneNow chan struct{}
	clock    wallClock

	inFlight atomic.Int32 // evaluations that run or wait for a lane
	changed  atomic.Bool  // the report has points that are not published

	// failing has by rule whether it failed; a change is logged. A rule is evaluated once at
	// a time, so that no lock is needed.
	failing []bool
}

func newEvaluator(s *schedule, st *store.Store, rules *mapping.Evaluator, set *mapping.Set, report *plugin.Report, pods *Pods, nodes attribution.Nodes, logger *slog.Logger) *evaluator {
	return &evaluator{
		schedule: s,
		store:    st,
		rules:    rules,
		set:      set,
		report:   report,
		pods:     pods,
		nodes:    nodes,
		logger:   logger,
		lanes:    newLanes(runtime.GOMAXPROCS(0)),
		pruneNow: make(chan struct{}, 1),
		failing:  make([]bool, len(set.Rules())),
	}
}

// Run evaluates and publishes until ctx is done.
func (e *evaluator) Run(ctx context.Context) error {
	defer e.lanes.wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	began := time.Now()
	var pruned, published time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.schedule.wake:
			if !sleep(ctx, settle) {
				return nil
			}
			select {
			case <-e.schedule.wake: // what came meanwhile is among what is due now
			default:
			}
		case <-e.pruneNow:
			pruned = time.Time{}
		case <-timer.C:
		}
		if by := e.clock.setBack(time.Now().Round(0), time.Since(began)); by > 0 {
			e.startAnew(by)
		}
		due, wait := e.schedule.take(pruneInterval)
		e.evaluateAll(ctx, due)
		now := time.Now()
		// Pruning that is nearly due goes along: each wake-up costs an idle machine.
		if now.Sub(pruned) >= pruneInterval*3/4 {
			e.report.Prune(e.alive)
			pruned = now
			e.changed.Store(true)
		}
		wait = min(wait, pruneInterval-now.Sub(pruned))
		if e.inFlight.Load() > 0 {
			wait = min(wait, publishInterval)
		}
		if left := publishInterval - now.Sub(published); left > 0 {
			if e.changed.Load() {
				wait = min(wait, left)
			}
		} else if e.changed.Swap(false) {
			e.report.Publish(now)
			published = now
		}
		timer.Reset(wait)
	}
}

// alive tells whether a node of the report exists. Another process may have the pid
// of one that is gone: a process must be the one that the sample was of.
func (e *evaluator) alive(t mapping.Topology, id string, at time.Time) bool {
	if t != mapping.Process {
		at = time.Now()
	}
	return e.nodes.Alive(t, id, at)
}

// startAnew forgets all samples. They are of the future now: until the clock is there
// again, no sample could follow them, and the report would stand still.
func (e *evaluator) startAnew(setBack time.Duration) {
	e.logger.Warn("The clock was set back, all samples are forgotten and rates begin anew", "by", setBack.Round(time.Millisecond))
	e.store.Forget()
	e.schedule.forget()
	e.report.Forget(time.Now())
}

// sleep returns false if ctx is done before.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// prune has the nodes that are gone taken out of the report now. It never blocks.
func (e *evaluator) prune() {
	select {
	case e.pruneNow <- struct{}{}:
	default: // it is on its way
	}
}

// evaluateAll evaluates rules and returns when all are done or patience is over. The
// rest goes on, and its points are published when they are there.
func (e *evaluator) evaluateAll(ctx context.Context, due []dueRule) {
	if len(due) == 0 {
		return
	}
	done := make(chan struct{}, len(due))
	for _, d := range due {
		e.inFlight.Add(1)
		e.lanes.add(evaluation{cost: d.cost, run: func() {
			e.evaluate(ctx, d)
			e.inFlight.Add(-1)
			done <- struct{}{}
		}})
	}
	over := time.After(patience)
	for range due {
		select {
		case <-done:
		case <-over:
			return
		}
	}
}

// evaluate evaluates one rule. A rule that fails takes its own metrics out of the
// report, since the old values would be shown as if they were of now.
func (e *evaluator) evaluate(ctx context.Context, d dueRule) {
	if e.idle(d.rule) {
		e.report.Apply(mapping.Result{Rule: d.rule, At: d.at})
		e.schedule.done(d.rule, 0, false)
		return
	}
	start := time.Now()
	result, err := e.rules.Evaluate(ctx, d.rule, d.at)
	cost := time.Since(start)
	if ctx.Err() != nil {
		return
	}
	var timeout promql.ErrQueryTimeout
	defer e.schedule.done(d.rule, cost, errors.As(err, &timeout))
	rule := e.set.Rules()[d.rule]
	switch {
	case err != nil:
		result = mapping.Result{Rule: d.rule, At: d.at}
		if !e.failing[d.rule] {
			e.logger.Warn("A rule fails, its metrics are left out", "rule", rule, "at", rule.Position.String(), "err", err)
		}
	case e.failing[d.rule]:
		e.logger.Info("A rule works again", "rule", rule, "at", rule.Position.String())
	}
	e.failing[d.rule] = err != nil
	if time.Until(d.at) > scrape.SetBackBy {
		return // the clock was set back meanwhile
	}
	e.report.Apply(result)
	e.changed.Store(true)
}

// idle tells whether a rule is not evaluated: a preset's for pods where Scope knows none.
func (e *evaluator) idle(rule int) bool {
	r := e.set.Rules()[rule]
	if r.Preset == "" || r.Topology != mapping.Pod {
		return false
	}
	on, _ := e.pods.On()
	return !on
}

// takeOver goes on where the evaluator of another set has ended, for the rules that are
// the same.
func (e *evaluator) takeOver(old *evaluator, same map[int]int) {
	e.schedule.takeOver(old.schedule, same)
	for i, j := range same {
		e.failing[j] = old.failing[i]
	}
}
