package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/status"
	"github.com/promscope/promscope/mapping"
)

// whose says in a sentence why a series has not got all labels of the process that
// answers, with the labels that decided; "" if it has, and for promscope's own. The
// target that it comes from may be nil.
func whose(series labels.Labels, t *scrape.TargetStatus) string {
	if series.Has(mapping.LabelHost) || series.Get(model.JobLabel) == "" || t != nil && t.Job == job.InProcess {
		return ""
	}
	if own := ownNames(series, t); own != "" {
		return fmt.Sprintf("It speaks of somebody else than the process that answers, by %s: it has no %s.", own, lacked(series))
	}
	switch {
	case t == nil:
		return ""
	case t.Withheld != "":
		return fmt.Sprintf("The target has no %s: %s.", lacked(series), t.Withheld)
	case !t.Labels.Has(mapping.LabelPID):
		return fmt.Sprintf("The target has no %s: the process that answers is not on this machine, is behind a proxy or a tunnel, or may not be seen.", lacked(series))
	}
	return fmt.Sprintf("The target has no %s: the process that answers, %s=%q, is not in the host's network namespace.",
		lacked(series), mapping.LabelPID, t.Labels.Get(mapping.LabelPID))
}

// ownNames are the labels by which a series speaks of somebody else: a job or an instance
// of its own.
func ownNames(series labels.Labels, t *scrape.TargetStatus) string {
	var own []string
	for _, name := range []string{model.JobLabel, model.InstanceLabel} {
		if value := series.Get(model.ExportedLabelPrefix + name); value != "" {
			own = append(own, fmt.Sprintf("%s%s=%q", model.ExportedLabelPrefix, name, value))
		}
	}
	if len(own) == 0 && t == nil { // with honor_labels
		own = append(own, fmt.Sprintf("%s=%q and %s=%q, which no target has",
			model.JobLabel, series.Get(model.JobLabel), model.InstanceLabel, series.Get(model.InstanceLabel)))
	}
	return strings.Join(own, " and ")
}

// lacked are the labels of a process that a series has not got.
func lacked(series labels.Labels) string {
	if series.Has(mapping.LabelPID) {
		return mapping.LabelHost
	}
	return mapping.LabelPID + ", " + mapping.LabelHost + " and the like"
}

// goesByTarget tells whether what becomes of a series depends on the labels of the
// process that answers: by them a rule finds the node, or refuses the series.
func goesByTarget(rule *mapping.Rule, v mapping.Verdict) bool {
	names := mapping.TargetLabels()
	return slices.Contains(names, rule.NodeLabel) ||
		slices.ContainsFunc(v.Refused, func(m *labels.Matcher) bool { return slices.Contains(names, m.Name) })
}

// whoseOf says why a series lacks a label that a target may have; none for other labels.
func (f *facts) whoseOf(series labels.Labels, label string) []string {
	if !slices.Contains(mapping.TargetLabels(), label) {
		return nil
	}
	t := targetOf(series, f.Targets)
	sentence := whose(series, t)
	if sentence == "" {
		return nil
	}
	if t != nil {
		sentence = status.TargetRef(t).String() + ": " + sentence
	}
	return []string{sentence}
}
