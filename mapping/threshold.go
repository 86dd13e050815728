package mapping

import (
	"maps"
	"math"
	"time"

	"github.com/prometheus/prometheus/promql"
)

const (
	// thresholdMean is the time over which the mean is taken that has to reach a rule's
	// threshold. One second of something is not worth a place on a node.
	thresholdMean = time.Minute

	// thresholdKeep is for how long a metric stays that has reached the threshold. A value
	// about the threshold would come and go.
	thresholdKeep = 5 * time.Minute
)

// A level is how great the values of a rule with a threshold have been on a node.
type level struct {
	mean    float64 // over thresholdMean, the older the less, as of a load average
	at      time.Time
	reached time.Time // when the mean was last that of the threshold; zero if it never was
}

// add takes in a value, which stands for one interval at least and for some at most.
func (l *level) add(value float64, at time.Time, r *Rule) {
	passed := r.Interval
	if !l.at.IsZero() {
		passed = max(0, at.Sub(l.at))
	}
	weight := func(d time.Duration) float64 { return math.Exp(-float64(d) / float64(thresholdMean)) }
	l.mean = l.mean*weight(passed) + value*(1-weight(min(passed, r.Lookback())))
	l.at = at
	if l.mean >= r.Threshold {
		l.reached = at
	}
}

// telling tells whether the metric is worth its place.
func (l *level) telling(at time.Time) bool {
	return !l.reached.IsZero() && at.Sub(l.reached) < thresholdKeep
}

// applyThreshold drops the elements of nodes whose values do not reach the threshold, and
// have not done so lately.
func (m *mapper) applyThreshold(vector promql.Vector, outcomes []outcome, at time.Time) {
	if m.rule.Threshold == 0 {
		return
	}
	for p, i := range m.seen {
		l := m.levels[p.id]
		if l == nil {
			l = &level{}
			m.levels[p.id] = l
		}
		l.add(vector[i].F, at, m.rule)
		if !l.telling(at) {
			outcomes[i].reason = DropThreshold
			delete(m.seen, p)
		}
	}
	maps.DeleteFunc(m.levels, func(_ string, l *level) bool { return at.Sub(l.at) >= thresholdKeep })
}
