package mapping

import (
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// A Verdict is what one selector makes of a series.
type Verdict struct {
	Selector

	// Refused are the matchers that the series does not satisfy. The selector selects
	// it if there are none.
	Refused []*labels.Matcher
}

// Judge tells which selectors select a series, and which of those for its metric
// name nearly do, in the order of the rules. Selectors for other names are left out.
func (s *Set) Judge(series labels.Labels) []Verdict {
	var verdicts []Verdict
next:
	for _, selector := range s.selectors {
		v := Verdict{Selector: selector}
		for _, m := range selector.Matchers {
			if m.Matches(series.Get(m.Name)) {
				continue
			}
			if m.Name == model.MetricNameLabel {
				continue next
			}
			v.Refused = append(v.Refused, m)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}
