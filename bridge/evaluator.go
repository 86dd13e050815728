package bridge

import (
	"context"
	"log/slog"
	"time"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/store"
	"github.com/promscope/promscope/mapping"
)

// pruneInterval is how often nodes are looked at that no evaluation touches:
// a process that has ended, samples that have grown too old. It is the interval
// at which Scope's probe polls.
const pruneInterval = time.Second

// settle is how long samples are waited for that come at the same time as the
// first ones: what several targets brought goes through the rules and into the
// report in one go.
const settle = 10 * time.Millisecond

// publishInterval is how often at most a report is published. What arrives within
// it goes together: the probe sees one report a second.
const publishInterval = 200 * time.Millisecond

// evaluator is the task between the store and the report: it evaluates the
// rules that are due, gives the report their points, and publishes it.
type evaluator struct {
	schedule *schedule
	store    *store.Store
	rules    *mapping.Evaluator
	set      *mapping.Set
	report   *plugin.Report
	alive    func(t mapping.Topology, id string, at time.Time) bool
	logger   *slog.Logger
	// pruneNow has room for one: whoever sees a process end must not wait.
	pruneNow chan struct{}
	// failing are the rules whose last evaluation failed: only a change is logged,
	// since the same error is seldom worded the same.
	failing map[int]bool
	clock   wallClock
}

func newEvaluator(s *schedule, st *store.Store, rules *mapping.Evaluator, set *mapping.Set, report *plugin.Report, machine *host.Machine, logger *slog.Logger) *evaluator {
	return &evaluator{
		schedule: s,
		store:    st,
		rules:    rules,
		set:      set,
		report:   report,
		// Of a process that is gone another one may have the pid already: what was
		// mapped to the node is not its own then.
		alive: func(t mapping.Topology, id string, at time.Time) bool {
			if t != mapping.Process {
				at = time.Now()
			}
			return machine.Alive(string(t), id, at)
		},
		logger:   logger,
		pruneNow: make(chan struct{}, 1),
		failing:  make(map[int]bool),
	}
}

func (e *evaluator) String() string { return "rules" }

func (e *evaluator) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	began := time.Now()
	var pruned, published time.Time
	news := false // since the report was published
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
		for _, d := range due {
			e.evaluate(ctx, d)
		}
		now := time.Now()
		// What is nearly due goes along: each time on its own wakes the machine.
		if now.Sub(pruned) >= pruneInterval*3/4 {
			e.report.Prune(e.alive)
			pruned = now
			news = true
		}
		wait = min(wait, pruneInterval-now.Sub(pruned))
		news = news || len(due) > 0
		if left := publishInterval - now.Sub(published); news && left > 0 {
			wait = min(wait, left)
		} else if news {
			e.report.Publish(now)
			published, news = now, false
		}
		timer.Reset(wait)
	}
}

// startAnew forgets what is of the future now: until the clock would be there again,
// no sample could follow it, and the report would stand still.
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

// evaluate evaluates one rule. A rule that fails takes its own metrics out of
// the report, since the old ones would be shown as if they were of now, and
// leaves the other rules alone.
func (e *evaluator) evaluate(ctx context.Context, d dueRule) {
	result, err := e.rules.Evaluate(ctx, d.rule, d.at)
	if ctx.Err() != nil {
		return
	}
	rule := e.set.Rules()[d.rule]
	failed := e.failing[d.rule]
	switch {
	case err != nil:
		result = mapping.Result{Rule: d.rule, At: d.at}
		if !failed {
			e.logger.Warn("rule failed", "metric", rule.Metric, "rule", rule.Position.String(), "err", err)
		}
		e.failing[d.rule] = true
	case failed:
		e.logger.Info("rule works again", "metric", rule.Metric, "rule", rule.Position.String())
		delete(e.failing, d.rule)
	}
	e.report.Apply(result)
}
