package mapping

import (
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// Options say what checking a rule needs to know of a configuration. Interval and
// MaxWindow have no defaults.
type Options struct {
	// Interval returns the scrape interval of the series that the matchers can
	// select: the longest, if they may come from several jobs that count. A rule
	// without selectors has the interval of no matchers.
	Interval func(matchers []*labels.Matcher) time.Duration

	// Fed tells whether any job or collector can have series that the matchers
	// select, and if not, what to do about it. Nil means that it is not known, and a
	// rule that starves is not warned of.
	Fed func(matchers []*labels.Matcher) (fed bool, hint string)

	// Type returns what the # TYPE line of a metric says. Nil, and an empty answer, mean
	// that it is not known.
	Type func(metric string) model.MetricType

	// MaxWindow is the longest window (range, offset and enclosing subqueries)
	// that an expression may look back.
	MaxWindow time.Duration

	// preset says that the rules are those of a preset, which users cannot change.
	// $__rate_interval is at most MaxWindow there, and windows that are written out are
	// short enough.
	preset bool
}

// interval returns the longest interval that feeds the expression. The engine counts
// in milliseconds.
func (o Options) interval(e *expression) time.Duration {
	if len(e.selectors) == 0 {
		return max(o.Interval(nil), time.Millisecond)
	}
	longest := time.Millisecond
	for _, s := range e.selectors {
		longest = max(longest, o.Interval(s.node.LabelMatchers))
	}
	return longest
}
