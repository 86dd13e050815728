package status

import (
	"errors"
	"maps"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/secret"
)

// Rules are the rules of a set with what became of them; counts are the
// series of each of the set's selectors.
func Rules(set *mapping.Set, statuses []mapping.Status, counts []int) []view.Rule {
	all := make([]view.Rule, len(set.Rules()))
	for i, r := range set.Rules() {
		all[i] = ruleModel(r, &statuses[i])
	}
	for i, selector := range set.Selectors() {
		r := &all[selector.Rule]
		r.Selectors = append(r.Selectors, view.Selector{
			Matchers:         SelectorText(selector.Matchers),
			RetentionSeconds: selector.Window.Seconds(),
			Series:           counts[i],
		})
	}
	return all
}

func ruleModel(r *mapping.Rule, s *mapping.Status) view.Rule {
	w := view.Rule{
		Name:                r.String(),
		Metric:              r.Metric,
		Label:               r.Label,
		Format:              string(r.Format),
		Max:                 r.Max,
		Priority:            r.Priority,
		Topology:            string(r.Topology),
		NodeLabel:           r.NodeLabel,
		Regex:               r.NodeRegex(),
		Expr:                r.Expr.String(),
		Preset:              r.Preset,
		Position:            r.Position.String(),
		IntervalSeconds:     r.Interval.Seconds(),
		LastEvaluation:      s.At,
		LastDurationSeconds: s.Duration.Seconds(),
		Evaluations:         s.Evaluations,
		Failures:            s.Failures,
		Series:              int(s.Series),
		Elements:            s.Elements,
		Points:              s.Points,
		Dropped:             maps.Clone(s.Dropped),
	}
	if s.Err != nil {
		w.Error = secret.Text(Cause(s.Err).Error())
	}
	if r.Preset == "" {
		for _, d := range r.Warnings() {
			w.Warnings = append(w.Warnings, d.Message)
		}
	}
	w.Warnings = append(w.Warnings, s.Warnings...)
	return w
}

// Cause is what an evaluation's error says without the rule's name, which stands
// beside it already.
func Cause(err error) error {
	if inner := errors.Unwrap(err); inner != nil && strings.HasPrefix(err.Error(), "evaluating ") {
		return inner
	}
	return err
}

// SelectorText writes matchers as in PromQL.
func SelectorText(matchers []*labels.Matcher) string {
	name := ""
	var rest []string
	for _, m := range matchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual && name == "" {
			name = m.Value
			continue
		}
		rest = append(rest, m.String())
	}
	if len(rest) == 0 && name != "" {
		return name
	}
	return name + "{" + strings.Join(rest, ", ") + "}"
}
